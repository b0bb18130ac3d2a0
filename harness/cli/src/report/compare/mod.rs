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
pub mod document;
mod human;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use comparable::{ComparableReport, Found, Key, Place};
use thiserror::Error;

use self::document::{Change, Fate, ReportComparison};
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
