//! What becomes of failures from one report to the next.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::report::cell::{CellOutcome, Lane, NotRun};
use crate::report::compare::{Comparison, Fate, compare};
use crate::report::event::Event;
use crate::report::fixtures::{cache_worse, cell, finding, run, summary};
use crate::report::json::{self, Document};

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

    /// Compares two runs with these events besides those of a run without failure.
    fn compare(&self, old: Vec<Event>, new: Vec<Event>, change: impl Fn(String) -> String) -> Comparison {
        let [old, new] = [old, new].map(|events| json::render(&Document::from(&summary(&run(events), false))).unwrap());
        compare(&self.of("old.json", &old), &self.of("new.json", &change(new))).unwrap()
    }
}

fn violation() -> Event {
    Event::Violation(Box::new(finding()))
}

fn fates(comparison: &Comparison) -> Vec<(Fate, bool)> {
    comparison.changes.iter().map(|change| (change.fate, change.known.is_some())).collect()
}

#[test]
fn failures_are_new_still_there_or_gone() {
    let known = || Event::Violation(Box::new(cache_worse("stale-full-hit")));
    let reports = Reports::new();
    let none = |text: String| text;
    let comparison = reports.compare(vec![known()], vec![violation()], none);
    assert_eq!(fates(&comparison), [(Fate::New, false), (Fate::Gone, true)]);
    assert_eq!(comparison.unknown().count(), 1);
    let comparison = reports.compare(vec![], vec![known()], none);
    assert_eq!((fates(&comparison), comparison.unknown().count()), (vec![(Fate::New, true)], 0));
    let comparison = reports.compare(vec![violation()], vec![violation(), violation()], none);
    assert_eq!(fates(&comparison), [(Fate::StillThere, false)]);
    assert_eq!((comparison.changes[0].old_count, comparison.changes[0].new_count), (3, 6));
    assert!(comparison.is_complete());
}

#[test]
fn what_did_not_run_is_not_gone() {
    let unrun = Event::CellFinished { cell: cell(Lane::Live), outcome: CellOutcome::NotRun(NotRun::BudgetSpent) };
    let comparison = Reports::new().compare(vec![violation()], vec![unrun], |text| text);
    assert_eq!(fates(&comparison), [(Fate::NotLookedFor, false)]);
    assert!(!comparison.is_complete() && comparison.ran_before_only.len() == 2, "{comparison:?}");
}

#[test]
fn the_next_version_of_a_build_stands_for_it() {
    let newer = |text: String| text.replace("3.15.2", "3.15.3");
    let comparison = Reports::new().compare(vec![violation()], vec![], newer);
    assert_eq!(comparison.renamed["3.15.2 release JIT"], "3.15.3 release JIT");
    assert_eq!(fates(&comparison), [(Fate::Gone, false)]);
    let other = |text: String| text.replace("3.15.2 release", "3.15.2 debug").replace("\"release\"", "\"debug\"");
    let comparison = Reports::new().compare(vec![violation()], vec![], other);
    assert_eq!(fates(&comparison), [(Fate::NotLookedFor, false)], "{comparison:?}");
}

#[test]
fn searches_are_compared_where_their_bounds_are_equal() {
    let search = |moves: u32, ended: &str, failures: &str| {
        format!(
            r#"{{"version": 1, "searches": [{{"build": "3.15.2 release", "walker": "cpython-cached", "scenario": "alone",
            "at_rest": false, "still": [], "weakenings": [], "family": "deep", "seed": 1, "samples": 2, "moves": {moves},
            "steps": 5, "ended": "{ended}", "never_came": 0, "failures": [{failures}]}}]}}"#
        )
    };
    let failure = r#"{"fingerprint": "stepped/a/b", "schedules": 4, "known": null}"#;
    let reports = Reports::new();
    for (new, expected) in [
        (search(2, "everything", ""), Fate::Gone),
        (search(2, "deadline", ""), Fate::NotLookedFor),
        (search(1, "everything", ""), Fate::NotLookedFor),
        (search(2, "deadline", failure), Fate::StillThere),
    ] {
        let old = reports.of("old.json", &search(2, "everything", failure));
        let comparison = compare(&old, &reports.of("new.json", &new)).unwrap();
        assert_eq!(fates(&comparison), [(expected, false)], "{new}");
    }
    let check = reports.of("check.json", &json::render(&Document::from(&summary(&run(vec![]), false))).unwrap());
    let error = compare(&reports.of("old.json", &search(1, "everything", "")), &check).unwrap_err().to_string();
    assert!(error.contains("report of explore") && error.contains("one of check"), "{error}");
}
