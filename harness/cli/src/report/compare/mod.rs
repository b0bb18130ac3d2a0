//! Two reports held against each other: which failures are new, which are still there, which are gone.
//!
//! A failure is gone only if what showed it ran again, and new whether or not the earlier run could have shown it. Where
//! something ran is its *place*: row, lane, family and walker; for a search of schedules all that bounds it; for a mutant row and
//! name, and its failure is to survive.
//!
//! Where both runs took the same schedules, what failed on none of them and now does is new, whether or not an entry of the
//! known failures describes it, and what fails on more of them is worse. What the later report leaves open is no pass.

mod human;
#[cfg(test)]
mod tests;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::run::verdict::Verdict;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use told::{Found, Key, Place, Told};

use crate::report::saved::SavedError;

/// Why two reports cannot be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// One of them is no report.
    #[error(transparent)]
    Load(#[from] SavedError),
    /// They are of different verbs.
    #[error(
        "{} is a report of {left}, {} one of {right}: nothing in them can be compared; name two reports of the same verb",
        old.display(), new.display()
    )]
    Kinds {
        /// The earlier one.
        old: PathBuf,
        /// Of what.
        left: &'static str,
        /// The later one.
        new: PathBuf,
        /// Of what.
        right: &'static str,
    },
}

/// What became of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// The earlier report does not have it.
    New,
    /// Both have it, and of the same schedules more fail so.
    Worse,
    /// Both have it.
    StillThere,
    /// The later report does not have it, though what showed it ran.
    Gone,
    /// The later report does not have it, and what showed it did not run, or not everywhere.
    NotLookedFor,
}

impl Fate {
    /// The word in reports.
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

/// One failure in both reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What became of it.
    pub fate: Fate,
    /// What makes it the same.
    pub fingerprint: String,
    /// The entry of the known failures, in the report that is the last to have it.
    pub known: Option<String>,
    /// How often it is in the earlier report.
    pub old_count: u64,
    /// How often it is in the later report.
    pub new_count: u64,
    /// Where it was seen, in the report that is the last to have it.
    pub places: BTreeSet<String>,
    /// Whether it fails the comparison.
    pub fails: bool,
}

/// Everything that differs between two reports, and what does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// New ones first, then by fingerprint.
    pub changes: Vec<Change>,
    /// Rows of the earlier report, and those of the later one that stand for them under another name.
    pub renamed: BTreeMap<String, String>,
    /// Where the earlier run came to a result and the later one did not.
    pub ran_before_only: BTreeSet<String>,
    /// Where the later run came to a result and the earlier one did not.
    pub ran_now_only: BTreeSet<String>,
    /// In how many places both did.
    pub ran_both: usize,
    /// What keeps the later run from passing, whatever failed.
    pub doubts: BTreeSet<String>,
}

/// What the document of a comparison says it is.
pub const KIND: &str = "framediff-comparison";
/// The version of its form; it grows when a field changes its meaning or goes away.
pub const VERSION: u32 = 1;

/// A comparison as a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// [`KIND`].
    pub kind: String,
    /// [`VERSION`].
    pub version: u32,
    /// What it says.
    pub verdict: Verdict,
    /// What became of the failures.
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl From<Comparison> for Document {
    fn from(comparison: Comparison) -> Self {
        Self { kind: KIND.to_owned(), version: VERSION, verdict: comparison.verdict(), comparison }
    }
}

impl Comparison {
    /// Fails for a failure that is new or worse; no pass if something was not looked for, or left open.
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

    /// The failures that are worse, or new and not excused: not known, or known and shown by none of the same schedules before.
    pub fn failing(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.fails)
    }

    /// Whether what could tell of every failure ran, and so did what could show another one.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let looked = self.changes.iter().all(|change| change.fate != Fate::NotLookedFor);
        looked && self.doubts.is_empty() && self.ran_before_only.is_empty() && self.ran_both > 0
    }
}

/// Compares two reports of `check`, `merge`, `explore` or `mutants`.
///
/// # Errors
/// One of the files is no such report, or they are of different verbs.
pub fn compare(old: &Path, new: &Path) -> Result<Comparison, CompareError> {
    let (left, right) = (Told::load(old)?, Told::load(new)?);
    if left.verb != right.verb {
        let (old, new) = (old.to_owned(), new.to_owned());
        return Err(CompareError::Kinds { old, left: left.verb, new, right: right.verb });
    }
    Ok(changes(left, right))
}

fn changes(old: Told, new: Told) -> Comparison {
    let renamed = renamed(&old.rows, &new.rows);
    // From here on places of the earlier report have the names of the later one.
    let now = |(row, rest): &Place| (renamed.get(row).unwrap_or(row).clone(), rest.clone());
    let ran_before: BTreeSet<Place> = old.ran.iter().map(now).collect();
    let shown = |places: &BTreeSet<Place>| places.iter().map(|(row, rest)| format!("{row}, {rest}")).collect();

    let schedules_before: BTreeMap<Place, &String> =
        old.schedules.iter().map(|(place, text)| (now(place), text)).collect();
    // Whether both runs took the same schedules there, and all of them.
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
    Comparison {
        changes,
        ran_before_only: shown(&ran_before.difference(&new.ran).cloned().collect()),
        ran_now_only: shown(&new.ran.difference(&ran_before).cloned().collect()),
        ran_both: ran_before.intersection(&new.ran).count(),
        doubts: new.doubts,
        renamed,
    }
}

/// Which row of `new` stands for each row of `old` that is not there under its name: the only one of its kind on both sides,
/// as for the next version of the same build.
fn renamed(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let lone = |rows: &BTreeMap<String, String>, others: &BTreeMap<String, String>, kind: &String| {
        let mut names = rows.iter().filter(|(name, its)| *its == kind && !others.contains_key(*name));
        let name = names.next().map(|(name, _)| name.clone());
        name.filter(|_| names.next().is_none())
    };
    let kinds: BTreeSet<&String> = old.values().collect();
    kinds.into_iter().filter_map(|kind| Some((lone(old, new, kind)?, lone(new, old, kind)?))).collect()
}
