//! Compares two reports: which failures are new, which remain, and which are gone.
//!
//! A failure is gone only if the part of the earlier run that showed it ran again. It is new even if the earlier run
//! could not have shown it. The unit of comparison is the *place* where something ran. For `check` it is row, lane,
//! family and walker; for a search of schedules, all its bounds; for a mutant, row and name (a mutant fails by
//! surviving).
//!
//! If both runs took the same schedules, a failure that none of them showed before is new, even if the known failures
//! describe it. A failure on more of them than before is worse. Whatever the later report leaves open prevents a pass.

mod comparable;
mod human;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use comparable::{ComparableReport, Found, Key, Place};
use model::run::verdict::Verdict;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::report::saved::SavedError;

/// Why two reports cannot be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// One file cannot be read or is not a report that can be compared.
    #[error(transparent)]
    Load(#[from] SavedError),
    /// The reports come from different verbs.
    #[error(
        "{} is a report of {left}, but {} is one of {right}: they cannot be compared; name two reports of the same \
         verb",
        old.display(), new.display()
    )]
    Kinds {
        /// The file of the earlier report.
        old: PathBuf,
        /// The verb of the earlier report.
        left: &'static str,
        /// The file of the later report.
        new: PathBuf,
        /// The verb of the later report.
        right: &'static str,
    },
}

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

/// Compares two reports of `check`, `merge`, `explore` or `mutants`.
///
/// # Errors
/// One file is not such a report, or the reports come from different verbs.
pub fn compare(old: &Path, new: &Path) -> Result<ReportComparison, CompareError> {
    let (left, right) = (ComparableReport::load(old)?, ComparableReport::load(new)?);
    if left.verb != right.verb {
        let (old, new) = (old.to_owned(), new.to_owned());
        return Err(CompareError::Kinds { old, left: left.verb, new, right: right.verb });
    }
    Ok(changes(left, right))
}

fn changes(old: ComparableReport, new: ComparableReport) -> ReportComparison {
    let renamed = renamed(&old.rows, &new.rows);
    // From here on, places of the earlier report use the row names of the later one.
    let now = |(row, rest): &Place| (renamed.get(row).unwrap_or(row).clone(), rest.clone());
    let ran_before: BTreeSet<Place> = old.ran.iter().map(now).collect();
    let shown = |places: &BTreeSet<Place>| places.iter().map(|(row, rest)| format!("{row}, {rest}")).collect();

    let schedules_before: BTreeMap<Place, &String> =
        old.schedules.iter().map(|(place, text)| (now(place), text)).collect();
    // Whether both runs took the same, complete set of schedules at a place.
    let same_schedules =
        |place: &Place| new.schedules.get(place).is_some_and(|text| schedules_before.get(place) == Some(&text));

    let found_before: BTreeMap<Key, &Found> = old.found.iter().map(|(key, found)| (now(key), found)).collect();
    let mut changes = Vec::new();
    let keys: BTreeSet<&Key> = found_before.keys().chain(new.found.keys()).collect();
    for key in keys {
        let (before, after) = (found_before.get(key).copied(), new.found.get(key));
        let (fate, last) = match (before, after) {
            (Some(before), Some(after)) => {
                let places: BTreeSet<Place> =
                    before.places.iter().map(now).chain(after.places.iter().cloned()).collect();
                let worse = after.count > before.count && places.iter().all(same_schedules);
                (if worse { Fate::Worse } else { Fate::StillThere }, after)
            }
            (None, Some(after)) => (Fate::New, after),
            (Some(before), None) => {
                let again = before.places.iter().all(|place| new.ran.contains(&now(place)));
                (if again { Fate::Gone } else { Fate::NotLookedFor }, before)
            }
            (None, None) => continue,
        };
        let (row, name) = key;
        let fails = match fate {
            Fate::New => last.known.is_none() || last.places.iter().any(same_schedules),
            Fate::Worse => true,
            Fate::StillThere | Fate::Gone | Fate::NotLookedFor => false,
        };
        changes.push(Change {
            fails,
            fate,
            fingerprint: if row.is_empty() { name.clone() } else { format!("{name} ({row})") },
            known: last.known.clone(),
            old_count: before.map_or(0, |found| found.count),
            new_count: after.map_or(0, |found| found.count),
            places: shown(&last.places),
        });
    }
    changes.sort_by(|left, right| (left.fate, &left.fingerprint).cmp(&(right.fate, &right.fingerprint)));
    ReportComparison {
        changes,
        ran_before_only: shown(&ran_before.difference(&new.ran).cloned().collect()),
        ran_now_only: shown(&new.ran.difference(&ran_before).cloned().collect()),
        ran_both: ran_before.intersection(&new.ran).count(),
        doubts: new.doubts,
        renamed,
    }
}

/// Matches rows whose name exists in only one of the reports, for example the next version of the same build. Two such
/// rows match if each is the only one of its kind in its report.
fn renamed(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let lone = |rows: &BTreeMap<String, String>, others: &BTreeMap<String, String>, kind: &String| {
        let mut names = rows.iter().filter(|(name, its)| *its == kind && !others.contains_key(*name));
        let name = names.next().map(|(name, _)| name.clone());
        name.filter(|_| names.next().is_none())
    };
    let kinds: BTreeSet<&String> = old.values().collect();
    kinds.into_iter().filter_map(|kind| Some((lone(old, new, kind)?, lone(new, old, kind)?))).collect()
}
