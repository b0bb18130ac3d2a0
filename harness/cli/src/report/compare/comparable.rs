//! The common form of the documents of each verb: where something ran and what failed there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use framewalk::sample::WalkerKind;
#[cfg(target_arch = "x86_64")]
use lab::mutants::hunt::Hunted;
#[cfg(target_arch = "x86_64")]
use lab::mutants::judge::Judged;
#[cfg(target_arch = "x86_64")]
use lab::mutants::report::{MutantReport, MutantsReport as Mutants};
use model::lane::Lane;
use model::run::cell::{CellId, CellOutcome, Row};
use model::run::cell_report::CellReport;
use model::run::document::Document;
use model::run::known::KnownFailures;
use model::run::verdict::Failure;
#[cfg(target_arch = "x86_64")]
use model::run::verdict::Verdict;

use crate::report::saved::{Content, Saved, SavedError};
use crate::report::searches::{Search, SearchDocument as Searches, SearchEnd};

/// The documents that can be compared, for error messages.
const COMPARED: &str = "the JSON of `check`, `merge`, `explore` or `mutants`";

/// The contents of a report, in a form that is the same for all verbs.
pub(super) struct ComparableReport {
    /// The verb that wrote the report.
    pub(super) verb: &'static str,
    /// The rows, each with its kind. Rows of the same kind can match under different names.
    pub(super) rows: BTreeMap<String, String>,
    /// The places with a result.
    pub(super) ran: BTreeSet<Place>,
    /// The schedules that ran at a place, where equal schedules give equal results.
    pub(super) schedules: BTreeMap<Place, String>,
    /// Reasons other than failures why the run does not pass.
    pub(super) doubts: BTreeSet<String>,
    pub(super) found: BTreeMap<Key, Found>,
}

/// A row, and the rest of the place.
pub(super) type Place = (String, String);

/// Identifies a failure across reports: the fingerprint, with the row if failures on different rows are different
/// ones.
pub(super) type Key = (String, String);

#[derive(Default)]
pub(super) struct Found {
    /// The known failure that matches.
    pub(super) known: Option<String>,
    /// How often it was seen.
    pub(super) count: u64,
    /// The places where it was seen.
    pub(super) places: BTreeSet<Place>,
}

impl ComparableReport {
    pub(super) fn load(path: &Path) -> Result<Self, SavedError> {
        let Saved { name, content } = Saved::load(path, &KnownFailures::default())?;
        match content {
            Content::Check(document) => Ok(Self::of_check(&document)),
            Content::Searches(document) => Ok(Self::of_explore(*document)),
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(report) => Ok(Self::of_mutants(&report)),
            other => Err(SavedError::Foreign {
                name,
                why: format!("it is {}, which has no failures to compare", other.report().what()),
                wanted: COMPARED,
            }),
        }
    }

    fn nothing(verb: &'static str) -> Self {
        Self {
            verb,
            rows: BTreeMap::new(),
            ran: BTreeSet::new(),
            schedules: BTreeMap::new(),
            doubts: BTreeSet::new(),
            found: BTreeMap::new(),
        }
    }

    fn of_check(document: &Document) -> Self {
        let mut ran = BTreeSet::new();
        let mut schedules = BTreeMap::new();
        for report in document.cells.iter().filter(|report| report.outcome == CellOutcome::Ran) {
            for (walker, tally) in report.tallies.iter().filter(|(_, tally)| tally.schedules > 0) {
                let CellId { row, lane, family, seed, .. } = &report.cell;
                let text = format!("{} with seed {seed}", tally.schedules);
                schedules.insert(place(row, *lane, family, *walker), text);
            }
            let gave_stacks = report.tallies.iter().filter(|(_, tally)| tally.accepted() > 0);
            let CellId { row, lane, family, .. } = &report.cell;
            ran.extend(gave_stacks.map(|(walker, _)| place(row, *lane, family, *walker)));
        }
        let mut found: BTreeMap<Key, Found> = BTreeMap::new();
        for violation in &document.violations {
            let entry = found.entry((String::new(), violation.fingerprint.to_string())).or_default();
            let first = &violation.first;
            // A failure counts as known only if it is known on all versions.
            let known = violation.known.as_ref().map(|known| known.id.clone());
            entry.known = if entry.count == 0 { known } else { entry.known.take().and(known) };
            entry.count += violation.count;
            let at = |row: &str, family: &str| place(row, first.lane, family, first.walker);
            entry.places.extend(violation.places.iter().map(|place| at(&place.row, &place.family)));
            if violation.places.is_empty() {
                entry.places.extend(violation.rows.iter().map(|row| at(row, &first.family)));
            }
        }
        found.extend(document.judgement.failures.iter().filter_map(|failure| undescribed(document, failure)));
        let alike = |row: &Row| format!("{}, JIT {}, {}", row.flavour, row.jit, row.frame_cache);
        let rows = document.builds.iter().map(|row| (row.name.clone(), alike(row))).collect();
        let doubts = document.judgement.doubts.iter().map(ToString::to_string).collect();
        Self { verb: "check", rows, ran, schedules, doubts, found }
    }

    fn of_explore(searches: Searches) -> Self {
        let mut comparable = Self::nothing("explore");
        for search in searches.searches {
            let place = place_of(&search);
            let kind = search.build.split_once(' ').map_or("", |(_, kind)| kind);
            comparable.rows.insert(search.build.clone(), kind.to_owned());
            // A search that was cut short, or stopped at its first failure, says nothing about other failures.
            if search.ended == SearchEnd::Everything && search.never_came == 0 {
                comparable.ran.insert(place.clone());
                comparable.schedules.insert(place.clone(), search.schedules.to_string());
            }
            let (row, bounds) = &place;
            if search.verdict == Verdict::Inconclusive {
                comparable.doubts.insert(format!("{}: {row}, {bounds}", search.verdict));
            }
            comparable.doubts.extend(search.doubts.iter().map(|doubt| format!("{doubt}: {row}, {bounds}")));
            for failure in search.failures {
                // The same failure in two searches counts as two.
                let key = (row.clone(), format!("{}, {bounds}", failure.fingerprint));
                let found = Found { known: failure.known, count: failure.schedules, places: [place.clone()].into() };
                comparable.found.insert(key, found);
            }
        }
        comparable
    }

    /// Failures are what fails the run: a surviving mutant, an original that does not pass, a site that nothing
    /// reaches. A mutant that is equivalent, not viable or undecided has no result.
    #[cfg(target_arch = "x86_64")]
    fn of_mutants(report: &Mutants) -> Self {
        let mut comparable = Self::nothing("mutants");
        if report.verdict() == Verdict::Inconclusive {
            comparable.doubts.insert("the later run of `mutants` is inconclusive".to_owned());
        }
        let unwinder = |row: &str| format!("{row}, CPython's unwinder");
        for row in &report.rows {
            comparable.row(&row.row);
            comparable.mutants(&row.row, &row.mutants, &row.control);
            for site in &row.sites {
                comparable.result(&row.row, format!("site {} is never reached", site.site), site.guards == 0);
            }
        }
        for one in &report.unwinder {
            comparable.row(&unwinder(&one.row));
            comparable.mutants(&unwinder(&one.row), &one.mutants, &one.control);
        }
        for one in &report.stand_ins {
            let row = format!("{}, stand-ins", one.row);
            comparable.row(&row);
            comparable.mutants(&row, &one.mutants, &one.control);
        }
        comparable.mutants("own walkers", &report.own, report.own_control.as_slice());
        comparable
    }

    #[cfg(target_arch = "x86_64")]
    fn row(&mut self, name: &str) {
        let kind = name.split_once(' ').map_or("", |(_, kind)| kind);
        self.rows.insert(name.to_owned(), kind.to_owned());
    }

    #[cfg(target_arch = "x86_64")]
    fn mutants(&mut self, row: &str, mutants: &[MutantReport], control: &[Hunted]) {
        for mutant in mutants {
            let survived = match mutant.judged {
                Judged::Killed(_) => false,
                Judged::Survived { .. } => true,
                _ => continue,
            };
            self.result(row, format!("{} survived", mutant.mutant), survived);
        }
        let decided = |hunted: &&Hunted| matches!(hunted, Hunted::Killed(_) | Hunted::Passed { .. });
        for hunted in control.iter().filter(decided) {
            self.result(row, "the original does not pass".to_owned(), matches!(hunted, Hunted::Killed(_)));
        }
    }

    /// Records that something in a row was examined, and whether it failed.
    #[cfg(target_arch = "x86_64")]
    fn result(&mut self, row: &str, what: String, failed: bool) {
        let place = (row.to_owned(), what);
        if failed {
            let entry = self.found.entry(place.clone()).or_default();
            entry.count += 1;
            entry.places.insert(place.clone());
        }
        self.ran.insert(place);
    }
}

/// The place of a walker in a run of `check`.
fn place(row: &str, lane: Lane, family: &str, walker: WalkerKind) -> Place {
    (row.to_owned(), format!("{lane}, {family}, {walker}"))
}

/// Wrong samples that fail a run of `check` although no violation describes them. Each row is a failure of its own.
fn undescribed(document: &Document, failure: &Failure) -> Option<(Key, Found)> {
    let (row, lane, walker, samples) = match failure {
        Failure::Violation { .. } => return None,
        Failure::Undescribed { row, lane, walker, samples } => (row, *lane, *walker, *samples),
    };
    let is_wrong = |cell: &&CellReport| {
        let wrong = cell.tallies.get(&walker).is_some_and(|tally| tally.impossible() + tally.differences > 0);
        wrong && (&cell.cell.row, cell.cell.lane) == (row, lane)
    };
    let places = document.cells.iter().filter(is_wrong).map(|cell| place(row, lane, &cell.cell.family, walker));
    let key = (row.clone(), format!("{lane}, {walker}: wrong samples without a violation"));
    Some((key, Found { known: None, count: samples, places: places.collect() }))
}

/// The place of a search: everything that bounds it.
fn place_of(search: &Search) -> Place {
    let Search { walker, scenario, family, seed, samples, moves, steps, .. } = search;
    let mut text =
        format!("{walker} {scenario}, {family} with seed {seed}, {moves} moves of {steps} steps in {samples} samples");
    if search.at_rest {
        text.push_str(", at rest");
    }
    for still in &search.still {
        text += &format!(", none at {still}");
    }
    for weakening in &search.weakenings {
        text += &format!(", without {weakening}");
    }
    (search.build.clone(), text)
}
