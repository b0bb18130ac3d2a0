//! Explains a failure of the stepped lane: what both sides did, which stack came out, which were possible, and why.

use std::fmt::Write;

use framewalk::frame::Frame;
use framewalk::printable::clean;
use framewalk::stack::Stack;
use model::history::{HistoryLine, columns};
use model::invariants::{SampleFault, first_difference};
use model::schedule::cause::explain;
use model::schedule::event::StepEvent;
use serde::{Deserialize, Serialize};

use crate::report::history::history;
use crate::report::human;
use crate::report::text::{Look, paragraph, plural};

/// The value of the document's `kind` field.
pub const KIND: &str = "framediff-explanation";
/// The version of the document format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// Minimum width of the text: the history has two columns.
const WIDTH: u16 = 100;

/// The failure at the end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedFailure {
    /// Number of the failing sample, from 0.
    pub sample: u32,
    /// The clause that the sample broke.
    pub clause: SampleFault,
    /// The stack that the walker returned.
    pub seen: Stack,
    /// The stacks that the target had during the sample, in order of time.
    pub possible: Vec<Stack>,
}

/// The document of one replayed case, with its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplanationDocument {
    /// Always [`KIND`], which distinguishes the document from others.
    pub kind: String,
    /// The version of the format, [`VERSION`].
    pub version: u32,
    /// The framediff version that wrote the document.
    pub framediff: String,
    /// The case, in its one-line form.
    pub case: String,
    /// The note in the case's file.
    pub note: String,
    /// The fingerprint of the case's failure.
    pub fingerprint: String,
    /// The build on which the case ran.
    pub build: String,
    /// The history and the explanation of the failure.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// The history of a run and the explanation of its failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Everything that target and walker did, in order.
    pub history: Vec<HistoryLine>,
    /// The failure, if the run failed.
    pub failure: Option<Explained>,
    /// Where the schedule did not fit the run, if anywhere.
    pub misfit: Option<String>,
}

/// A failure together with its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Number of the failing sample, from 0.
    pub sample: u32,
    /// The clause that the sample broke.
    pub clause: SampleFault,
    /// The stack that the walker returned, leaf first.
    pub seen: Vec<Frame>,
    /// The distinct stacks that the target had during the sample.
    pub possible: Vec<Vec<Frame>>,
    /// Index into `possible` of the stack nearest to the one seen.
    pub nearest: Option<usize>,
    /// Index of the first difference between the seen and the nearest stack, counted from the leaf.
    pub parting: Option<usize>,
    /// What made the failure possible, if the history shows it.
    pub cause: Option<String>,
    /// The first access that acted on a value that was no longer valid.
    pub too_late: Option<String>,
}

impl ExplanationDocument {
    /// Renders the document as text.
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
    /// Explains the failure of a run from its history.
    #[must_use]
    pub fn of(events: &[StepEvent], failure: Option<&ExplainedFailure>, misfit: Option<String>) -> Self {
        let failure = failure.map(|failure| Explained::of(events, failure));
        Self { history: history(events), failure, misfit }
    }

    /// Renders the explanation as text, in lines of `width` columns: the failure, then the history.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let mut out = String::new();
        match &self.failure {
            Some(failure) => failure.render(&mut out, width),
            None => out.push_str("  nothing is wrong: the target had every stack during its sample\n"),
        }
        if let Some(misfit) = &self.misfit {
            let _ = writeln!(out, "  note       {}", clean(misfit));
        }
        out.push('\n');
        out + &columns(&self.history, width)
    }
}

impl Explained {
    fn of(events: &[StepEvent], failure: &ExplainedFailure) -> Self {
        let difference = first_difference(&failure.seen, &failure.possible);
        let nearest =
            difference.and_then(|difference| failure.possible.get(difference.nearest)).map(|stack| stack.to_vec());
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
            parting: difference.map(|difference| difference.index),
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

    fn failure() -> ExplainedFailure {
        let (seen, possible) = (stack("b_leaf a main"), vec![stack("b_leaf b main"), stack("b_leaf b main")]);
        ExplainedFailure { sample: 1, clause: SampleFault::Spliced, seen, possible }
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
        let failure = ExplainedFailure { possible: Vec::new(), ..failure() };
        let text = Explanation::of(&[], Some(&failure), None).text(80);
        assert!(text.contains("had no stack that could be read"), "{text}");
        assert!(text.contains("does not hold this sample"), "{text}");
    }
}
