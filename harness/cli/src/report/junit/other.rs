//! Suites for the documents of verbs other than `check`.

use std::time::Duration;

#[cfg(target_arch = "x86_64")]
use lab::mutants::judge::Judged;
#[cfg(target_arch = "x86_64")]
use lab::mutants::report::{MutantReport, MutantsReport as Mutants};
use model::run::item::Item;
use model::run::verdict::Verdict;
use quick_junit::{NonSuccessKind, TestCase, TestSuite};

use super::{WIDTH, broken, passed, skipped, suite};
use crate::report::compare::document::ComparisonDocument as Comparison;
use crate::report::saved::Saved;
use crate::report::searches::Search;
use crate::report::text::{Look, plural};

/// Whether a benchmark measured anything. The values themselves cannot be right or wrong.
pub(super) fn measured(saved: &Saved) -> TestCase {
    let (name, short) = ("measured", saved.report().in_short());
    match saved.report().verdict() {
        Verdict::Pass => passed(name, &short),
        _ => broken(name, NonSuccessKind::Error, "inconclusive", &short, "interrupted, or nothing was measured"),
    }
}

/// The test case of a judged item.
pub(super) fn item(item: &Item) -> TestCase {
    let name = format!("{}, {}", item.of, item.name);
    let mut case = match item.verdict {
        Verdict::Pass => passed(&name, &item.text),
        Verdict::Fail => broken(&name, NonSuccessKind::Failure, "fail", &item.short, &item.text),
        Verdict::Inconclusive => broken(&name, NonSuccessKind::Error, "inconclusive", &item.short, &item.text),
    };
    case.set_time(Duration::try_from_secs_f64(item.seconds).unwrap_or_default());
    case
}

/// A search of schedules.
pub(super) fn search(search: &Search) -> TestCase {
    let name = format!("{}, {}, {} {}", search.build, search.family, search.walker, search.scenario);
    let told = search.text(WIDTH);
    let message = format!("verdict: {}", search.verdict);
    match search.verdict {
        Verdict::Pass => passed(&name, &told),
        Verdict::Fail => broken(&name, NonSuccessKind::Failure, "fail", &message, &told),
        Verdict::Inconclusive => broken(&name, NonSuccessKind::Error, "inconclusive", &message, &told),
    }
}

pub(super) fn compared(saved: &Saved, document: &Comparison) -> TestCase {
    let (name, told, short) = ("nothing fails that did not", document.text(WIDTH), saved.report().in_short());
    match document.verdict {
        Verdict::Pass => passed(name, &told),
        Verdict::Fail => broken(name, NonSuccessKind::Failure, "fail", &short, &told),
        Verdict::Inconclusive => broken(name, NonSuccessKind::Error, "inconclusive", &short, &told),
    }
}

/// A case of the stepped lane that failed.
pub(super) fn stepped(saved: &Saved, fingerprint: &str) -> TestSuite {
    let told = saved.report().human(Look { width: WIDTH, colour: false });
    let case = match saved.report().verdict() {
        Verdict::Pass => passed(fingerprint, &told),
        Verdict::Fail => broken(fingerprint, NonSuccessKind::Failure, fingerprint, &saved.report().in_short(), &told),
        Verdict::Inconclusive => {
            broken(fingerprint, NonSuccessKind::Error, fingerprint, &saved.report().in_short(), &told)
        }
    };
    suite("stepped", vec![case])
}

/// The mutants of a run, and whatever else decides its verdict.
#[cfg(target_arch = "x86_64")]
pub(super) fn mutant_suites(report: &Mutants) -> Vec<TestSuite> {
    let groups = report.groups().map(|(title, mutants)| suite(&title, mutants.iter().map(mutant).collect()));
    let mut suites: Vec<TestSuite> = groups.collect();
    let name = "the original is not killed, and every site is reached";
    let remark = format!("verdict: {}", report.verdict());
    let alarms = report.false_alarms();
    let unreached = report.unreached();
    let whole = if alarms > 0 || !unreached.is_empty() {
        let message = format!("{}, {}", plural(alarms, "false alarm"), plural(unreached.len(), "site never reached"));
        broken(name, NonSuccessKind::Failure, "original", &message, &unreached.join("\n"))
    } else if report.interrupted || report.has_doubtful_control() || report.score().killed == 0 {
        broken(
            name,
            NonSuccessKind::Error,
            "inconclusive",
            &remark,
            "the run did not come to its end, or killed nothing",
        )
    } else {
        passed(name, &remark)
    };
    suites.push(suite("run", vec![whole]));
    suites
}

#[cfg(target_arch = "x86_64")]
fn mutant(report: &MutantReport) -> TestCase {
    let name = &report.mutant;
    let kind = report.judged.name();
    match &report.judged {
        Judged::Killed(kill) => passed(
            name,
            &format!("killed by {}, {}, {} in {:.2} s", kill.clause, kill.walker, kill.family, kill.seconds),
        ),
        Judged::Survived { samples } => {
            broken(name, NonSuccessKind::Failure, kind, &format!("survived {samples} samples"), "nothing broke")
        }
        // It cannot be distinguished from the original, or does not work at all: there was nothing to kill.
        Judged::Equivalent { argument: why, .. } | Judged::NotViable { why } => {
            skipped(name, &format!("{kind}: {why}"))
        }
        Judged::Died { how: why } | Judged::Inconclusive { why } => broken(name, NonSuccessKind::Error, kind, why, why),
    }
}
