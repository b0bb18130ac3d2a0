//! The report for build servers: JUnit XML, written with quick-junit.
//!
//! Each row and lane has a suite, with a test case for each cell and one for each walker. The walker's test case holds
//! what only the sum over all cells can show. Only a pass is green: a cell that did not run is skipped, and whatever
//! keeps the run from passing is an error.

mod other;

use framewalk::printable::clean;
use model::lane::Lane;
use model::run::cell::{CellId, CellOutcome};
use model::run::cell_report::CellReport;
use model::run::distinct::DistinctViolation;
use model::run::document::Document;
use model::run::finding::Finding;
use model::run::group::Group;
use model::run::line::Line;
use model::run::verdict::{Advice, Doubt, Failure};
use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::report::saved::{Content, Saved};
use crate::report::text::plural;
use crate::report::{conclusion, human};

/// The text of violations is wrapped at this column.
const WIDTH: u16 = 100;

/// The report of everything in `all`.
///
/// # Errors
/// None are known: every text can be written as XML.
pub fn render(all: &[Saved]) -> Result<String, SerializeError> {
    let mut report = Report::new("framediff");
    for one in all {
        let mut suites = match &one.content {
            Content::Check(document) => suites(document),
            #[cfg(target_arch = "x86_64")]
            Content::Mutants(mutants) => other::mutant_suites(mutants),
            Content::Bench(_) => vec![suite("bench", vec![other::measured(one)])],
            Content::Searches(document) => {
                vec![suite("explore", document.searches.iter().map(other::search).collect())]
            }
            Content::Results(results) => vec![suite(&results.verb, results.items.iter().map(other::item).collect())],
            Content::Comparison(document) => vec![suite("compare", vec![other::compared(one, document)])],
            Content::Explanation(explained) => vec![other::stepped(one, &explained.document.fingerprint)],
            Content::Case(case) => vec![other::stepped(one, &case.file.case.fingerprint.to_string())],
        };
        if all.len() > 1 {
            // Suites of different runs can have the same name.
            for suite in &mut suites {
                suite.name = text(&format!("{}: {}", one.name, suite.name.as_str())).into();
            }
        }
        report.add_test_suites(suites);
    }
    // The schema of Jenkins' xUnit plugin (junit-10.xsd) allows this attribute on suites but not on the root element.
    Ok(report.to_string()?.replacen(&format!(" skipped=\"{}\"", report.skipped), "", 1))
}

fn suite(name: &str, cases: Vec<TestCase>) -> TestSuite {
    let mut suite = TestSuite::new(text(name));
    for mut case in cases {
        case.set_classname(suite.name.clone());
        suite.add_test_case(case);
    }
    suite
}

/// The suites of a run of `check`.
fn suites(document: &Document) -> Vec<TestSuite> {
    let mut suites: Vec<TestSuite> = Vec::new();
    let mut suite_of = |name: String| match suites.iter().position(|suite| suite.name.as_str() == name) {
        Some(index) => index,
        None => {
            suites.push(TestSuite::new(name));
            suites.len() - 1
        }
    };
    let mut cases = Vec::new();
    for report in &document.cells {
        cases.push((suite_of(suite_name(&report.cell.row, report.cell.lane)), cell(document, report)));
    }
    for line in &document.table {
        cases.push((suite_of(suite_name(&line.row, line.lane)), walker(document, line)));
    }
    let planned = |finding: &Finding| {
        let here = |report: &CellReport| is_in(&report.cell, finding);
        document.cells.iter().any(here)
    };
    for violation in document.violations.iter().filter(|violation| !planned(&violation.first)) {
        let Finding { row, lane, family, seed, .. } = &violation.first;
        let name = format!("{family}, seed {seed}");
        cases.push((suite_of(suite_name(row, *lane)), violated(name, document, &[violation])));
    }
    cases.push((suite_of("run".to_owned()), whole(document)));
    for (suite, mut case) in cases {
        if let Some(suite) = suites.get_mut(suite) {
            case.set_classname(suite.name.clone());
            suite.add_test_case(case);
        }
    }
    for suite in &mut suites {
        suite.set_time(suite.test_cases.iter().filter_map(|case| case.time).sum());
        suite.add_property(Property::new("seed", document.seed.to_string()));
        suite.add_property(Property::new("framediff", text(&document.framediff)));
    }
    suites
}

fn suite_name(row: &str, lane: impl std::fmt::Display) -> String {
    text(&format!("{row}, {lane}"))
}

fn is_in(cell: &CellId, finding: &Finding) -> bool {
    let is_with = !finding.walker.is_cpythons() || cell.configuration == finding.configuration;
    let of_cell = (&cell.row, cell.lane, &cell.family, cell.seed);
    is_with && of_cell == (&finding.row, finding.lane, &finding.family, finding.seed)
}

/// Replaces characters that XML cannot hold, since names come from targets and files.
fn text(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n").replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

/// A test case that did not pass, with a short message and a full description.
fn broken(name: &str, kind: NonSuccessKind, clause: &str, message: &str, description: &str) -> TestCase {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(text(clause)).set_message(text(message)).set_description(text(description));
    TestCase::new(text(name), status)
}

/// A test case that did not run.
fn skipped(name: &str, why: &str) -> TestCase {
    let mut status = TestCaseStatus::skipped();
    status.set_message(text(why));
    TestCase::new(text(name), status)
}

/// A test case that passed, with an optional remark.
fn passed(name: &str, remark: &str) -> TestCase {
    let mut case = TestCase::new(text(name), TestCaseStatus::success());
    if !remark.is_empty() {
        case.set_system_out(text(remark));
    }
    case
}

fn cell(document: &Document, report: &CellReport) -> TestCase {
    let CellReport { cell: id, outcome, tallies, .. } = report;
    let here: Vec<&DistinctViolation> = document
        .violations
        .iter()
        .filter(|violation| violation.count_in(id) > 0 || is_in(id, &violation.first))
        .collect();
    let with = if id.configuration.is_default() { String::new() } else { format!("; {}", id.configuration) };
    let name = format!("{}, seed {} ({}{with})", id.family, id.seed, id.walker_names());
    let mut case = match outcome {
        // A violation counts even if the cell later ended without a result.
        _ if here.iter().any(|violation| violation.fails(document.strict)) => violated(name, document, &here),
        CellOutcome::Ran => match document.without_stacks(report).next() {
            Some(walker) => {
                let why = format!("not one stack of {walker}, which gave too few elsewhere");
                broken(&name, NonSuccessKind::Error, "inconclusive", &why, &why)
            }
            None => violated(name, document, &here),
        },
        CellOutcome::NotRun(why) => skipped(&name, &why.to_string()),
        CellOutcome::Inconclusive(why) => {
            broken(&name, NonSuccessKind::Error, "inconclusive", &why.to_string(), &why.to_string())
        }
    };
    case.set_time(tallies.values().map(|tally| tally.elapsed).sum());
    case
}

/// A test case with violations. It fails if one of them is not excused.
fn violated(name: String, document: &Document, violations: &[&DistinctViolation]) -> TestCase {
    let tell = |which: &dyn Fn(&&&DistinctViolation) -> bool| {
        let mut out = String::new();
        for violation in violations.iter().filter(which) {
            out.push_str(&format!("{}{}\n", violation.fingerprint, human::excuse(violation, document.strict)));
            human::describe(&mut out, violation, WIDTH);
        }
        out
    };
    let failing: Vec<_> = violations.iter().filter(|violation| violation.fails(document.strict)).collect();
    let known = tell(&|violation| !violation.fails(document.strict));
    let Some(first) = failing.first() else { return passed(&name, &known) };
    let headline = headline(document, first);
    let message = match failing.len() {
        1 => headline,
        count => format!("{headline}; {count} kinds of violation in all"),
    };
    let described = tell(&|violation| violation.fails(document.strict));
    let mut case = broken(&name, NonSuccessKind::Failure, first.fingerprint.as_str(), &message, &described);
    if !known.is_empty() {
        case.set_system_out(text(&known));
    }
    case
}

/// The headline of the group that a violation belongs to.
fn headline(document: &Document, violation: &DistinctViolation) -> String {
    let groups = document.grouped();
    let is_here = |group: &&Group| group.violations(&document.violations).any(|member| std::ptr::eq(member, violation));
    groups.iter().find(is_here).map(|group| group.headline.clone()).unwrap_or_default()
}

/// The test case for all cells of a walker together.
fn walker(document: &Document, line: &Line) -> TestCase {
    let name = format!("{}, all families", line.walker);
    let is_own = |row: &String, lane, walker| (row, lane, walker) == (&line.row, line.lane, line.walker);
    let failure = document.judgement.failures.iter().find(|failure| match failure {
        Failure::Undescribed { row, lane, walker, .. } => is_own(row, *lane, *walker),
        Failure::Violation { .. } => false,
    });
    if let Some(failure) = failure {
        return broken(&name, NonSuccessKind::Failure, "undescribed", &failure.to_string(), &failure.to_string());
    }
    let doubt = document.judgement.doubts.iter().find(|doubt| match doubt {
        Doubt::NoStacks { row, lane, walker } | Doubt::Vacuous { row, lane, walker, .. } => is_own(row, *lane, *walker),
        Doubt::NothingToCompare { row, walker } => is_own(row, Lane::Live, *walker),
        Doubt::Interrupted
        | Doubt::Unfinished
        | Doubt::ShardsMissing { .. }
        | Doubt::BaseNotTested { .. }
        | Doubt::NothingRan
        | Doubt::NotSeen { .. }
        | Doubt::NotRun { .. }
        | Doubt::Inconclusive { .. } => false,
    });
    if let Some(doubt) = doubt {
        return broken(&name, NonSuccessKind::Error, line.verdict.name(), &doubt.to_string(), &doubt.to_string());
    }
    let advice = document.judgement.advice.iter().filter(|advice| match advice {
        Advice::TooFew { row, walker, .. } => is_own(row, Lane::Live, *walker),
        Advice::Unconfirmed { cell, excess } => is_own(&cell.row, cell.lane, excess.walker),
    });
    let advice: Vec<String> = advice.map(ToString::to_string).collect();
    if line.tally.samples == 0 {
        return skipped(&name, "none of its cells ran");
    }
    passed(&name, &advice.join("\n"))
}

/// Whether the whole plan was carried out. Cells that were skipped for lack of time make this test case an error.
fn whole(document: &Document) -> TestCase {
    let name = "the plan was carried out";
    // Other doubts belong to a cell or a walker.
    let of_run = |doubt: &&Doubt| {
        matches!(
            doubt,
            Doubt::Interrupted
                | Doubt::Unfinished
                | Doubt::ShardsMissing { .. }
                | Doubt::BaseNotTested { .. }
                | Doubt::NothingRan
                | Doubt::NotSeen { .. }
                | Doubt::NotRun { .. }
        )
    };
    let doubts: Vec<String> = document.judgement.doubts.iter().filter(of_run).map(ToString::to_string).collect();
    let remark = format!("verdict: {}: {}", document.judgement.verdict, conclusion::sentence(document, ""));
    match doubts.first() {
        None => passed(name, &remark),
        Some(first) => {
            let message = match doubts.len() {
                1 => first.clone(),
                more => format!("{first}, and {}", plural(more - 1, "more doubt")),
            };
            broken(name, NonSuccessKind::Error, "inconclusive", &message, &doubts.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use model::run::cell::{Inconclusive, NotRun};
    use model::run::event::Event;
    use model::run::fixtures::{ROW, cache_worse, cell as id, finding, frame, run, summary};

    use super::*;

    fn written(events: &[Event]) -> Report {
        let content = Content::Check(Box::new(Document::from(&summary(events, false))));
        let text = render(&[Saved { name: "check".into(), content }]).unwrap();
        Report::deserialize_from_str(&text).unwrap()
    }

    fn case<'a>(report: &'a Report, suite: &str, start: &str) -> &'a TestCase {
        let suite = report.test_suites.iter().find(|one| one.name.as_str() == suite).unwrap();
        suite.test_cases.iter().find(|case| case.name.starts_with(start)).unwrap()
    }

    fn not_green(case: &TestCase) -> (NonSuccessKind, String, String) {
        match &case.status {
            TestCaseStatus::NonSuccess { kind, message, description, .. } => {
                let text = |text: &Option<quick_junit::XmlString>| text.as_deref().unwrap_or_default().to_owned();
                (*kind, text(message), text(description))
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_green(case: &TestCase) -> bool {
        matches!(case.status, TestCaseStatus::Success { .. })
    }

    const STOPPED: &str = "3.15.2 release JIT, stopped";
    const LIVE: &str = "3.15.2 release JIT, live";

    #[test]
    fn a_run_without_fault_is_green_everywhere() {
        let report = written(&run(vec![]));
        assert_eq!((report.failures, report.errors, report.skipped), (0, 0, 0));
        let names: Vec<&str> = report.test_suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["3.15.2 release JIT, stopped", LIVE, "run"]);
        assert!(is_green(case(&report, LIVE, "alternating, seed 7 (cpython-cached, cpython-uncached)")));
        assert_eq!(report.tests, 2 * (1 + 2) + 1);
    }

    #[test]
    fn a_violation_fails_its_cell_with_all_that_is_known_of_it() {
        let elsewhere = CellId { family: "recursion".into(), ..id(Lane::Live) };
        let mut events = vec![Event::Violation(Box::new(finding()))];
        events.extend(model::run::fixtures::runs(&elsewhere));
        events.push(Event::Violation(Box::new(Finding { family: "recursion".into(), ..finding() })));
        let report = written(&run(events));
        for family in ["alternating", "recursion"] {
            let (kind, message, text) = not_green(case(&report, LIVE, family));
            let headline = "probably the profiler (_remote_debugging): cpython-cached returns stacks that mix two branches \
                            of the program";
            assert_eq!((kind, message.as_str()), (NonSuccessKind::Failure, headline));
            for words in ["a_leaf (workload.py:14)", "a_leaf only under a2", "framediff check --lane live", "clause"] {
                assert!(text.contains(words), "{words:?} is not in {text}");
            }
        }
        assert!(is_green(case(&report, "3.15.2 release JIT, stopped", "alternating")));
        assert_eq!(report.failures, 2);
    }

    #[test]
    fn a_known_failure_is_green_and_told() {
        let report = written(&run(vec![Event::Violation(Box::new(cache_worse("stale-full-hit")))]));
        let case = case(&report, LIVE, "alternating");
        assert!(is_green(case));
        assert!(case.system_out.as_ref().unwrap().contains("live-splice-full-hit"));
        assert_eq!((report.failures, report.errors), (0, 0));
    }

    #[test]
    fn an_excess_that_was_not_confirmed_is_green_with_a_remark() {
        let report = written(&run(vec![model::run::fixtures::unconfirmed()]));
        let case = case(&report, LIVE, "cpython-cached, all families");
        assert!(is_green(case));
        assert!(case.system_out.as_ref().unwrap().contains("not confirmed in 2 measurements"));
    }

    #[test]
    fn nothing_that_keeps_a_run_from_passing_is_green() {
        let ended = |family: &str, outcome| Event::CellFinished {
            cell: CellId { family: family.into(), ..id(Lane::Live) },
            outcome,
        };
        let report = written(&run(vec![
            ended("deep", CellOutcome::NotRun(NotRun::BudgetSpent)),
            ended("threads", CellOutcome::NotRun(NotRun::NotApplicable("no walker".into()))),
            ended("recursion", CellOutcome::Inconclusive(Inconclusive::TargetEnded("signal 11".into()))),
        ]));
        assert!(matches!(
            case(&report, LIVE, "deep").status,
            TestCaseStatus::Skipped { ref message, .. } if message.as_ref().unwrap().contains("budget")
        ));
        let (kind, message, _) = not_green(case(&report, LIVE, "recursion"));
        assert_eq!(kind, NonSuccessKind::Error);
        assert!(message.contains("signal 11"), "{message}");
        // A cell skipped for lack of time is an error of the run. One that does not apply here is not.
        let (kind, message, _) = not_green(case(&report, "run", "the plan"));
        assert!(kind == NonSuccessKind::Error && message.contains("deep") && !message.contains("more"), "{message}");
        let events = model::run::fixtures::with_tally(
            Lane::Stopped,
            framewalk::sample::WalkerKind::CpythonCached,
            &model::oracle::tally::Tally { samples: 9, full_hits: 9, ..Default::default() },
        );
        let report = written(&events);
        let (kind, message, _) = not_green(case(&report, STOPPED, "cpython-cached, all"));
        assert!(kind == NonSuccessKind::Error && message.contains("vacuous"), "{message}");
        let events = model::run::fixtures::with_tally(
            Lane::Stopped,
            framewalk::sample::WalkerKind::CpythonCached,
            &Default::default(),
        );
        let report = written(&events);
        let (kind, message, _) = not_green(case(&report, STOPPED, "alternating"));
        assert!(kind == NonSuccessKind::Error && message.contains("not one stack of cpython-cached"), "{message}");
        assert!(not_green(case(&written(&[]), "run", "the plan")).1.contains("did not come to its end"));
    }

    #[test]
    fn what_a_target_calls_itself_is_text() {
        let seen = vec![frame("</failure><script>]]>\u{1b}[31m\u{0}\u{ffff}&", 1)];
        let row = format!("{ROW}<\u{1}>");
        let report = written(&run(vec![Event::Violation(Box::new(Finding { seen, row: row.clone(), ..finding() }))]));
        let (_, _, text) = not_green(case(&report, r"3.15.2 release JIT<\u{1}>, live", "alternating, seed 7"));
        assert!(text.contains("</failure><script>]]>\\u{1b}[31m\\u{0}\u{fffd}& (workload.py:1)"), "{text}");
    }
}
