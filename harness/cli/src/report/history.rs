//! What both sides did in a run of the stepped lane, step by step, with names instead of addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use framewalk::printable::clean;
use model::columns::{Columns, Side, returned};
use model::schedule::AccessKind;
use model::schedule::event::{Access, Event, Shown, Standing, ThreadWord};
use serde::{Deserialize, Serialize};

/// Steps that are shown of those before the first sample.
const SHOWN_BEFORE: usize = 6;
/// Frames that are named of a chunk that is copied.
const NAMED: usize = 6;

/// One thing that one side did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What kind of thing.
    pub did: Did,
    /// In words.
    pub text: String,
}

/// What a side can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Did {
    /// The target did steps that are not told.
    Hidden,
    /// The target stored a word.
    Store,
    /// The target loaded the anchor.
    Load,
    /// Something happened to an unwinder between samples.
    Happened,
    /// A walker begins a sample.
    Sample,
    /// A walker read.
    Read,
    /// A walker wrote the anchor.
    Write,
    /// A sample is over.
    Result,
}

impl Did {
    /// Who does such things: the target on the left, walkers on the right.
    #[must_use]
    pub fn side(self) -> Side {
        match self {
            Self::Hidden | Self::Store | Self::Load => Side::Left,
            Self::Happened | Self::Sample | Self::Read | Self::Write | Self::Result => Side::Right,
        }
    }
}

/// What both sides did, in two columns.
#[must_use]
pub fn columns(history: &[Told], width: u16) -> String {
    let mut columns = Columns::default();
    for Told { did, text } in history {
        match did.side() {
            Side::Left => columns.add(Side::Left, clean(text)),
            Side::Right => columns.add_below(Side::Right, clean(text)),
        }
    }
    columns.render(["target", "walker"], width)
}

/// What both sides did, in order.
#[must_use]
pub fn history(events: &[Event]) -> Vec<Told> {
    let mut history = Vec::new();
    let mut tell = |did, text| history.push(Told { did, text });
    let mut names = Names::of(events);
    let first = events.iter().position(|event| matches!(event, Event::Access(_))).unwrap_or(events.len());
    let is_step = |event: &Event| matches!(event, Event::Step(..) | Event::AnchorLoaded(_));
    let before = events[..first].iter().filter(|event| is_step(event)).count();
    let mut hidden = before.saturating_sub(SHOWN_BEFORE);
    if hidden > 0 {
        tell(Did::Hidden, format!("({hidden} steps)"));
    }
    // A sample's title stands before its first access, so that moves between samples are seen to be between them.
    let mut title = None;
    let mut by = String::new();
    let mut moved = false;
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Truth(chain) => names.stand(chain),
            Event::Step(word, value) => {
                // The new frame's name comes with the chain that the store makes true.
                if let Some(Event::Truth(chain)) = events.get(index + 1) {
                    names.stand(chain);
                }
                moved = true;
                if hidden > 0 {
                    hidden -= 1;
                } else {
                    tell(Did::Store, names.word(*word, *value));
                }
            }
            Event::AnchorLoaded(_) if hidden > 0 => hidden -= 1,
            Event::AnchorLoaded(anchor) => {
                tell(Did::Load, format!("loads {}", names.word(ThreadWord::Anchor, *anchor)));
            }
            Event::Happened(one, anchor) => {
                let anchor = names.word(ThreadWord::Anchor, *anchor);
                tell(Did::Happened, format!("{}: {anchor}", one.describe()));
            }
            Event::NextIs(actor) => by = format!(" by {actor}"),
            Event::Sample(number) => title = Some(format!("sample {number}{by}:")),
            Event::Access(access) => {
                if let Some(title) = title.take() {
                    tell(Did::Sample, title);
                }
                if let Some(text) = names.access(access, moved) {
                    tell(if access.kind == AccessKind::WriteAnchor { Did::Write } else { Did::Read }, text);
                }
                moved = false;
            }
            Event::Result(_, result) => {
                if let Some(title) = title.take() {
                    tell(Did::Sample, title);
                }
                tell(Did::Result, clean(&returned(result)));
            }
        }
    }
    history
}

/// Frames by name.
struct Names {
    /// The number of each address that a frame ever had, from the lowest.
    slots: BTreeMap<u64, usize>,
    /// What stood last at an address.
    last: HashMap<u64, String>,
    /// Where something stands now.
    now: BTreeSet<u64>,
}

impl Names {
    fn of(events: &[Event]) -> Self {
        let chains = events.iter().filter_map(|event| match event {
            Event::Truth(chain) => Some(chain),
            _ => None,
        });
        let addresses: BTreeSet<u64> = chains.flatten().map(|standing| standing.address).collect();
        let slots = addresses.into_iter().enumerate().map(|(slot, address)| (address, slot)).collect();
        Self { slots, last: HashMap::new(), now: BTreeSet::new() }
    }

    fn stand(&mut self, chain: &[Standing]) {
        self.now = chain.iter().map(|standing| standing.address).collect();
        for (index, Standing { address, frame }) in chain.iter().enumerate() {
            let name = match frame {
                Some(frame) => frame.name(),
                None if index + 1 == chain.len() => "base".to_owned(),
                None => "shim".to_owned(),
            };
            self.last.insert(*address, name);
        }
    }

    fn frame(&self, address: u64) -> String {
        if address == 0 {
            return "NULL".to_owned();
        }
        match (self.last.get(&address), self.slots.get(&address)) {
            (Some(name), Some(slot)) if self.now.contains(&address) => format!("{name}@{slot}"),
            (Some(name), Some(slot)) => format!("{name}@{slot} (gone)"),
            (None, Some(slot)) => format!("@{slot}"),
            (_, None) => format!("{address:#x}"),
        }
    }

    fn word(&self, word: ThreadWord, value: u64) -> String {
        match word {
            ThreadWord::CurrentFrame | ThreadWord::Anchor => format!("{} = {}", word.name(), self.frame(value)),
            ThreadWord::Sequence => format!("{} = {}", word.name(), value.cast_signed()),
        }
    }

    fn shown(&self, shown: &Shown) -> String {
        match shown {
            Shown::Thread(word, value) => self.word(*word, *value),
            Shown::Frame(frame) => self.frame(*frame),
            Shown::Previous(frame, previous) => format!("{} previous = {}", self.frame(*frame), self.frame(*previous)),
            Shown::Chunk(start, end) => {
                let mut names: Vec<String> =
                    self.now.range(start..end).rev().map(|&address| self.frame(address)).collect();
                let more = names.len().saturating_sub(NAMED);
                names.truncate(NAMED);
                if more > 0 {
                    names.push(format!("{more} more"));
                }
                if names.is_empty() { "no frame".to_owned() } else { names.join(", ") }
            }
            Shown::Other(text) => clean(text),
        }
    }

    /// A numbered access. Pieces of a torn read are told only where they tell something, or where the target had moved.
    fn access(&self, access: &Access, moved: bool) -> Option<String> {
        let at = access.at?;
        let tells = access.shown.iter().any(|shown| !matches!(shown, Shown::Other(_) | Shown::Chunk(..)));
        if at.word > 0 && !tells && !moved {
            return None;
        }
        let place = if at.word > 0 { format!("{}/{}", at.access, at.word) } else { at.access.to_string() };
        // What is read along with words that have a name is of no interest.
        let of_interest = |shown: &&Shown| !tells || !matches!(shown, Shown::Other(_));
        let shown: Vec<String> = access.shown.iter().filter(of_interest).map(|shown| self.shown(shown)).collect();
        let verb = if access.kind == AccessKind::WriteAnchor { "writes " } else { "" };
        Some(format!("{place} {}: {verb}{}", access.kind, shown.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use model::schedule::story::Story;

    use super::*;

    fn text(events: &[Event]) -> String {
        columns(&history(events), 100)
    }

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_history_names_frames_and_shows_who_moved_when() {
        let text = text(&Story::late_anchor());
        let rows: Vec<String> = text.lines().map(squeezed).collect();
        let position = |wanted: &str| {
            rows.iter().position(|row| row.contains(wanted)).unwrap_or_else(|| panic!("{wanted:?} is not in\n{text}"))
        };
        let order = [
            "target walker",
            "sample 0:",
            "0 read-thread-state: current_frame = a_leaf@3;",
            "1 read-chunk: a_leaf@3, a@2, main@1",
            "current_frame = a@2; current_frame = main@1;",
            "2 write-anchor: writes anchor = b_leaf@3",
            "miss (anchor-null): returns a_leaf < a < main",
            "sample 1:",
            "full hit: returns b_leaf < a < main",
        ]
        .map(position);
        assert!(order.is_sorted(), "{order:?} in\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn frames_that_are_gone_are_marked_and_long_beginnings_left_out() {
        let mut story = Story::new().sample(&[], "main");
        for _ in 0..10 {
            story = story.go("a main").go("main");
        }
        let events = story.sample(&[0], "a main").go("main").read_frame(1).end(&["main"], 0).events();
        let text = squeezed(&text(&events));
        assert!(text.contains("(14 steps)") && text.contains("1 read-frame: a@2 (gone)"), "{text}");
    }
}
