//! What a comparison of two reports found.

use std::collections::{BTreeMap, BTreeSet};

use model::run::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// How a failure changed from the earlier report to the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Only the later report has it.
    New,
    /// Both have it, and more of the same schedules fail.
    Worse,
    /// Both have it, and it is not [`Fate::Worse`].
    StillThere,
    /// Only the earlier report has it, and every place that showed it ran again.
    Gone,
    /// Only the earlier report has it, and at least one place that showed it did not run again.
    NotLookedFor,
}

impl Fate {
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
    /// The places where it was seen, from the later report unless only the earlier one has the failure.
    pub places: BTreeSet<String>,
    /// Whether this change fails the comparison.
    pub fails: bool,
}

/// The result of comparing two reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// The value of the document's `kind` field.
pub const KIND: &str = "framediff-comparison";
/// The version of the document format. It grows when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// The document of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparisonDocument {
    /// Always [`KIND`], which distinguishes the document from reports.
    pub kind: String,
    /// The version of the format, [`VERSION`].
    pub version: u32,
    /// The verdict of the comparison.
    pub verdict: Verdict,
    /// The changes and the places compared.
    #[serde(flatten)]
    pub comparison: ReportComparison,
}

impl From<ReportComparison> for ComparisonDocument {
    fn from(comparison: ReportComparison) -> Self {
        Self { kind: KIND.to_owned(), version: VERSION, verdict: comparison.verdict(), comparison }
    }
}

impl ReportComparison {
    /// Fail if a failure is worse or is new without an excuse. Inconclusive if something did not run again or was left
    /// open.
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

    /// The changes that fail the comparison. These are failures that are worse, and new failures unless a known
    /// failure excuses them. A known failure excuses nothing if both runs took the same schedules and none of them
    /// showed it before.
    pub fn failing(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.fails)
    }

    /// Whether every place of the earlier run ran again, at least one did, and the later run left nothing open.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let looked = self.changes.iter().all(|change| change.fate != Fate::NotLookedFor);
        looked && self.doubts.is_empty() && self.ran_before_only.is_empty() && self.ran_both > 0
    }
}
