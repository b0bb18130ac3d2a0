//! What happens in a run, as data; every report is a consumer of it.

use std::time::Duration;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::oracle::tally::Tally;
use crate::run::cell::{CellId, CellOutcome, PlannedCell, Row};
use crate::run::finding::Finding;
use crate::run::observed::Observed;
use crate::run::part::Part;
use crate::run::phases::Phases;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// First event of a run.
    RunStarted {
        /// The builds under test, one entry for each run mode.
        rows: Vec<Row>,
        /// Every cell that ought to run.
        plan: Vec<PlannedCell>,
        /// The seed that all workloads derive theirs from.
        seed: u64,
        /// The time the run may take.
        budget: Duration,
        /// How often each target of the stopped lane is stopped for each cached walker, if that decides when it is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stops: Option<u32>,
        /// Which part of a run that several machines may share; none where there is no such run.
        part: Option<Part>,
    },
    /// A cell's turn has come.
    CellStarted {
        /// Which.
        cell: CellId,
    },
    /// Samples were taken; increments, not totals.
    Samples {
        /// In which cell.
        cell: CellId,
        /// By whom.
        walker: WalkerKind,
        /// What was counted since the last such event.
        tally: Tally,
    },
    /// Time went by; increments, not totals.
    Spent {
        /// In which cell.
        cell: CellId,
        /// On what, since the last such event.
        phases: Phases,
    },
    /// A profile is complete.
    Profile {
        /// Of which cell.
        cell: CellId,
        /// Whose, and what it is.
        observed: Observed,
    },
    /// A clause is broken.
    Violation(Box<Finding>),
    /// A cell is done, or will not run.
    CellFinished {
        /// Which.
        cell: CellId,
        /// How it ended.
        #[serde(flatten)]
        outcome: CellOutcome,
    },
    /// Last event of a run.
    RunFinished {
        /// Whether the user stopped it.
        interrupted: bool,
    },
}

/// Something that is told what happens. Events of one cell come in order; cells interleave.
pub trait Consumer {
    /// Takes notice of `event`.
    fn event(&mut self, event: &Event);
}
