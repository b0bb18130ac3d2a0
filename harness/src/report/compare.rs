//! Two reports held against each other: which failures are new, which are still there, which are gone.
//!
//! A failure is gone only if what showed it ran again, and new whether or not the earlier run could have shown it. Where
//! something ran is its *place*: row, lane, family and walker, or for a search of schedules all that bounds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::report::cell::{CellOutcome, Row};
use crate::report::json::Document;
use crate::report::known::KnownFailures;
use crate::report::saved::{Content, SavedError, content, read};

/// Why two reports cannot be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// One of them is no report.
    #[error(transparent)]
    Load(#[from] SavedError),
    /// One is of `check`, the other of `explore`.
    #[error("{} is a report of {left}, {} one of {right}: nothing in them can be compared", old.display(), new.display())]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// The earlier report does not have it.
    New,
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
            Self::StillThere => "still there",
            Self::Gone => "gone",
            Self::NotLookedFor => "not looked for",
        }
    }
}

/// One failure in both reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

/// Everything that differs between two reports, and what does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

impl Comparison {
    /// The failures that are new and not known.
    pub fn unknown(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.fate == Fate::New && change.known.is_none())
    }

    /// Whether what could tell of every failure ran, and so did what could show another one.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let looked = self.changes.iter().all(|change| change.fate != Fate::NotLookedFor);
        looked && self.ran_before_only.is_empty() && self.ran_both > 0
    }
}

/// Compares two reports of `check`, `merge` or `explore`.
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

/// What a report tells, whatever verb it is of.
struct Told {
    verb: &'static str,
    /// The rows, each with what makes it comparable with one of another name.
    rows: BTreeMap<String, String>,
    /// Where a result was come to.
    ran: BTreeSet<Place>,
    found: BTreeMap<String, Found>,
}

/// A row, and the rest of a place.
type Place = (String, String);

#[derive(Default)]
struct Found {
    known: Option<String>,
    count: u64,
    places: BTreeSet<Place>,
}

impl Told {
    fn load(path: &Path) -> Result<Self, SavedError> {
        let (name, bytes) = read(path)?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if value.get("searches").is_some() {
            return Ok(Self::of_explore(content::<Searches>(&name, "a report of `explore`", 1, value)?));
        }
        match Content::parse(&name, &bytes, &KnownFailures::default())? {
            Content::Check(document) => Ok(Self::of_check(&document)),
            _ => Err(SavedError::Foreign {
                name,
                why: "only reports of `check`, `merge` and `explore` are compared".into(),
            }),
        }
    }

    fn of_check(document: &Document) -> Self {
        let place =
            |row: &str, lane: &str, family: &str, walker: &str| (row.to_owned(), format!("{lane}, {family}, {walker}"));
        let mut ran = BTreeSet::new();
        for report in document.cells.iter().filter(|report| report.outcome == CellOutcome::Ran) {
            let gave_stacks = report.tallies.iter().filter(|(_, tally)| tally.accepted() > 0);
            ran.extend(gave_stacks.map(|(walker, _)| {
                place(&report.cell.row, report.cell.lane.name(), &report.cell.family, walker.name())
            }));
        }
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for violation in &document.violations {
            let entry = found.entry(violation.fingerprint.to_string()).or_default();
            let first = &violation.first;
            // Known on some versions only is not known.
            let known = violation.known.as_ref().map(|known| known.id.clone());
            entry.known = if entry.count == 0 { known } else { entry.known.take().and(known) };
            entry.count += violation.count;
            let at = |row: &str, family: &str| place(row, first.lane.name(), family, first.walker.name());
            entry.places.extend(violation.places.iter().map(|place| at(&place.row, &place.family)));
            if violation.places.is_empty() {
                entry.places.extend(violation.rows.iter().map(|row| at(row, &first.family)));
            }
        }
        let alike = |row: &Row| format!("{}, JIT {}, {}", row.flavour, row.jit, row.frame_cache);
        let rows = document.builds.iter().map(|row| (row.name.clone(), alike(row))).collect();
        Self { verb: "check", rows, ran, found }
    }

    fn of_explore(searches: Searches) -> Self {
        let mut told = Self { verb: "explore", rows: BTreeMap::new(), ran: BTreeSet::new(), found: BTreeMap::new() };
        for search in searches.searches {
            let place = search.place();
            let kind = search.build.split_once(' ').map_or("", |(_, kind)| kind);
            told.rows.insert(search.build.clone(), kind.to_owned());
            // A search that was cut short, or ended at its first failure, does not tell that another one is gone.
            if search.ended == "everything" && search.never_came == 0 {
                told.ran.insert(place.clone());
            }
            for failure in search.failures {
                let entry = told.found.entry(failure.fingerprint).or_default();
                entry.known = if entry.count == 0 { failure.known } else { entry.known.take().and(failure.known) };
                entry.count = entry.count.saturating_add(failure.schedules);
                entry.places.insert(place.clone());
            }
        }
        told
    }
}

/// What is needed of a report of `explore`.
#[derive(Deserialize)]
struct Searches {
    searches: Vec<Search>,
}

#[derive(Deserialize)]
struct Search {
    build: String,
    walker: String,
    scenario: String,
    at_rest: bool,
    still: Vec<String>,
    weakenings: Vec<String>,
    family: String,
    seed: u64,
    samples: u32,
    moves: u32,
    steps: u32,
    ended: String,
    never_came: u64,
    failures: Vec<SearchFailure>,
}

#[derive(Deserialize)]
struct SearchFailure {
    fingerprint: String,
    schedules: u64,
    known: Option<String>,
}

impl Search {
    fn place(&self) -> Place {
        let Self { walker, scenario, family, seed, samples, moves, steps, .. } = self;
        let mut text = format!(
            "{walker} {scenario}, {family} with seed {seed}, {moves} moves of {steps} steps in {samples} samples"
        );
        if self.at_rest {
            text.push_str(", at rest");
        }
        for still in &self.still {
            text += &format!(", none at {still}");
        }
        for weakening in &self.weakenings {
            text += &format!(", without {weakening}");
        }
        (self.build.clone(), text)
    }
}

fn changes(old: Told, new: Told) -> Comparison {
    let renamed = renamed(&old.rows, &new.rows);
    // From here on places of the earlier report have the names of the later one.
    let now = |(row, rest): &Place| (renamed.get(row).unwrap_or(row).clone(), rest.clone());
    let ran_before: BTreeSet<Place> = old.ran.iter().map(now).collect();
    let shown = |places: &BTreeSet<Place>| places.iter().map(|(row, rest)| format!("{row}, {rest}")).collect();

    let mut changes = Vec::new();
    let fingerprints: BTreeSet<&String> = old.found.keys().chain(new.found.keys()).collect();
    for fingerprint in fingerprints {
        let (fate, last) = match (old.found.get(fingerprint), new.found.get(fingerprint)) {
            (Some(_), Some(new)) => (Fate::StillThere, new),
            (_, Some(new)) => (Fate::New, new),
            (Some(old), None) => {
                let again = old.places.iter().all(|place| new.ran.contains(&now(place)));
                (if again { Fate::Gone } else { Fate::NotLookedFor }, old)
            }
            (None, None) => continue,
        };
        let count = |told: &Told| told.found.get(fingerprint).map_or(0, |found| found.count);
        changes.push(Change {
            fate,
            fingerprint: fingerprint.clone(),
            known: last.known.clone(),
            old_count: count(&old),
            new_count: count(&new),
            places: shown(&last.places),
        });
    }
    changes.sort_by(|left, right| (left.fate, &left.fingerprint).cmp(&(right.fate, &right.fingerprint)));
    Comparison {
        changes,
        ran_before_only: shown(&ran_before.difference(&new.ran).cloned().collect()),
        ran_now_only: shown(&new.ran.difference(&ran_before).cloned().collect()),
        ran_both: ran_before.intersection(&new.ran).count(),
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
