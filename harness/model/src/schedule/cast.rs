//! The actors of a run: which of them takes each sample, and what happens to them in between.
//!
//! An *actor* is a process with one unwinder, or one of framediff's walkers. All actors of a run are of the same kind
//! and watch the same target. The text of a cast has a *turn* for each sample; turns are joined by `+`. A turn consists
//! of the happenings before the sample, each followed by a dot, and the actor that takes the sample:
//!
//! | text | meaning |
//! | --- | --- |
//! | `a` | a takes this sample |
//! | `make-b.b` | b makes a new unwinder, which sets all anchors to NULL, and takes the sample |
//! | `drop-a.b` | a drops its unwinder |
//! | `kill-a.b` | the process of a is killed (SIGKILL) |
//!
//! An actor that is not made in the text exists from the start. After the last turn, the turns repeat, beginning with
//! the last one that has a happening, and without happenings. `a+b` is a, b, a, b, ...; `a+make-b.b+a` is a, b, a, b,
//! ..., where b's unwinder is made after the first sample.
//!
//! The target does not move between the end of a sample and the last happening before the next one. After that it moves
//! if the schedule says so. An actor that is dropped or killed between samples has completed all its accesses. An actor
//! killed in the middle of a sample leaves nothing else behind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text with more turns than this is rejected.
const MOST_TURNS: usize = 64;

/// A participant that takes samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProfilerId(u8);

impl ProfilerId {
    /// The largest number of actors. Each is a process.
    pub const MOST: usize = 4;
    /// The first actor. If there is only one, it is this.
    pub const A: Self = Self(0);

    /// Its index among all actors.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ProfilerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(b'a' + self.0))
    }
}

/// An event in the life of an actor, between two samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    /// The actor makes an unwinder, which sets all anchors to NULL.
    Make(ProfilerId),
    /// The actor drops its unwinder.
    Drop(ProfilerId),
    /// The actor's process is killed.
    Kill(ProfilerId),
}

impl Lifecycle {
    /// The actor that it happens to.
    #[must_use]
    pub fn actor(self) -> ProfilerId {
        match self {
            Self::Make(actor) | Self::Drop(actor) | Self::Kill(actor) => actor,
        }
    }

    /// A description in one sentence.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Make(actor) => format!("{actor} creates an unwinder"),
            Self::Drop(actor) => format!("{actor} drops its unwinder"),
            Self::Kill(actor) => format!("{actor} is killed"),
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(actor) => write!(f, "make-{actor}"),
            Self::Drop(actor) => write!(f, "drop-{actor}"),
            Self::Kill(actor) => write!(f, "kill-{actor}"),
        }
    }
}

/// One sample of a cast.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SampleTurn {
    /// The happenings before it, in order.
    pub before: Vec<Lifecycle>,
    /// The actor that takes it.
    pub by: ProfilerId,
}

/// The actor of each sample in a run, and the happenings in between. See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfilerScript {
    turns: Vec<SampleTurn>,
}

/// The casts that have names. The names are used in fingerprints, so they never change their meaning.
pub const SCENARIOS: [(&str, &str); 6] = [
    ("alone", "a"),
    ("alternating", "a+b"),
    ("old-and-new", "a+make-b.b+a"),
    ("handed-over", "a+drop-a.make-b.b"),
    ("remade", "a+drop-a.make-a.a"),
    ("died", "a+kill-a.make-b.b"),
];

/// One actor, to which nothing happens.
impl Default for ProfilerScript {
    fn default() -> Self {
        Self { turns: vec![SampleTurn { before: Vec::new(), by: ProfilerId::A }] }
    }
}

impl ProfilerScript {
    /// Whether there is only one actor, and nothing happens to it.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.turns.iter().all(|turn| turn.by == ProfilerId::A && turn.before.is_empty())
    }

    /// How many actors there are.
    #[must_use]
    pub fn actors(&self) -> usize {
        let of = |turn: &SampleTurn| turn.before.iter().map(|one| one.actor()).chain([turn.by]).max();
        self.turns.iter().filter_map(of).max().map_or(0, |last| last.index() + 1)
    }

    /// The actors that exist from the start.
    #[must_use]
    pub fn at_start(&self) -> Vec<ProfilerId> {
        (0..ProfilerId::MOST as u8)
            .map(ProfilerId)
            .take(self.actors())
            .filter(|&actor| !self.is_made_later(actor))
            .collect()
    }

    /// Whether the first event of this actor is that it makes an unwinder.
    fn is_made_later(&self, actor: ProfilerId) -> bool {
        let told = self.turns.iter().flat_map(|turn| {
            let before = turn.before.iter().map(|one| (one.actor(), matches!(one, Lifecycle::Make(_))));
            before.chain([(turn.by, false)])
        });
        told.into_iter().find(|(who, _)| *who == actor).is_some_and(|(_, made)| made)
    }

    /// The turn of the sample with this number.
    #[must_use]
    pub fn turn(&self, sample: u32) -> SampleTurn {
        let index = usize::try_from(sample).unwrap_or(usize::MAX);
        if let Some(turn) = self.turns.get(index) {
            return turn.clone();
        }
        let from = self.turns.iter().rposition(|turn| !turn.before.is_empty()).unwrap_or(0);
        let again = self.turns.len() - from;
        let by = self.turns.get(from + (index - from) % again.max(1)).map_or(ProfilerId::A, |turn| turn.by);
        SampleTurn { before: Vec::new(), by }
    }

    /// The name of the cast, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        let text = self.script();
        SCENARIOS.iter().find(|(_, script)| *script == text).map(|(name, _)| *name)
    }

    /// The turns as text.
    #[must_use]
    pub fn script(&self) -> String {
        let turn = |turn: &SampleTurn| {
            let before: String = turn.before.iter().map(|one| format!("{one}.")).collect();
            before + &turn.by.to_string()
        };
        self.turns.iter().map(turn).collect::<Vec<_>>().join("+")
    }
}

/// The name if there is one, otherwise the turns.
impl fmt::Display for ProfilerScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => f.write_str(&self.script()),
        }
    }
}

/// A text that is not a cast.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} is not a cast: {why}; known are {known}, or turns such as a+make-b.b+a", known = names().join(", "))]
pub struct BadCast {
    text: String,
    why: String,
}

/// The names of all named casts.
#[must_use]
pub fn names() -> Vec<&'static str> {
    SCENARIOS.iter().map(|(name, _)| *name).collect()
}

/// Parses a name or turns.
impl FromStr for ProfilerScript {
    type Err = BadCast;

    fn from_str(text: &str) -> Result<Self, BadCast> {
        let script = SCENARIOS.iter().find(|(name, _)| *name == text).map_or(text, |(_, script)| *script);
        parse(script).map_err(|why| BadCast { text: text.chars().take(60).collect(), why })
    }
}

fn parse(script: &str) -> Result<ProfilerScript, String> {
    if script.split('+').count() > MOST_TURNS {
        return Err(format!("it has more than {MOST_TURNS} turns"));
    }
    let cast = ProfilerScript { turns: script.split('+').map(turn).collect::<Result<_, _>>()? };
    check(&cast)?;
    // Only one text for each cast.
    Ok(if cast.is_alone() { ProfilerScript::default() } else { cast })
}

fn turn(text: &str) -> Result<SampleTurn, String> {
    let mut parts: Vec<&str> = text.split('.').collect();
    let by = actor(parts.pop().unwrap_or_default())?;
    Ok(SampleTurn { before: parts.into_iter().map(happening).collect::<Result<_, _>>()?, by })
}

fn happening(text: &str) -> Result<Lifecycle, String> {
    let of: (fn(ProfilerId) -> Lifecycle, &str) = match text.split_once('-') {
        Some(("make", name)) => (Lifecycle::Make, name),
        Some(("drop", name)) => (Lifecycle::Drop, name),
        Some(("kill", name)) => (Lifecycle::Kill, name),
        _ => return Err(format!("{:?} is not an event: events start with make-, drop- or kill-", excerpt(text))),
    };
    Ok(of.0(actor(of.1)?))
}

fn actor(text: &str) -> Result<ProfilerId, String> {
    match *text.as_bytes() {
        [letter @ b'a'..=b'd'] => Ok(ProfilerId(letter - b'a')),
        _ => Err(format!("{:?} is not an actor: the actors are a, b, c and d", excerpt(text))),
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(20).collect()
}

/// Checks that each actor exists when it is its turn. Nothing happens in repeated turns, so no actor leaves there.
fn check(cast: &ProfilerScript) -> Result<(), String> {
    let mut there = cast.at_start();
    for turn in &cast.turns {
        for &one in &turn.before {
            let is_there = there.contains(&one.actor());
            match one {
                Lifecycle::Make(actor) if !is_there => there.push(actor),
                Lifecycle::Drop(actor) | Lifecycle::Kill(actor) if is_there => there.retain(|other| *other != actor),
                Lifecycle::Make(actor) => return Err(format!("{actor} already has an unwinder before {one}")),
                Lifecycle::Drop(actor) | Lifecycle::Kill(actor) => {
                    return Err(format!("{actor} has no unwinder before {one}"));
                }
            }
        }
        if !there.contains(&turn.by) {
            return Err(format!("{} has no unwinder at its turn", turn.by));
        }
    }
    let seen = |actor: ProfilerId| {
        cast.turns.iter().any(|turn| turn.by == actor || turn.before.iter().any(|one| one.actor() == actor))
    };
    match (0..cast.actors() as u8).map(ProfilerId).find(|&actor| !seen(actor)) {
        Some(actor) => Err(format!("{actor} is missing, but a later letter is used")),
        None => Ok(()),
    }
}

impl TryFrom<String> for ProfilerScript {
    type Error = BadCast;

    fn try_from(text: String) -> Result<Self, BadCast> {
        text.parse()
    }
}

/// The turns. A file contains them rather than the name, so that it does not depend on the meaning of names.
impl From<ProfilerScript> for String {
    fn from(cast: ProfilerScript) -> Self {
        cast.script()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(text: &str, samples: u32) -> String {
        let cast: ProfilerScript = text.parse().unwrap();
        let turn = |sample| {
            let SampleTurn { before, by } = cast.turn(sample);
            before.iter().map(|one| format!("{one}.")).collect::<String>() + &by.to_string()
        };
        (0..samples).map(turn).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn turns_repeat_without_their_events() {
        for (cast, expected) in [
            ("a", "a a a a a"),
            ("a+b", "a b a b a"),
            ("a+make-b.b+a", "a make-b.b a b a"),
            ("a+a+drop-a.make-b.b", "a a drop-a.make-b.b b b"),
            ("a+kill-a.make-a.a+b", "a kill-a.make-a.a b a b"),
        ] {
            assert_eq!(turns(cast, 5), expected, "{cast}");
        }
    }

    /// Names and texts are used in saved cases and fingerprints.
    #[test]
    fn names_are_stable_and_round_trip() {
        for (name, script) in SCENARIOS {
            let cast: ProfilerScript = name.parse().unwrap();
            assert_eq!((cast.to_string(), cast.script()), (name.into(), script.into()));
            assert_eq!(script.parse(), Ok(cast.clone()));
            assert_eq!(serde_json::to_string(&cast).unwrap(), format!("{script:?}"));
        }
        let unnamed: ProfilerScript = "a+b+a".parse().unwrap();
        assert_eq!(unnamed.to_string(), "a+b+a");
        assert_eq!("a+a".parse(), Ok(ProfilerScript::default()));
        assert!(ProfilerScript::default().is_alone() && !unnamed.is_alone());
        assert_eq!(names(), ["alone", "alternating", "old-and-new", "handed-over", "remade", "died"]);
    }

    #[test]
    fn a_created_actor_does_not_exist_before() {
        let at_start = |text: &str| {
            let cast: ProfilerScript = text.parse().unwrap();
            (cast.actors(), cast.at_start().iter().map(ToString::to_string).collect::<String>())
        };
        assert_eq!(at_start("a"), (1, "a".into()));
        assert_eq!(at_start("a+b"), (2, "ab".into()));
        assert_eq!(at_start("a+make-b.b+a"), (2, "a".into()));
        assert_eq!(at_start("make-a.a"), (1, String::new()));
        assert_eq!(at_start("a+drop-b.a+make-b.b"), (2, "ab".into()));
        assert_eq!(at_start("a+c+b"), (3, "abc".into()));
    }

    #[test]
    fn invalid_casts_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "\"\" is not an actor"),
            ("a+", "\"\" is not an actor"),
            ("a+e", "\"e\" is not an actor"),
            ("both", "\"both\" is not an actor"),
            ("A", "\"A\" is not an actor"),
            ("make-b", "\"make-b\" is not an actor"),
            ("a+fork-a.a", "\"fork-a\" is not an event"),
            ("a.b", "\"a\" is not an event"),
            ("a+make-a.a", "a already has an unwinder before make-a"),
            ("a+drop-b.make-b.make-b.b", "b already has an unwinder before make-b"),
            ("a+drop-a.drop-a.b", "a has no unwinder before drop-a"),
            ("a+kill-a.a", "a has no unwinder at its turn"),
            ("a+c", "b is missing, but a later letter is used"),
        ] {
            let error = text.parse::<ProfilerScript>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("known are alone, alternating"), "{text}: {error}");
        }
        let long = vec!["a"; 65].join("+").parse::<ProfilerScript>().unwrap_err().to_string();
        assert!(long.contains("more than 64 turns") && long.len() < 300, "{long}");
    }
}
