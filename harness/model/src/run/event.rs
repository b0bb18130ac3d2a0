//! The events of a run, as data. Every report consumes them.

use std::time::Duration;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::oracle::tally::Tally;
use crate::run::cell::{CellId, CellOutcome, PlannedCell, Row};
use crate::run::excess::Unconfirmed;
use crate::run::finding::Finding;
use crate::run::item::Item;
use crate::run::observed::Observed;
use crate::run::part::Part;
use crate::run::phases::Phases;
use crate::run::schedules::RanSchedules;

/// An event of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// First event of a run.
    RunStarted {
        /// The builds under test, one entry for each run mode.
        rows: Vec<Row>,
        /// Every cell that should run.
        plan: Vec<PlannedCell>,
        /// The seed of the run. The seeds of all workloads are derived from it.
        seed: u64,
        /// The time the run may take.
        budget: Duration,
        /// How often each target of the stopped lane is stopped for each cached walker, if that number limits the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stops: Option<u32>,
        /// How many schedules of the stepped lane run for each program, if that number limits the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedules: Option<u32>,
        /// Which part of a shared run this is; `None` if the run cannot be shared.
        part: Option<Part>,
    },
    /// A worker begins with a cell.
    CellStarted {
        /// The cell that starts.
        cell: CellId,
    },
    /// Samples were taken. The numbers are increments, not totals.
    Samples {
        /// The cell in which they were taken.
        cell: CellId,
        /// The walker that took them.
        walker: WalkerKind,
        /// The counts since the last such event.
        tally: Tally,
    },
    /// Time was spent. The numbers are increments, not totals.
    Spent {
        /// The cell that spent it.
        cell: CellId,
        /// The time since the last such event, by phase.
        phases: Phases,
    },
    /// A walker ran schedules. They are increments, not totals.
    Schedules {
        /// The cell that ran them.
        cell: CellId,
        /// The walker that took the samples.
        walker: WalkerKind,
        /// The schedules since the last such event.
        schedules: RanSchedules,
    },
    /// A profile is complete.
    Profile {
        /// The cell that was profiled.
        cell: CellId,
        /// The observer and its profile.
        observed: Observed,
    },
    /// A clause is broken.
    Violation(Box<Finding>),
    /// An excess was seen, and not in every measurement.
    Unconfirmed {
        /// The cell in which it was seen.
        cell: CellId,
        /// The share that exceeds its bound.
        #[serde(flatten)]
        excess: Unconfirmed,
    },
    /// A cell is done, or will not run.
    CellFinished {
        /// The cell that is done.
        cell: CellId,
        /// Whether it ran, and if not, why not.
        #[serde(flatten)]
        outcome: CellOutcome,
    },
    /// First event of a run that judges items instead of cells.
    ItemsStarted {
        /// The verb that judges the items.
        verb: String,
    },
    /// What the run does now. Only the progress line shows it.
    Working {
        /// How much is done.
        done: u64,
        /// How much there is to do, in the same unit. It may grow.
        of: u64,
        /// What is being done.
        doing: String,
    },
    /// An item was judged.
    ItemFinished(Box<Item>),
    /// Last event of a run.
    RunFinished {
        /// Whether the user stopped it.
        interrupted: bool,
    },
}

/// Receives the events of a run. The events of one cell come in order; those of different cells interleave.
pub trait Consumer {
    /// Takes the next event of the run.
    fn event(&mut self, event: &Event);
}
