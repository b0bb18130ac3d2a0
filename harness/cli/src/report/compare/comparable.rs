//! The common form of the documents of each verb: where something ran and what failed there.

use std::path::Path;

#[cfg(target_arch = "x86_64")]
use lab::mutants::hunt::Hunted;
#[cfg(target_arch = "x86_64")]
use lab::mutants::judge::Judged;
#[cfg(target_arch = "x86_64")]
use lab::mutants::report::{MutantReport, MutantsReport as Mutants};
use model::run::comparison::{ComparableReport, FailureFound, RanPlace};
use model::run::known::KnownFailures;
#[cfg(target_arch = "x86_64")]
use model::run::verdict::Verdict;

use crate::report::saved::{Content, Saved, SavedError};
use crate::report::searches::{Search, SearchDocument as Searches, SearchEnd};

/// The documents that can be compared, for error messages.
const COMPARED: &str = "the JSON of `check`, `merge`, `explore` or `mutants`";

/// Reads a report and what is compared of it.
pub(super) fn load(path: &Path) -> Result<ComparableReport, SavedError> {
    let Saved { name, content } = Saved::load(path, &KnownFailures::default())?;
    match content {
        Content::Check(document) => Ok(ComparableReport::of_check(&document)),
        Content::Searches(document) => Ok(of_explore(*document)),
        #[cfg(target_arch = "x86_64")]
        Content::Mutants(report) => Ok(of_mutants(&report)),
        other => Err(SavedError::Foreign {
            name,
            why: format!("it is {}, which has no failures to compare", other.report().what()),
            wanted: COMPARED,
        }),
    }
}

fn of_explore(searches: Searches) -> ComparableReport {
    let mut comparable = ComparableReport::nothing("explore");
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
            let found = FailureFound {
                known: failure.known,
                count: failure.schedules,
                places: [place.clone()].into(),
                ..FailureFound::default()
            };
            comparable.found.insert(key, found);
        }
    }
    comparable
}

/// Failures are what fails the run: a surviving mutant, an original that does not pass, a site that nothing
/// reaches. A mutant that is equivalent, not viable or undecided has no result.
#[cfg(target_arch = "x86_64")]
fn of_mutants(report: &Mutants) -> ComparableReport {
    let mut comparable = ComparableReport::nothing("mutants");
    if report.verdict() == Verdict::Inconclusive {
        comparable.doubts.insert("the later run of `mutants` is inconclusive".to_owned());
    }
    let unwinder = |row: &str| format!("{row}, CPython's unwinder");
    for row in &report.rows {
        add_row(&mut comparable, &row.row);
        add_mutants(&mut comparable, &row.row, &row.mutants, &row.control);
        for site in &row.sites {
            add_result(&mut comparable, &row.row, format!("site {} is never reached", site.site), site.guards == 0);
        }
    }
    for one in &report.unwinder {
        add_row(&mut comparable, &unwinder(&one.row));
        add_mutants(&mut comparable, &unwinder(&one.row), &one.mutants, &one.control);
    }
    for one in &report.stand_ins {
        let row = format!("{}, stand-ins", one.row);
        add_row(&mut comparable, &row);
        add_mutants(&mut comparable, &row, &one.mutants, &one.control);
    }
    add_mutants(&mut comparable, "own walkers", &report.own, report.own_control.as_slice());
    comparable
}

#[cfg(target_arch = "x86_64")]
fn add_row(report: &mut ComparableReport, name: &str) {
    let kind = name.split_once(' ').map_or("", |(_, kind)| kind);
    report.rows.insert(name.to_owned(), kind.to_owned());
}

#[cfg(target_arch = "x86_64")]
fn add_mutants(report: &mut ComparableReport, row: &str, mutants: &[MutantReport], control: &[Hunted]) {
    for mutant in mutants {
        let survived = match mutant.judged {
            Judged::Killed(_) => false,
            Judged::Survived { .. } => true,
            Judged::Equivalent { .. }
            | Judged::NotViable { .. }
            | Judged::Died { .. }
            | Judged::Inconclusive { .. } => {
                continue;
            }
        };
        add_result(report, row, format!("{} survived", mutant.mutant), survived);
    }
    let decided = |hunted: &&Hunted| matches!(hunted, Hunted::Killed(_) | Hunted::Passed { .. });
    for hunted in control.iter().filter(decided) {
        add_result(report, row, "the original does not pass".to_owned(), matches!(hunted, Hunted::Killed(_)));
    }
}

/// Records that something in a row was examined, and whether it failed.
#[cfg(target_arch = "x86_64")]
fn add_result(report: &mut ComparableReport, row: &str, what: String, failed: bool) {
    let place = (row.to_owned(), what);
    if failed {
        let entry = report.found.entry(place.clone()).or_default();
        entry.count += 1;
        entry.places.insert(place.clone());
    }
    report.ran.insert(place);
}

/// The place of a search: everything that bounds it.
fn place_of(search: &Search) -> RanPlace {
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
