//! The step-by-step history of a stepped run, with names instead of addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use framewalk::printable::clean;
use model::history::{Did, HistoryLine, returned};
use model::schedule::AccessKind;
use model::schedule::event::{Access, AccessedValue, ChainFrame, StepEvent, ThreadWord};

/// How many of the target's steps before the first sample are shown.
const SHOWN_BEFORE: usize = 6;
/// How many frames of a copied chunk are named.
const NAMED: usize = 6;

/// Turns the events of a run into the lines of its history, in order.
#[must_use]
pub fn history(events: &[StepEvent]) -> Vec<HistoryLine> {
    let mut history = Vec::new();
    let mut tell = |did, text| history.push(HistoryLine { did, text });
    let mut names = Names::of(events);
    let first = events.iter().position(|event| matches!(event, StepEvent::Access(_))).unwrap_or(events.len());
    let is_step = |event: &StepEvent| matches!(event, StepEvent::Step(..) | StepEvent::AnchorLoaded(_));
    let before = events[..first].iter().filter(|event| is_step(event)).count();
    let mut hidden = before.saturating_sub(SHOWN_BEFORE);
    if hidden > 0 {
        tell(Did::Hidden, format!("({hidden} steps)"));
    }
    // The title of a sample comes right before its first access, so that moves between samples appear between them.
    let mut title = None;
    let mut by = String::new();
    let mut moved = false;
    for (index, event) in events.iter().enumerate() {
        match event {
            StepEvent::Truth(chain) => names.stand(chain),
            StepEvent::Step(word, value) => {
                // The name of a new frame is in the chain recorded after the store.
                if let Some(StepEvent::Truth(chain)) = events.get(index + 1) {
                    names.stand(chain);
                }
                moved = true;
                if hidden > 0 {
                    hidden -= 1;
                } else {
                    tell(Did::Store, names.word(*word, *value));
                }
            }
            StepEvent::AnchorLoaded(_) if hidden > 0 => hidden -= 1,
            StepEvent::AnchorLoaded(anchor) => {
                tell(Did::Load, format!("loads {}", names.word(ThreadWord::Anchor, *anchor)));
            }
            StepEvent::Happened(one, anchor) => {
                let anchor = names.word(ThreadWord::Anchor, *anchor);
                tell(Did::Happened, format!("{}: {anchor}", one.describe()));
            }
            StepEvent::NextIs(actor) => by = format!(" by {actor}"),
            StepEvent::Sample(number) => title = Some(format!("sample {number}{by}:")),
            StepEvent::Access(access) => {
                if let Some(title) = title.take() {
                    tell(Did::Sample, title);
                }
                if let Some(text) = names.access(access, moved) {
                    tell(if access.kind == AccessKind::WriteAnchor { Did::Write } else { Did::Read }, text);
                }
                moved = false;
            }
            StepEvent::Result(_, result) => {
                if let Some(title) = title.take() {
                    tell(Did::Sample, title);
                }
                tell(Did::Result, clean(&returned(result)));
            }
        }
    }
    history
}

/// Maps frame addresses to names.
struct Names {
    /// The number of each address that ever held a frame, counted from the lowest.
    slots: BTreeMap<u64, usize>,
    /// The name of the last frame at an address.
    last: HashMap<u64, String>,
    /// The addresses that hold a frame now.
    now: BTreeSet<u64>,
}

impl Names {
    fn of(events: &[StepEvent]) -> Self {
        let chains = events.iter().filter_map(|event| match event {
            StepEvent::Truth(chain) => Some(chain),
            _ => None,
        });
        let addresses: BTreeSet<u64> = chains.flatten().map(|standing| standing.address).collect();
        let slots = addresses.into_iter().enumerate().map(|(slot, address)| (address, slot)).collect();
        Self { slots, last: HashMap::new(), now: BTreeSet::new() }
    }

    fn stand(&mut self, chain: &[ChainFrame]) {
        self.now = chain.iter().map(|standing| standing.address).collect();
        for (index, ChainFrame { address, frame }) in chain.iter().enumerate() {
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

    fn shown(&self, shown: &AccessedValue) -> String {
        match shown {
            AccessedValue::Thread(word, value) => self.word(*word, *value),
            AccessedValue::Frame(frame) => self.frame(*frame),
            AccessedValue::Previous(frame, previous) => {
                format!("{} previous = {}", self.frame(*frame), self.frame(*previous))
            }
            AccessedValue::Chunk(start, end) => {
                let mut names: Vec<String> =
                    self.now.range(start..end).rev().map(|&address| self.frame(address)).collect();
                let more = names.len().saturating_sub(NAMED);
                names.truncate(NAMED);
                if more > 0 {
                    names.push(format!("{more} more"));
                }
                if names.is_empty() { "no frame".to_owned() } else { names.join(", ") }
            }
            AccessedValue::Other(text) => clean(text),
        }
    }

    /// A numbered access. A piece of a torn read is shown only if it contains a named word or the target moved before
    /// it.
    fn access(&self, access: &Access, moved: bool) -> Option<String> {
        let at = access.at?;
        let tells =
            access.shown.iter().any(|shown| !matches!(shown, AccessedValue::Other(_) | AccessedValue::Chunk(..)));
        if at.word > 0 && !tells && !moved {
            return None;
        }
        let place = if at.word > 0 { format!("{}/{}", at.access, at.word) } else { at.access.to_string() };
        // If a read contains named words, the rest of it is left out.
        let of_interest = |shown: &&AccessedValue| !tells || !matches!(shown, AccessedValue::Other(_));
        let shown: Vec<String> = access.shown.iter().filter(of_interest).map(|shown| self.shown(shown)).collect();
        let verb = if access.kind == AccessKind::WriteAnchor { "writes " } else { "" };
        Some(format!("{place} {}: {verb}{}", access.kind, shown.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use model::history::columns;
    use model::schedule::story::Story;

    use super::*;

    fn text(events: &[StepEvent]) -> String {
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
    fn gone_frames_are_marked_and_long_beginnings_are_left_out() {
        let mut story = Story::new().sample(&[], "main");
        for _ in 0..10 {
            story = story.go("a main").go("main");
        }
        let events = story.sample(&[0], "a main").go("main").read_frame(1).end(&["main"], 0).events();
        let text = squeezed(&text(&events));
        assert!(text.contains("(14 steps)") && text.contains("1 read-frame: a@2 (gone)"), "{text}");
    }
}
