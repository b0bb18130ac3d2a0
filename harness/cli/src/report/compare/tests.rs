//! Tests of how failures change from one report to the next.

use std::fs;
use std::path::PathBuf;

use framewalk::sample::WalkerKind;
use model::lane::Lane;
use model::oracle::tally::Tally;
use model::run::cell::{CellOutcome, NotRun};
use model::run::change::{Fate, ReportComparison};
use model::run::document::Document;
use model::run::event::Event;
use model::run::fixtures;
use model::run::fixtures::{cache_worse, cell, finding, run, summary, with_tally};
use model::run::verdict::Verdict;
use tempfile::TempDir;

use crate::report::compare::{self, compare};
use crate::report::fixtures::search as search_of;
use crate::report::json;
use crate::report::searches::{self, SearchEnd};

struct Reports(TempDir);

impl Reports {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn of(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Compares two runs that have these events besides those of a run without failure. `change` edits the later JSON.
    fn compare(&self, old: Vec<Event>, new: Vec<Event>, change: impl Fn(String) -> String) -> ReportComparison {
        let [old, new] = [old, new].map(|events| json::render(&Document::from(&summary(&run(events), false))).unwrap());
        compare(&self.of("old.json", &old), &self.of("new.json", &change(new))).unwrap()
    }
}

fn violation() -> Event {
    Event::Violation(Box::new(finding()))
}

fn fates(comparison: &ReportComparison) -> Vec<(Fate, bool)> {
    comparison.changes.iter().map(|change| (change.fate, change.known.is_some())).collect()
}

#[test]
fn failures_are_new_still_there_or_gone() {
    let known = || Event::Violation(Box::new(cache_worse("stale-full-hit")));
    let reports = Reports::new();
    let none = |text: String| text;
    // A rate that one run counts among the failures and another does not is not gone unless it is provably lower.
    let comparison = reports.compare(vec![known()], vec![violation()], none);
    assert_eq!(fates(&comparison), [(Fate::New, false), (Fate::StillThere, true)]);
    assert_eq!(comparison.failing().count(), 1);
    let comparison = reports.compare(vec![], vec![known()], none);
    assert_eq!((fates(&comparison), comparison.failing().count()), (vec![(Fate::New, true)], 0));
    let comparison = reports.compare(vec![violation()], vec![violation(), violation()], none);
    assert_eq!(fates(&comparison), [(Fate::StillThere, false)]);
    assert_eq!((comparison.changes[0].old_count, comparison.changes[0].new_count), (3, 6));
    assert!(comparison.is_complete());
}

#[test]
fn a_failure_whose_place_did_not_run_is_not_gone() {
    let unrun = Event::CellFinished { cell: cell(Lane::Live), outcome: CellOutcome::NotRun(NotRun::BudgetSpent) };
    let comparison = Reports::new().compare(vec![violation()], vec![unrun], |text| text);
    assert_eq!(fates(&comparison), [(Fate::NotLookedFor, false)]);
    assert!(!comparison.is_complete() && comparison.ran_before_only.len() == 2, "{comparison:?}");
}

#[test]
fn a_build_is_compared_with_its_next_version() {
    let newer = |text: String| text.replace("3.15.2", "3.15.3");
    let comparison = Reports::new().compare(vec![violation()], vec![], newer);
    assert_eq!(comparison.renamed["3.15.2 release JIT"], "3.15.3 release JIT");
    assert_eq!(fates(&comparison), [(Fate::Gone, false)]);
    let other = |text: String| text.replace("3.15.2 release", "3.15.2 debug").replace("\"release\"", "\"debug\"");
    let comparison = Reports::new().compare(vec![violation()], vec![], other);
    assert_eq!(fates(&comparison), [(Fate::NotLookedFor, false)], "{comparison:?}");
}

#[test]
fn wrong_samples_without_a_violation_are_failures_of_their_row() {
    let reports = Reports::new();
    let text = |differences: u64| {
        let tally = Tally { differences, ..fixtures::tally() };
        let events = with_tally(Lane::Stopped, WalkerKind::CpythonCached, &tally);
        json::render(&Document::from(&summary(&events, false))).unwrap()
    };
    for (before, after, fate, verdict) in
        [(0, 4, Fate::New, Verdict::Fail), (4, 4, Fate::StillThere, Verdict::Pass), (4, 0, Fate::Gone, Verdict::Pass)]
    {
        let [old, new] =
            [("old.json", before), ("new.json", after)].map(|(name, count)| reports.of(name, &text(count)));
        let comparison = compare(&old, &new).unwrap();
        assert_eq!(fates(&comparison), [(fate, false)], "{before} then {after}");
        assert_eq!((comparison.changes[0].new_count, comparison.verdict()), (after, verdict));
        let places: Vec<&str> = comparison.changes[0].places.iter().map(String::as_str).collect();
        assert_eq!(places, ["3.15.2 release JIT, stopped, alternating, cpython-cached"]);
    }
}

#[test]
fn searches_are_compared_where_their_bounds_are_equal() {
    let text = |moves: u32, ended: SearchEnd, fails: bool| {
        let mut search = search_of(fails);
        (search.moves, search.ended) = (moves, ended);
        serde_json::to_string(&searches::SearchDocument::new(vec![search])).unwrap()
    };
    let reports = Reports::new();
    for (new, expected) in [
        (text(2, SearchEnd::Everything, false), Fate::Gone),
        (text(2, SearchEnd::Deadline, false), Fate::NotLookedFor),
        (text(1, SearchEnd::Everything, false), Fate::NotLookedFor),
        (text(2, SearchEnd::Deadline, true), Fate::StillThere),
    ] {
        let old = reports.of("old.json", &text(2, SearchEnd::Everything, true));
        let comparison = compare(&old, &reports.of("new.json", &new)).unwrap();
        assert_eq!(fates(&comparison), [(expected, false)], "{new}");
    }
    // With the same schedules, no entry excuses failures on more of them, or failures where there were none.
    let failing = |count: u64, known: bool| {
        let mut search = search_of(count > 0);
        for failure in &mut search.failures {
            failure.schedules = count;
            failure.known = known.then(|| "entry".to_owned());
        }
        serde_json::to_string(&searches::SearchDocument::new(vec![search])).unwrap()
    };
    for (before, after, fate, verdict) in [
        (0, 18, Fate::New, Verdict::Fail),
        (4, 18, Fate::Worse, Verdict::Fail),
        (18, 18, Fate::StillThere, Verdict::Pass),
        (18, 4, Fate::StillThere, Verdict::Pass),
        (18, 0, Fate::Gone, Verdict::Pass),
    ] {
        let old = reports.of("old.json", &failing(before, true));
        let comparison = compare(&old, &reports.of("new.json", &failing(after, true))).unwrap();
        assert_eq!((comparison.changes[0].fate, comparison.verdict()), (fate, verdict), "{before} then {after}");
    }
    let check = reports.of("check.json", &json::render(&Document::from(&summary(&run(vec![]), false))).unwrap());
    let old = reports.of("old.json", &text(1, SearchEnd::Everything, false));
    let error = compare(&old, &check).unwrap_err().to_string();
    assert!(error.contains("report of explore") && error.contains("two reports of the same verb"), "{error}");
}

#[test]
fn what_the_later_report_leaves_open_is_no_pass() {
    let text = |verdict: Verdict| {
        let mut search = search_of(false);
        search.verdict = verdict;
        serde_json::to_string(&searches::SearchDocument::new(vec![search])).unwrap()
    };
    let reports = Reports::new();
    let [pass, open] = [("p.json", Verdict::Pass), ("o.json", Verdict::Inconclusive)]
        .map(|(name, verdict)| reports.of(name, &text(verdict)));
    assert_eq!(compare(&pass, &open).unwrap().verdict(), Verdict::Inconclusive);
    assert_eq!(compare(&open, &pass).unwrap().verdict(), Verdict::Pass);
    let unrun = Event::CellFinished { cell: cell(Lane::Live), outcome: CellOutcome::NotRun(NotRun::BudgetSpent) };
    let none = |text: String| text;
    let comparison = reports.compare(vec![unrun.clone()], vec![unrun], none);
    assert!(!comparison.doubts.is_empty() && comparison.verdict() != Verdict::Pass, "{comparison:?}");
}

#[test]
fn documents_without_failures_are_refused_with_the_expected_kinds() {
    let reports = Reports::new();
    let comparison = reports.compare(vec![], vec![], |text| text);
    let path =
        reports.of("c.json", &serde_json::to_string(&compare::document::ComparisonDocument::from(comparison)).unwrap());
    let error = compare(&path, &path).unwrap_err().to_string();
    assert!(error.contains("c.json") && error.contains("a comparison") && error.contains("`mutants`"), "{error}");
}

/// The same for reports of `mutants`.
#[cfg(target_arch = "x86_64")]
mod mutants {
    use lab::mutants::hunt::{Hunted, Kill};
    use lab::mutants::judge::Judged;
    use lab::mutants::report::{MutantReport, MutantsReport, RowReport, StandInReport};

    use super::*;

    fn killed() -> Kill {
        let [clause, walker, family, replay] = ["spliced", "own-cached", "deep", "framediff check"].map(str::to_owned);
        Kill { lane: "stopped".into(), clause, walker, family, samples: 5, seconds: 0.5, replay }
    }

    fn outcomes(mutants: &[(&str, Judged)]) -> Vec<MutantReport> {
        let mutant = |(name, judged): &(&str, Judged)| MutantReport {
            mutant: (*name).to_owned(),
            issue: None,
            judged: judged.clone(),
            peers: None,
        };
        mutants.iter().map(mutant).collect()
    }

    fn run_of(rows: Vec<RowReport>, stand_ins: Vec<StandInReport>) -> String {
        let report = MutantsReport {
            version: 1,
            seed: 0,
            budget_seconds: 1.0,
            rows,
            unwinder: Vec::new(),
            stand_ins,
            own_control: None,
            own: Vec::new(),
            interrupted: false,
        };
        serde_json::to_string(&report).unwrap()
    }

    /// A run on one build, with the outcomes of its mutants.
    fn report(row: &str, mutants: &[(&str, Judged)], control: Hunted) -> String {
        let row = RowReport {
            row: row.to_owned(),
            image: "/python".to_owned(),
            sites: Vec::new(),
            control: vec![control],
            mutants: outcomes(mutants),
            peers: None,
        };
        run_of(vec![row], Vec::new())
    }

    /// A run of stand-ins on one build.
    fn stand_ins(row: &str, mutants: &[(&str, Judged)], control: Hunted) -> String {
        let (row, mutants) = (row.to_owned(), outcomes(mutants));
        run_of(Vec::new(), vec![StandInReport { row, control: vec![control], mutants, list: Vec::new() }])
    }

    fn passed() -> Hunted {
        Hunted::Passed { samples: 5 }
    }

    fn compared(old: &str, new: &str) -> ReportComparison {
        let reports = Reports::new();
        compare(&reports.of("old.json", old), &reports.of("new.json", new)).unwrap()
    }

    #[test]
    fn a_mutant_that_now_survives_is_a_new_failure_even_in_the_next_version() {
        let survived = || Judged::Survived { samples: 9 };
        let old = report("3.15.2 release", &[("a", Judged::Killed(killed())), ("b", survived())], passed());
        let new = report("3.15.3 release", &[("a", survived()), ("b", Judged::Killed(killed()))], passed());
        let comparison = compared(&old, &new);
        assert_eq!(fates(&comparison), [(Fate::New, false), (Fate::Gone, false)]);
        assert_eq!(comparison.changes[0].fingerprint, "a survived (3.15.3 release)");
        assert_eq!(comparison.verdict(), Verdict::Fail);
        assert_eq!(compared(&new, &new).verdict(), Verdict::Pass);
    }

    #[test]
    fn added_and_removed_mutants_are_reported_and_undecided_ones_count_as_not_run() {
        let row = "3.15.2 release";
        let survived = || Judged::Survived { samples: 9 };
        let why = || "the budget".to_owned();
        let old = report(row, &[("a", Judged::Killed(killed())), ("b", survived())], passed());
        let new = report(row, &[("c", Judged::Killed(killed())), ("b", Judged::Inconclusive { why: why() })], passed());
        let comparison = compared(&old, &new);
        assert_eq!(fates(&comparison), [(Fate::NotLookedFor, false)]);
        let before: Vec<&str> = comparison.ran_before_only.iter().map(String::as_str).collect();
        assert_eq!(before, ["3.15.2 release, a survived", "3.15.2 release, b survived"]);
        assert_eq!(comparison.ran_now_only.len(), 1);
        assert_eq!(comparison.verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn an_original_that_no_longer_passes_is_a_new_failure() {
        let row = "3.15.2 release";
        let [old, new] = [passed(), Hunted::Killed(killed())].map(|control| report(row, &[], control));
        assert_eq!(fates(&compared(&old, &new)), [(Fate::New, false)]);
    }

    #[test]
    fn a_stand_in_that_now_survives_is_a_new_failure_even_in_the_next_version() {
        let survived = || Judged::Survived { samples: 9 };
        let old = stand_ins("3.15.2 release", &[("a", Judged::Killed(killed()))], passed());
        let new = stand_ins("3.15.3 release", &[("a", survived())], passed());
        let comparison = compared(&old, &new);
        assert_eq!(fates(&comparison), [(Fate::New, false)]);
        assert_eq!(comparison.changes[0].fingerprint, "a survived (3.15.3 release, stand-ins)");
        assert_eq!(comparison.verdict(), Verdict::Fail);
        assert_eq!(compared(&new, &old).verdict(), Verdict::Pass);
        let alarm = stand_ins("3.15.2 release", &[("a", Judged::Killed(killed()))], Hunted::Killed(killed()));
        assert_eq!(fates(&compared(&old, &alarm)), [(Fate::New, false)]);
        let not_viable = || Judged::NotViable { why: "no such field".to_owned() };
        let unmade = stand_ins("3.15.2 release", &[("a", not_viable())], passed());
        assert_eq!(compared(&old, &unmade).verdict(), Verdict::Inconclusive);
    }
}
