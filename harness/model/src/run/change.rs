//! How failures changed from one run to a later one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::run::cell::Row;
use crate::run::verdict::Verdict;

/// How a failure changed from the earlier report to the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Only the later report has it, at least in some places where the earlier run could have shown it.
    New,
    /// Both have it, and schedules that passed fail now, or more of the same set of schedules.
    Worse,
    /// Both have it, and it is not [`Fate::Worse`]. Or it is a rate, and only the earlier report counts it among the
    /// failures, but it is not provably lower now.
    StillThere,
    /// Only the earlier report has it, and every place that showed it ran again.
    Gone,
    /// Only the earlier report has it, and at least one place that showed it did not run again.
    NotLookedFor,
}

impl Fate {
    /// All fates, in the order of reports.
    pub const ALL: [Self; 5] = [Self::New, Self::Worse, Self::StillThere, Self::Gone, Self::NotLookedFor];

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worse => "worse",
            Self::StillThere => "still there",
            Self::Gone => "gone",
            Self::NotLookedFor => "not looked for",
        }
    }

    /// The name where a change is compared with its base.
    #[must_use]
    pub fn against_base(self) -> &'static str {
        match self {
            Self::New => "new in this change",
            Self::Worse => "worse in this change",
            Self::StillThere => "still there, also in the base",
            Self::Gone => "gone",
            Self::NotLookedFor => "in the base, not looked for now",
        }
    }
}

/// One failure, compared across both reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// How the failure changed.
    pub fate: Fate,
    /// The fingerprint that makes it the same failure in both reports.
    pub fingerprint: String,
    /// The matching known failure, from the later report unless only the earlier one has the failure.
    pub known: Option<String>,
    /// How often it was seen in the earlier report.
    pub old_count: u64,
    /// How often it was seen in the later report.
    pub new_count: u64,
    /// The places where it was seen, from the later report unless only the earlier one has the failure. If it is new only
    /// in some places, these.
    pub places: BTreeSet<String>,
    /// Whether this change fails the comparison.
    pub fails: bool,
    /// How many schedules passed before and fail now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub schedules: u64,
    /// The cases of the simplest of them, each on a line that `framediff replay` runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<String>,
}

impl Change {
    /// What the base says of the failure, if the earlier report is of the base.
    #[must_use]
    pub fn against_base(&self) -> AgainstBase {
        match self.fate {
            Fate::New | Fate::Worse if self.fails => AgainstBase::New,
            Fate::New => AgainstBase::NotProved,
            Fate::Worse | Fate::StillThere | Fate::Gone | Fate::NotLookedFor => AgainstBase::AlsoInBase,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The result of comparing two reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportComparison {
    /// Every failure of either report, in the order of [`Fate`], then by fingerprint.
    pub changes: Vec<Change>,
    /// Rows of the earlier report that have another name in the later one, with the later name.
    pub renamed: BTreeMap<String, String>,
    /// Places with a result only in the earlier run.
    pub ran_before_only: BTreeSet<String>,
    /// Places with a result only in the later run.
    pub ran_now_only: BTreeSet<String>,
    /// Number of places with a result in both runs.
    pub ran_both: usize,
    /// Reasons other than failures why the later run does not pass.
    pub doubts: BTreeSet<String>,
}

impl ReportComparison {
    /// Fail if a change fails the comparison. Inconclusive if something did not run again or was left open.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.failing().next().is_some() {
            Verdict::Fail
        } else if self.is_complete() {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        }
    }

    /// The changes that fail the comparison.
    pub fn failing(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.fails)
    }

    /// How many failures have this fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.changes.iter().filter(|change| change.fate == fate).count()
    }

    /// Whether every place of the earlier run ran again, at least one did, and the later run left nothing open.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let looked = self.changes.iter().all(|change| change.fate != Fate::NotLookedFor);
        looked && self.doubts.is_empty() && self.ran_before_only.is_empty() && self.ran_both > 0
    }
}

/// The base of a run, and how the run differs from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseComparison {
    /// The base as it was given: an interpreter, or the report of a run.
    pub base: String,
    /// The builds of the base, one entry for each run mode.
    pub builds: Vec<Row>,
    /// How the failures changed.
    #[serde(flatten)]
    pub comparison: ReportComparison,
}

/// What the base says of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgainstBase {
    /// The base does not show it, and could have.
    New,
    /// The base shows it, too.
    AlsoInBase,
    /// The base does not show it, but that proves nothing: it is seen by chance, or the base did not look for it.
    NotProved,
}

impl AgainstBase {
    /// The words for it in reports.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::New => "new in this change",
            Self::AlsoInBase => "also in the base",
            Self::NotProved => "not seen in the base, which proves nothing",
        }
    }
}
