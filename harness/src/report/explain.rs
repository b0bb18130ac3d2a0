//! A failure of the stepped lane, explained: what both sides did, what came out, what could have, and why.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use crate::report::columns::{Columns, Side, returned};
use crate::report::human;
use crate::report::text::{clean, paragraph};
use crate::schedule::AccessKind;
use crate::schedule::cause::explain;
use crate::schedule::clause::{Clause, parting};
use crate::schedule::event::{Access, Event, Shown, Standing, ThreadWord};
use crate::stack::Stack;

/// The failure that a run ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The sample, from 0.
    pub sample: u32,
    /// What is wrong with it.
    pub clause: Clause,
    /// What it returned.
    pub seen: Stack,
    /// The stacks that the target had during the sample, in order.
    pub possible: Vec<Stack>,
}

/// Steps that are shown of those before the first sample.
const SHOWN_BEFORE: usize = 6;
/// Frames that are named of a chunk that is copied.
const NAMED: usize = 6;

/// The history of a run and what it says of the failure, for lines of `width` columns.
#[must_use]
pub fn render(events: &[Event], failure: &Failure, width: u16) -> String {
    let mut out = history(events, width);
    out.push('\n');
    let plural = |count: usize| if count == 1 { "1 frame".to_owned() } else { format!("{count} frames") };
    let parting = parting(&failure.seen, &failure.possible);
    let index = parting.map(|parting| parting.index);
    let _ = writeln!(out, "  seen       {} in sample {}, leaf first", plural(failure.seen.len()), failure.sample);
    let last = failure.seen.len().saturating_sub(1);
    human::stack(&mut out, &failure.seen, index.map(|index| index.min(last)));
    let mut distinct: Vec<&Stack> = Vec::new();
    for stack in &failure.possible {
        if !distinct.contains(&stack) {
            distinct.push(stack);
        }
    }
    let nearest = parting.and_then(|parting| failure.possible.get(parting.nearest));
    for stack in &distinct {
        let mark = if Some(*stack) == nearest && distinct.len() > 1 { " (the nearest)" } else { "" };
        let _ = writeln!(out, "  possible   {}, leaf first{mark}", plural(stack.len()));
        human::stack(&mut out, stack, index.filter(|_| Some(*stack) == nearest));
    }
    if distinct.is_empty() {
        out.push_str("  possible   nothing: the target had no stack that could be read\n");
    }
    paragraph(&mut out, "  clause     ", failure.clause.describe(), width);
    match explain(events, failure.sample, failure.clause) {
        Some(explained) => {
            paragraph(&mut out, "  cause      ", &explained.cause.to_string(), width);
            if let Some(stale) = explained.stale {
                paragraph(&mut out, "  too late   ", &stale.to_string(), width);
            }
        }
        None => paragraph(&mut out, "  cause      ", "the history does not hold this sample", width),
    }
    out
}

/// What both sides did, in two columns.
#[must_use]
pub fn history(events: &[Event], width: u16) -> String {
    let mut columns = Columns::default();
    let mut names = Names::of(events);
    let first = events.iter().position(|event| matches!(event, Event::Access(_))).unwrap_or(events.len());
    let is_step = |event: &Event| matches!(event, Event::Step(..) | Event::AnchorLoaded(_));
    let before = events[..first].iter().filter(|event| is_step(event)).count();
    let mut hidden = before.saturating_sub(SHOWN_BEFORE);
    if hidden > 0 {
        columns.add(Side::Left, format!("({hidden} steps)"));
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
                    columns.add(Side::Left, names.word(*word, *value));
                }
            }
            Event::AnchorLoaded(_) if hidden > 0 => hidden -= 1,
            Event::AnchorLoaded(anchor) => {
                columns.add(Side::Left, format!("loads {}", names.word(ThreadWord::Anchor, *anchor)));
            }
            Event::Happened(one, anchor) => {
                let anchor = names.word(ThreadWord::Anchor, *anchor);
                columns.add_below(Side::Right, format!("{}: {anchor}", one.describe()));
            }
            Event::NextIs(actor) => by = format!(" by {actor}"),
            Event::Sample(number) => title = Some(format!("sample {number}{by}:")),
            Event::Access(access) => {
                if let Some(title) = title.take() {
                    columns.add_below(Side::Right, title);
                }
                if let Some(text) = names.access(access, moved) {
                    columns.add_below(Side::Right, text);
                }
                moved = false;
            }
            Event::Result(_, result) => {
                if let Some(title) = title.take() {
                    columns.add_below(Side::Right, title);
                }
                columns.add_below(Side::Right, clean(&returned(result)));
            }
        }
    }
    columns.render(["target", "walker"], width)
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
                Some(frame) => clean(&frame.function),
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
    use super::*;
    use crate::schedule::story::{Story, stack};

    fn failure() -> Failure {
        let (seen, possible) = (stack("b_leaf a main"), vec![stack("b_leaf b main"), stack("b_leaf b main")]);
        Failure { sample: 1, clause: Clause::Spliced, seen, possible }
    }

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_history_names_frames_and_shows_who_moved_when() {
        let text = history(&Story::late_anchor(), 100);
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
    fn the_failure_is_told_with_its_cause() {
        let text = squeezed(&render(&Story::late_anchor(), &failure(), 80));
        for words in [
            "seen 3 frames in sample 1, leaf first b_leaf (workload.py:1) > a (workload.py:1) main (workload.py:1)",
            "possible 3 frames, leaf first b_leaf (workload.py:1) > b (workload.py:1) main (workload.py:1)",
            "clause spliced: the callers are from the cache",
            "cause the anchor was written at 0.2 for a_leaf, which had been read at 0.0;",
            "too late 0.2 (write-anchor): what 0.0 had seen no longer held",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        assert_eq!(text.matches("possible").count(), 1, "equal stacks are one: {text}");
    }

    #[test]
    fn frames_that_are_gone_are_marked_and_long_beginnings_left_out() {
        let mut story = Story::new().sample(&[], "main");
        for _ in 0..10 {
            story = story.go("a main").go("main");
        }
        let text = history(&story.sample(&[0], "a main").go("main").read_frame(1).end(&["main"], 0).events(), 100);
        let text = squeezed(&text);
        assert!(text.contains("(14 steps)") && text.contains("1 read-frame: a@2 (gone)"), "{text}");
    }

    #[test]
    fn a_failure_without_history_is_told_as_far_as_it_is_known() {
        let text = render(&[], &Failure { possible: Vec::new(), ..failure() }, 80);
        assert!(text.contains("had no stack that could be read"), "{text}");
        assert!(text.contains("does not hold this sample"), "{text}");
    }
}
