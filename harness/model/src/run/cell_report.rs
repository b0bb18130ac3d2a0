//! The result of a cell.

use std::collections::BTreeMap;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::oracle::tally::Tally;
use crate::run::cell::{CellId, CellOutcome, Expected};
use crate::run::excess::Unconfirmed;
use crate::run::observed::Observed;
use crate::run::phases::Phases;
use crate::run::schedules::RanSchedules;

/// A cell with all its events added up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellReport {
    /// The cell that was run, or that was planned and not run.
    pub cell: CellId,
    /// What each walker must show.
    pub expected: BTreeMap<WalkerKind, Expected>,
    /// How the cell ended; its fields are fields of this object in JSON.
    #[serde(flatten)]
    pub outcome: CellOutcome,
    /// The counts of each walker.
    pub tallies: BTreeMap<WalkerKind, Tally>,
    /// The schedules that each walker ran, if the lane has schedules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<WalkerKind, RanSchedules>,
    /// Where its time went, if the lane measures it.
    #[serde(default, skip_serializing_if = "Phases::is_empty")]
    pub phases: Phases,
    /// Excesses that were seen and not confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<Unconfirmed>,
    /// Profiles and the truth, if the run measured them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Observed>,
}
