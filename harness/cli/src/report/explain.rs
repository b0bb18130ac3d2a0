//! A failure of the stepped lane, explained: what both sides did, what came out, what could have, and why.

use std::fmt::Write;

use framewalk::frame::Frame;
use framewalk::printable::clean;
use framewalk::stack::Stack;
use model::schedule::cause::explain;
use model::schedule::clause::{Clause, parting};
use model::schedule::event::Event;
use serde::{Deserialize, Serialize};

use crate::report::history::{Told, columns, history};
use crate::report::human;
use crate::report::text::{Look, paragraph, plural};

/// What the document says it is.
pub const KIND: &str = "framediff-explanation";
/// The version of the document's form; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// Two columns need as much.
const WIDTH: u16 = 100;

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

/// A run of a case with its history, as a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// [`KIND`].
    pub kind: String,
    /// [`VERSION`].
    pub version: u32,
    /// The program's own version.
    pub framediff: String,
    /// The case, on a line.
    pub case: String,
    /// What its file says of it.
    pub note: String,
    /// What fails in it.
    pub fingerprint: String,
    /// The build on which it ran.
    pub build: String,
    /// What happened.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// A history and what it says of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// What both sides did.
    pub history: Vec<Told>,
    /// What is wrong, if anything is.
    pub failure: Option<Explained>,
    /// Where the schedule did not fit the run.
    pub misfit: Option<String>,
}

/// A failure with its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The sample, from 0.
    pub sample: u32,
    /// What is wrong with it.
    pub clause: Clause,
    /// What it returned, leaf first.
    pub seen: Vec<Frame>,
    /// The different stacks that the target had during the sample.
    pub possible: Vec<Vec<Frame>>,
    /// Index of the one that is nearest to what was seen.
    pub nearest: Option<usize>,
    /// Where these two part, counted from the leaf.
    pub parting: Option<usize>,
    /// What made it possible, where the history holds it.
    pub cause: Option<String>,
    /// The first access that acted on something that no longer held.
    pub too_late: Option<String>,
}

impl Document {
    /// The same for people.
    #[must_use]
    pub fn text(&self, look: Look) -> String {
        let mut out = format!("{} on CPython {}\n", clean(&self.fingerprint), clean(&self.build));
        if !self.note.is_empty() {
            let _ = writeln!(out, "{}", clean(&self.note));
        }
        out.push('\n');
        out.push_str(&self.explanation.text(look.width.max(WIDTH)));
        out
    }
}

impl Explanation {
    /// Explains a run.
    #[must_use]
    pub fn of(events: &[Event], failure: Option<&Failure>, misfit: Option<String>) -> Self {
        let failure = failure.map(|failure| Explained::of(events, failure));
        Self { history: history(events), failure, misfit }
    }

    /// The same for people, in lines of `width` columns.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let mut out = columns(&self.history, width);
        out.push('\n');
        match &self.failure {
            Some(failure) => failure.render(&mut out, width),
            None => out.push_str("  nothing is wrong: every stack was there during its sample\n"),
        }
        if let Some(misfit) = &self.misfit {
            let _ = writeln!(out, "  note       {}", clean(misfit));
        }
        out
    }
}

impl Explained {
    fn of(events: &[Event], failure: &Failure) -> Self {
        let parting = parting(&failure.seen, &failure.possible);
        let nearest = parting.and_then(|parting| failure.possible.get(parting.nearest)).map(|stack| stack.to_vec());
        let mut possible: Vec<Vec<Frame>> = Vec::new();
        for stack in &failure.possible {
            if !possible.iter().any(|known| known[..] == stack[..]) {
                possible.push(stack.to_vec());
            }
        }
        let explained = explain(events, failure.sample, failure.clause);
        Self {
            sample: failure.sample,
            clause: failure.clause,
            seen: failure.seen.to_vec(),
            nearest: nearest.and_then(|nearest| possible.iter().position(|stack| *stack == nearest)),
            possible,
            parting: parting.map(|parting| parting.index),
            cause: explained.as_ref().map(|explained| explained.cause.to_string()),
            too_late: explained.and_then(|explained| explained.stale).map(|stale| stale.to_string()),
        }
    }

    fn render(&self, out: &mut String, width: u16) {
        let Self { sample, clause, seen, possible, nearest, parting, cause, too_late } = self;
        let _ = writeln!(out, "  seen       {} in sample {sample}, leaf first", plural(seen.len(), "frame"));
        human::stack(out, seen, parting.map(|index| index.min(seen.len().saturating_sub(1))));
        for (index, stack) in possible.iter().enumerate() {
            let is_nearest = *nearest == Some(index);
            let mark = if is_nearest && possible.len() > 1 { " (the nearest)" } else { "" };
            let _ = writeln!(out, "  possible   {}, leaf first{mark}", plural(stack.len(), "frame"));
            human::stack(out, stack, parting.filter(|_| is_nearest));
        }
        if possible.is_empty() {
            out.push_str("  possible   nothing: the target had no stack that could be read\n");
        }
        paragraph(out, "  clause     ", clause.describe(), width);
        paragraph(out, "  cause      ", cause.as_deref().unwrap_or("the history does not hold this sample"), width);
        if let Some(too_late) = too_late {
            paragraph(out, "  too late   ", too_late, width);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::schedule::story::{Story, stack};

    use super::*;

    fn failure() -> Failure {
        let (seen, possible) = (stack("b_leaf a main"), vec![stack("b_leaf b main"), stack("b_leaf b main")]);
        Failure { sample: 1, clause: Clause::Spliced, seen, possible }
    }

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_failure_is_told_with_its_cause() {
        let text = squeezed(&Explanation::of(&Story::late_anchor(), Some(&failure()), None).text(80));
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
    fn a_failure_without_history_is_told_as_far_as_it_is_known() {
        let failure = Failure { possible: Vec::new(), ..failure() };
        let text = Explanation::of(&[], Some(&failure), None).text(80);
        assert!(text.contains("had no stack that could be read"), "{text}");
        assert!(text.contains("does not hold this sample"), "{text}");
    }
}
