//! What is known of a cell.

use std::collections::BTreeMap;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::oracle::tally::Tally;
use crate::run::cell::{CellId, CellOutcome, Expected};
use crate::run::observed::Observed;
use crate::run::phases::Phases;

/// A cell with everything that was heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellReport {
    /// Which.
    pub cell: CellId,
    /// What it must show, by walker.
    pub expected: BTreeMap<WalkerKind, Expected>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: CellOutcome,
    /// What was counted, by walker.
    pub tallies: BTreeMap<WalkerKind, Tally>,
    /// Where its time went, as far as the lane tells.
    #[serde(default, skip_serializing_if = "Phases::is_empty")]
    pub phases: Phases,
    /// Profiles and the truth, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<Observed>,
}
