//! Violations that are the same bug, and known failures that did not occur.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::run::cell::CellId;
use crate::run::change::AgainstBase;
use crate::run::finding::{Finding, Fingerprint};
use crate::run::known::KnownFailure;

/// All violations with the same fingerprint that the same entry describes, or that no entry describes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistinctViolation {
    /// The fingerprint that all of them share.
    pub fingerprint: Fingerprint,
    /// The entry of the known failures that describes them.
    pub known: Option<KnownFailure>,
    /// Whether that entry is not confirmed for the versions on which they occurred.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_confirmed: bool,
    /// What the base says of them, if the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against_base: Option<AgainstBase>,
    /// How often they occurred.
    pub count: u64,
    /// The rows on which they occurred.
    pub rows: BTreeSet<String>,
    /// The cells in which they occurred; lane and walker are in the fingerprint.
    #[serde(default)]
    pub places: Vec<CellCount>,
    /// The first of them.
    pub first: Finding,
    /// The file of its bundle, if the run made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<PathBuf>,
}

/// A cell in which a violation occurred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellCount {
    /// The name of the row.
    pub row: String,
    /// The family of the cell's workload.
    pub family: String,
    /// The seed of the cell.
    pub seed: u64,
    /// How often it occurred there.
    pub count: u64,
}

impl DistinctViolation {
    /// How often it occurred in `cell`.
    #[must_use]
    pub fn count_in(&self, cell: &CellId) -> u64 {
        let here = |place: &&CellCount| (&place.row, &place.family, place.seed) == (&cell.row, &cell.family, cell.seed);
        let counts = self.places.iter().filter(here).map(|place| place.count);
        if self.first.lane == cell.lane { counts.sum() } else { 0 }
    }

    /// Whether it fails a run. Against a base only what is new fails.
    #[must_use]
    pub fn fails(&self, strict: bool) -> bool {
        match self.against_base {
            Some(against) => against == AgainstBase::New,
            None => self.known.is_none() || strict,
        }
    }

    /// Adds a finding with the same fingerprint.
    pub fn add(&mut self, finding: &Finding) {
        let count = finding.count.max(1);
        self.count += count;
        self.rows.insert(finding.row.clone());
        let same = |place: &&mut CellCount| {
            (&place.row, &place.family, place.seed) == (&finding.row, &finding.family, finding.seed)
        };
        match self.places.iter_mut().find(same) {
            Some(place) => place.count += count,
            None => self.places.push(CellCount {
                row: finding.row.clone(),
                family: finding.family.clone(),
                seed: finding.seed,
                count,
            }),
        }
    }
}

impl NotSeen {
    /// The name of the entry, and what to do about it.
    #[must_use]
    pub fn name(&self) -> String {
        let advice = if self.not_confirmed { " (not seen: perhaps mended; gone since?)" } else { "" };
        format!("{}{advice}", self.known.id)
    }
}

/// A known failure that did not occur where it should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotSeen {
    /// The row that should have it.
    pub row: String,
    /// The entry that expected the failure.
    pub known: KnownFailure,
    /// Whether the entry is not confirmed for the row's version: the failure may be mended there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_confirmed: bool,
    /// How many stacks were judged.
    pub stacks: u64,
}
