//! Fingerprints of failures in the stepped lane.

use std::fmt;
use std::str::FromStr;

use framewalk::sample::{Lookup, WalkerKind};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cast::ProfilerScript;
use super::shape::Shape;
use crate::invariants::existence::SampleFault;
use crate::lane::Lane;

/// What the cache answered, without the reason for a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheAnswer {
    /// There is no cache.
    Uncached,
    /// All callers came from the cache.
    FullHit,
    /// Some callers came from the cache.
    PartialHit,
    /// No caller came from the cache.
    Miss,
    /// The walker does not report it.
    Unknown,
}

impl CacheAnswer {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 5] = [Self::Uncached, Self::FullHit, Self::PartialHit, Self::Miss, Self::Unknown];

    /// The name in fingerprints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uncached => "uncached",
            Self::FullHit => "full-hit",
            Self::PartialHit => "partial-hit",
            Self::Miss => "miss",
            Self::Unknown => "unknown",
        }
    }
}

impl From<Lookup> for CacheAnswer {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Uncached => Self::Uncached,
            Lookup::FullHit => Self::FullHit,
            Lookup::PartialHit => Self::PartialHit,
            Lookup::Miss(_) => Self::Miss,
            Lookup::Unknown => Self::Unknown,
        }
    }
}

/// The kind of the target's current frame when the walker read the thread state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeafKind {
    /// The frame of a function, on the data stack.
    Function,
    /// A frame on the data stack that is about to create its generator or coroutine.
    GeneratorBeingMade,
    /// The frame of a generator or coroutine, inside that object.
    Generator,
    /// A shim frame: the thread is between C and Python.
    Shim,
}

impl LeafKind {
    /// Every value, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Function, Self::GeneratorBeingMade, Self::Generator, Self::Shim];

    /// The name in fingerprints and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::GeneratorBeingMade => "generator-being-made",
            Self::Generator => "generator",
            Self::Shim => "shim",
        }
    }
}

impl fmt::Display for LeafKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Identifies a bug in the stepped lane: `stepped/walker/fault/answer/leaf/shape`. If there is more than one actor, or
/// something happens to an actor, it is `stepped/walker/cast/fault/answer/leaf/shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SteppedFingerprint {
    /// The walker that returned the stack.
    pub walker: WalkerKind,
    /// The actors that took the samples.
    pub cast: ProfilerScript,
    /// How the stack is wrong.
    pub fault: SampleFault,
    /// What the cache answered.
    pub answer: CacheAnswer,
    /// The kind of leaf.
    pub leaf: LeafKind,
    /// Where the target moved.
    pub shape: Shape,
}

impl SteppedFingerprint {
    /// Everything but the shape. It stays the same while a schedule is shrunk; the shape does not, because moves go
    /// elsewhere.
    #[must_use]
    pub fn without_shape(&self) -> (WalkerKind, ProfilerScript, SampleFault, CacheAnswer, LeafKind) {
        (self.walker, self.cast.clone(), self.fault, self.answer, self.leaf)
    }
}

impl fmt::Display for SteppedFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { walker, cast, fault, answer, leaf, shape } = self;
        write!(f, "{}/{walker}/", Lane::Stepped)?;
        if !cast.is_alone() {
            write!(f, "{cast}/")?;
        }
        write!(f, "{fault}/{}/{leaf}/{shape}", answer.name())
    }
}

/// A text that cannot be a fingerprint of the stepped lane.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no fingerprint of the stepped lane: it must read stepped/walker[/cast]/fault/answer/leaf/shape, but {why}"
)]
pub struct BadSteppedFingerprint {
    text: String,
    why: String,
}

impl FromStr for SteppedFingerprint {
    type Err = BadSteppedFingerprint;

    fn from_str(text: &str) -> Result<Self, BadSteppedFingerprint> {
        parse(text).map_err(|why| BadSteppedFingerprint { text: text.chars().take(30).collect(), why })
    }
}

fn parse(text: &str) -> Result<SteppedFingerprint, String> {
    let mut parts: Vec<&str> = text.split('/').collect();
    let cast = if parts.len() == 7 { Some(parts.remove(2)) } else { None };
    let [lane, walker, fault, answer, leaf, shape] = parts[..] else {
        return Err(format!("it has {} parts", parts.len()));
    };
    if lane != Lane::Stepped.name() {
        return Err(format!("it begins with {lane:?}"));
    }
    let nothing = |what: &str, name: &str| format!("there is no {what} {name:?}");
    Ok(SteppedFingerprint {
        walker: WalkerKind::ALL
            .into_iter()
            .find(|one| one.name() == walker)
            .ok_or_else(|| nothing("walker", walker))?,
        cast: match cast {
            // Only one text is accepted for each fingerprint.
            Some(text) => text
                .parse()
                .ok()
                .filter(|cast: &ProfilerScript| !cast.is_alone() && cast.to_string() == text)
                .ok_or_else(|| nothing("cast", text))?,
            None => ProfilerScript::default(),
        },
        fault: SampleFault::STEPPED
            .into_iter()
            .find(|one| one.name() == fault)
            .ok_or_else(|| nothing("fault", fault))?,
        answer: CacheAnswer::ALL
            .into_iter()
            .find(|one| one.name() == answer)
            .ok_or_else(|| nothing("answer", answer))?,
        leaf: LeafKind::ALL.into_iter().find(|one| one.name() == leaf).ok_or_else(|| nothing("kind of leaf", leaf))?,
        shape: Shape::try_from(shape.to_owned()).map_err(|error| error.to_string())?,
    })
}

impl TryFrom<String> for SteppedFingerprint {
    type Error = BadSteppedFingerprint;

    fn try_from(text: String) -> Result<Self, BadSteppedFingerprint> {
        text.parse()
    }
}

impl From<SteppedFingerprint> for String {
    fn from(fingerprint: SteppedFingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These texts are used in saved cases and in lists of known failures: changing one orphans them.
    #[test]
    fn fingerprints_are_stable_and_read_back() {
        let fingerprint = SteppedFingerprint {
            walker: WalkerKind::CpythonCached,
            cast: ProfilerScript::default(),
            fault: SampleFault::Spliced,
            answer: Lookup::FullHit.into(),
            leaf: LeafKind::Function,
            shape: Shape::try_from("read-chunk..write-anchor+between-samples".to_owned()).unwrap(),
        };
        let text = "stepped/cpython-cached/spliced/full-hit/function/read-chunk..write-anchor+between-samples";
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!(text.parse(), Ok(fingerprint.clone()));
        let known = crate::run::finding::Fingerprint::try_from(&fingerprint).unwrap();
        assert_eq!((known.as_str(), known.walker(), known.lane()), (text, Some("cpython-cached"), Some(Lane::Stepped)));
        for (walker, fault, answer, leaf) in WalkerKind::ALL.into_iter().flat_map(|walker| {
            SampleFault::STEPPED.into_iter().flat_map(move |fault| {
                CacheAnswer::ALL
                    .into_iter()
                    .flat_map(move |answer| LeafKind::ALL.map(|leaf| (walker, fault, answer, leaf)))
            })
        }) {
            for cast in ["a", "alternating", "a+drop-a.make-b.b+a+make-a.a"] {
                let Ok(cast) = cast.parse() else { continue };
                let one = SteppedFingerprint { walker, cast, fault, answer, leaf, shape: fingerprint.shape.clone() };
                assert_eq!(one.to_string().parse(), Ok(one.clone()));
                assert!(crate::run::finding::Fingerprint::try_from(&one).is_ok(), "{one}");
            }
        }
        let two = SteppedFingerprint { cast: "a+b".parse().unwrap(), ..fingerprint };
        assert_eq!(two.to_string(), text.replace("/spliced", "/alternating/spliced"));
    }

    #[test]
    fn what_is_no_fingerprint_is_refused_with_its_reason() {
        for (text, why) in [
            ("", "it has 1 parts"),
            ("live/cpython-cached/spliced/full-hit/function/still", "it begins with \"live\""),
            ("stepped/py-spy/spliced/full-hit/function/still", "there is no walker \"py-spy\""),
            ("stepped/own-cached/wrong/full-hit/function/still", "there is no fault \"wrong\""),
            ("stepped/own-cached/spliced/hit/function/still", "there is no answer \"hit\""),
            ("stepped/own-cached/spliced/full-hit/class/still", "there is no kind of leaf \"class\""),
            ("stepped/own-cached/spliced/full-hit/function/moving", "\"moving\" is no shape"),
            ("stepped/own-cached/both/spliced/full-hit/function/still", "there is no cast \"both\""),
            ("stepped/own-cached/alone/spliced/full-hit/function/still", "there is no cast \"alone\""),
            ("stepped/own-cached/a+b/spliced/full-hit/function/still", "there is no cast \"a+b\""),
        ] {
            let error = text.parse::<SteppedFingerprint>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
