//! The document of a run that judged items.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::run::event::{Consumer, Event};
use crate::run::item::Item;
use crate::run::verdict::Verdict;

/// The value of the document's `kind` field.
pub const KIND: &str = "framediff-results";
/// The version of the document format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// The items of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Always [`KIND`], which distinguishes the document from others.
    pub kind: String,
    /// The version of the format, [`VERSION`].
    pub version: u32,
    /// The version of framediff that wrote the document.
    pub framediff: String,
    /// The verb that judged them. Empty before the run starts.
    pub verb: String,
    /// Whether the user interrupted the run. True until the run ends.
    pub interrupted: bool,
    /// The items, in the order in which they ended.
    pub items: Vec<Item>,
}

impl Default for Results {
    fn default() -> Self {
        Self {
            kind: KIND.to_owned(),
            version: VERSION,
            framediff: env!("CARGO_PKG_VERSION").to_owned(),
            verb: String::new(),
            interrupted: true,
            items: Vec::new(),
        }
    }
}

impl Results {
    /// The worst verdict of the items. No item at all is no pass, and neither is an interrupted run.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let open = if self.interrupted { Some(Verdict::Inconclusive) } else { None };
        Verdict::worst(self.items.iter().map(|item| item.verdict).chain(open))
    }

    /// The result in one line.
    #[must_use]
    pub fn in_short(&self) -> String {
        let count = |verdict| self.items.iter().filter(|item| item.verdict == verdict).count();
        let [pass, fail, open] = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive].map(count);
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        format!("{pass} passed, {fail} failed, {open} inconclusive{interrupted}")
    }

    /// The whole text of every item.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out: String = self.items.iter().map(|item| item.text.as_str()).collect();
        let _ = writeln!(out, "{}: {}, verdict: {}", self.verb, self.in_short(), self.verdict());
        out
    }
}

impl Consumer for Results {
    fn event(&mut self, event: &Event) {
        match event {
            Event::ItemsStarted { verb } => self.verb.clone_from(verb),
            Event::ItemFinished(item) => self.items.push((**item).clone()),
            Event::RunFinished { interrupted } => self.interrupted = *interrupted,
            Event::RunStarted { .. }
            | Event::CellStarted { .. }
            | Event::Samples { .. }
            | Event::Spent { .. }
            | Event::Schedules { .. }
            | Event::Profile { .. }
            | Event::Violation(_)
            | Event::Unconfirmed { .. }
            | Event::CellFinished { .. }
            | Event::Working { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(verdicts: &[Verdict], interrupted: bool) -> Results {
        let mut results = Results::default();
        results.event(&Event::ItemsStarted { verb: "prove".into() });
        for &verdict in verdicts {
            let text = |text: &str| text.to_owned();
            let item = Item {
                name: text("alternating"),
                of: text("own-cached"),
                verdict,
                seconds: 0.5,
                short: text("COMPLETE"),
                text: text("alternating: COMPLETE\n"),
                history: Vec::new(),
            };
            results.event(&Event::ItemFinished(Box::new(item)));
        }
        results.event(&Event::RunFinished { interrupted });
        results
    }

    #[test]
    fn the_worst_item_decides_and_nothing_is_no_pass() {
        use Verdict::{Fail, Inconclusive, Pass};
        for (verdicts, interrupted, expected) in [
            (&[Pass, Pass][..], false, Pass),
            (&[Pass, Inconclusive], false, Inconclusive),
            (&[Inconclusive, Fail, Pass], false, Fail),
            (&[Pass], true, Inconclusive),
            (&[], false, Inconclusive),
        ] {
            assert_eq!(results(verdicts, interrupted).verdict(), expected, "{verdicts:?}");
        }
        assert_eq!(Results::default().verdict(), Inconclusive, "a run that never ended");
        assert_eq!(results(&[Pass, Fail], false).in_short(), "1 passed, 1 failed, 0 inconclusive");
    }
}
