//! Tests of the rules for the verdict.

use framewalk::miss::MissReason;
use framewalk::sample::WalkerKind;

use crate::lane::Lane;
use crate::oracle::cause::Cause;
use crate::oracle::proportion::Proportion;
use crate::oracle::tally::Tally;
use crate::run::cell::{CellOutcome, Inconclusive, NotRun};
use crate::run::event::{Consumer, Event};
use crate::run::finding::{Finding, Fingerprint};
use crate::run::fixtures::{
    ROW, cache_worse, cell, few, finding, run, runs, started, summary, unconfirmed, with_tally,
};
use crate::run::known::KnownFailures;
use crate::run::summary::{Rules, Summary};
use crate::run::verdict::{Advice, Doubt, Failure, Judgement, LineVerdict, Verdict};

fn judge(events: &[Event]) -> Judgement {
    summary(events, false).judgement()
}

fn finished(lane: Lane, outcome: CellOutcome) -> Event {
    Event::CellFinished { cell: cell(lane), outcome }
}

fn violation(finding: Finding) -> Event {
    Event::Violation(Box::new(finding))
}

fn with_stopped_tally(tally: &Tally) -> Vec<Event> {
    with_tally(Lane::Stopped, WalkerKind::CpythonCached, tally)
}

fn verdict_of(events: &[Event], lane: Lane, walker: WalkerKind) -> LineVerdict {
    let lines = summary(events, false).lines();
    lines.iter().find(|line| line.lane == lane && line.walker == walker).unwrap().verdict
}

#[test]
fn a_complete_run_without_violation_passes() {
    let judgement = judge(&run(vec![]));
    assert_eq!(judgement, Judgement { verdict: Verdict::Pass, failures: vec![], doubts: vec![], advice: vec![] });
    assert!(summary(&run(vec![]), true).lines().iter().all(|line| line.verdict == LineVerdict::Pass));
}

#[test]
fn an_unknown_violation_fails() {
    let events = run(vec![violation(finding())]);
    let judgement = judge(&events);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert_eq!(judgement.failures, [Failure::Violation { fingerprint: finding().fingerprint() }]);
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonCached), LineVerdict::Fail);
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonUncached), LineVerdict::Pass);
    assert_eq!(verdict_of(&events, Lane::Stopped, WalkerKind::CpythonCached), LineVerdict::Pass);
}

#[test]
fn a_known_violation_is_reported_and_fails_only_a_strict_run() {
    let events = run(vec![violation(cache_worse("stale-partial-hit"))]);
    let lenient = summary(&events, false);
    assert_eq!(lenient.judgement().verdict, Verdict::Pass);
    assert_eq!(lenient.violations().len(), 1);
    assert_eq!(lenient.violations()[0].known.as_ref().unwrap().id, "live-splice-partial-hit");
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonCached), LineVerdict::Known);

    let strict = summary(&events, true);
    assert_eq!(strict.judgement().verdict, Verdict::Fail);
    assert!(strict.violations()[0].known.is_some());
}

#[test]
fn a_known_failure_is_not_confirmed_for_a_later_version_and_fails_only_a_strict_run() {
    let mut newer = cache_worse("stale-partial-hit");
    (newer.version, newer.row) = ("3.15.3".into(), "3.15.3 release".into());
    let events = run(vec![violation(cache_worse("stale-partial-hit")), violation(newer.clone())]);
    let mild = summary(&events, false);
    assert_eq!(mild.judgement().verdict, Verdict::Pass);
    let confirmed: Vec<bool> = mild.violations().iter().map(|violation| !violation.not_confirmed).collect();
    assert_eq!(confirmed, [true, false], "they are reported apart");
    assert_eq!(summary(&events, true).judgement().verdict, Verdict::Fail);
    // Another protocol has other failures.
    newer.frame_cache = "anchor only".into();
    assert_eq!(summary(&run(vec![violation(newer)]), false).judgement().verdict, Verdict::Fail);
}

#[test]
fn violations_with_one_fingerprint_are_counted_together() {
    let again = Finding { count: 5, row: "3.15.2 debug".into(), ..finding() };
    let summary = summary(&run(vec![violation(finding()), violation(again)]), false);
    let [one] = summary.violations() else { panic!("{:?}", summary.violations()) };
    assert_eq!((one.count, one.rows.len(), &one.first), (8, 2, &finding()));
}

#[test]
fn wrong_samples_fail_even_without_a_violation() {
    let mut tally = crate::run::fixtures::tally();
    tally.differences = 1;
    let judgement = judge(&with_stopped_tally(&tally));
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(matches!(judgement.failures.as_slice(), [Failure::Undescribed { samples: 1, .. }]));
}

#[test]
fn impossible_live_stacks_of_cpythons_walkers_count_as_rates_not_violations() {
    let mut tally = Tally { samples: 10, ..Tally::default() };
    tally.count_impossible(Cause::TornRead);
    let event = Event::Samples { cell: cell(Lane::Live), walker: WalkerKind::CpythonUncached, tally: tally.clone() };
    assert_eq!(judge(&run(vec![event])).verdict, Verdict::Pass);
    let event = Event::Samples { cell: cell(Lane::Live), walker: WalkerKind::OwnReference, tally };
    assert_eq!(judge(&run(vec![event])).verdict, Verdict::Fail);
}

#[test]
fn a_missing_hit_kind_is_vacuous() {
    let full = crate::run::fixtures::tally();
    for (tally, missing) in [
        (Tally { full_hits: 0, ..full.clone() }, "full hit"),
        (Tally { partial_hits: 0, ..full.clone() }, "partial hit"),
        (Tally { misses: [(MissReason::NoEntry, 0)].into(), ..full }, "miss"),
    ] {
        let events = with_stopped_tally(&tally);
        let expected = Doubt::Vacuous {
            row: ROW.into(),
            lane: Lane::Stopped,
            walker: WalkerKind::CpythonCached,
            missing: vec![missing.into()],
        };
        assert_eq!(judge(&events).doubts, [expected]);
        assert_eq!(judge(&events).verdict, Verdict::Inconclusive);
        assert_eq!(verdict_of(&events, Lane::Stopped, WalkerKind::CpythonCached), LineVerdict::Vacuous);
    }
}

#[test]
fn hits_may_come_from_another_family_of_the_same_line() {
    let mut events = with_stopped_tally(&Tally { full_hits: 0, ..crate::run::fixtures::tally() });
    let mut other = cell(Lane::Stopped);
    other.family = "recursion".into();
    let at = events.len() - 1;
    events.splice(at..at, runs(&other));
    assert_eq!(judge(&events).verdict, Verdict::Pass);
}

#[test]
fn a_walker_that_rejects_everything_does_not_pass() {
    let tally = Tally { samples: 5, rejected: [("moved".into(), 5)].into(), ..Tally::default() };
    let judgement = judge(&with_stopped_tally(&tally));
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(matches!(judgement.doubts.as_slice(), [Doubt::NoStacks { .. }]), "{judgement:?}");
}

#[test]
fn too_few_live_samples_give_advice_without_effect_on_the_verdict() {
    let events = with_tally(Lane::Live, WalkerKind::CpythonCached, &few());
    let judgement = judge(&events);
    let [Advice::TooFew { row, walker, cached, uncached, excess }] = judgement.advice.as_slice() else {
        panic!("{judgement:?}")
    };
    assert_eq!((row.as_str(), *walker), (ROW, WalkerKind::CpythonCached));
    assert_eq!((*cached, *uncached), (Proportion::new(0, 20), Proportion::new(0, 20_000)));
    // The upper bound for 0 of 20 samples: 1 - 0.00005^(1/20).
    assert_eq!(excess, "39.1 %");
    assert_eq!((judgement.verdict, judgement.doubts), (Verdict::Pass, vec![]));
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonCached), LineVerdict::Undecided);
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonUncached), LineVerdict::Pass);
}

#[test]
fn too_few_samples_excuse_no_other_problem() {
    let mut events = with_tally(Lane::Live, WalkerKind::CpythonCached, &few());
    events.insert(events.len() - 1, finished(Lane::Stopped, CellOutcome::NotRun(NotRun::BudgetSpent)));
    let judgement = judge(&events);
    assert_eq!((judgement.verdict, judgement.doubts.len(), judgement.advice.len()), (Verdict::Inconclusive, 1, 1));
    events.insert(events.len() - 1, violation(finding()));
    assert_eq!(judge(&events).verdict, Verdict::Fail);
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonCached), LineVerdict::Fail);
}

#[test]
fn an_excess_that_was_not_confirmed_is_advice() {
    let events = run(vec![unconfirmed()]);
    let judgement = judge(&events);
    let [Advice::Unconfirmed { cell: at, excess }] = judgement.advice.as_slice() else { panic!("{judgement:?}") };
    assert_eq!((at, excess.walker, excess.measurements), (&cell(Lane::Live), WalkerKind::CpythonCached, 2));
    assert_eq!(excess.fingerprint.as_str(), "live/cpython-cached/more-than-released/stale-partial-hit");
    assert_eq!((judgement.verdict, judgement.doubts), (Verdict::Pass, vec![]));
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonCached), LineVerdict::Pass);
}

#[test]
fn no_uncached_stack_at_all_is_a_doubt() {
    let events = with_tally(Lane::Live, WalkerKind::CpythonUncached, &Tally::default());
    let judgement = judge(&events);
    let (row, lane) = (ROW.to_owned(), Lane::Live);
    let expected = [
        Doubt::NothingToCompare { row: row.clone(), walker: WalkerKind::CpythonCached },
        Doubt::NoStacks { row, lane, walker: WalkerKind::CpythonUncached },
    ];
    assert_eq!((judgement.verdict, judgement.advice), (Verdict::Inconclusive, vec![]));
    assert_eq!(judgement.doubts, expected);
    assert_eq!(verdict_of(&events, Lane::Live, WalkerKind::CpythonCached), LineVerdict::Inconclusive);
}

#[test]
fn few_stopped_samples_are_enough() {
    let judgement = judge(&with_stopped_tally(&few()));
    assert_eq!((judgement.verdict, judgement.advice), (Verdict::Pass, vec![]));
}

#[test]
fn nothing_ran_is_not_success() {
    let over = Event::RunFinished { interrupted: false };
    assert_eq!(judge(&[started(&[]), over.clone()]).doubts, [Doubt::NothingRan]);
    let cells = [cell(Lane::Live)];
    let absent = finished(Lane::Live, CellOutcome::NotRun(NotRun::NotApplicable("no frame cache before 3.15".into())));
    let judgement = judge(&[started(&cells), absent, over]);
    assert_eq!((judgement.verdict, judgement.doubts), (Verdict::Inconclusive, vec![Doubt::NothingRan]));
}

#[test]
fn cells_that_are_not_applicable_do_not_prevent_a_pass() {
    let why = NotRun::NotApplicable("no frame cache before 3.15".into());
    assert_eq!(judge(&run(vec![finished(Lane::Live, CellOutcome::NotRun(why))])).verdict, Verdict::Pass);
}

#[test]
fn a_cell_that_did_not_run_or_proves_nothing_prevents_a_pass() {
    for outcome in [
        CellOutcome::NotRun(NotRun::BudgetSpent),
        CellOutcome::NotRun(NotRun::SetUp("the target did not start".into())),
        CellOutcome::NotRun(NotRun::Unaccounted),
        CellOutcome::Inconclusive(Inconclusive::Deadline("gate 3".into())),
        CellOutcome::Inconclusive(Inconclusive::Unreadable("address 0x8".into())),
        CellOutcome::Inconclusive(Inconclusive::NothingCompared("30".into())),
    ] {
        let judgement = judge(&run(vec![finished(Lane::Live, outcome.clone())]));
        assert_eq!((judgement.verdict, judgement.doubts.len()), (Verdict::Inconclusive, 1), "{outcome:?}");
    }
}

#[test]
fn a_cell_without_a_result_prevents_a_pass() {
    let cells = [Lane::Stopped, Lane::Live].map(cell);
    let mut events = vec![started(&cells)];
    events.extend(runs(&cells[0]));
    events.push(Event::RunFinished { interrupted: false });
    let judgement = judge(&events);
    assert_eq!(judgement.doubts, [Doubt::NotRun { cell: cells[1].clone(), why: NotRun::Unaccounted }]);
}

#[test]
fn an_interrupted_or_unfinished_run_does_not_pass() {
    let mut events = run(vec![]);
    events.pop();
    assert_eq!(judge(&events).doubts, [Doubt::Unfinished]);
    events.push(Event::RunFinished { interrupted: true });
    assert_eq!(judge(&events).doubts, [Doubt::Interrupted]);
    assert!(summary(&events, false).interrupted());
}

#[test]
fn an_interruption_explains_cells_without_a_result() {
    let [begun, waiting] = [Lane::Stopped, Lane::Live].map(cell);
    let mut events = vec![started(&[begun.clone(), waiting.clone()])];
    events.extend(runs(&begun));
    events.retain(|event| !matches!(event, Event::CellFinished { .. }));
    events.push(Event::RunFinished { interrupted: true });
    let doubts = judge(&events).doubts;
    assert!(doubts.contains(&Doubt::Inconclusive { cell: begun, why: Inconclusive::Interrupted }), "{doubts:?}");
    assert!(doubts.contains(&Doubt::NotRun { cell: waiting, why: NotRun::Interrupted }), "{doubts:?}");
}

#[test]
fn a_violation_takes_precedence_over_a_doubt() {
    let judgement =
        judge(&run(vec![violation(finding()), finished(Lane::Live, CellOutcome::NotRun(NotRun::BudgetSpent))]));
    assert_eq!((judgement.verdict, judgement.doubts.len()), (Verdict::Fail, 1));
}

#[test]
fn a_known_failure_that_is_not_seen_is_reported() {
    let summary = summary(&run(vec![violation(cache_worse("stale-partial-hit"))]), false);
    let ids: Vec<_> = summary.known_not_seen().into_iter().map(|not_seen| not_seen.known.id).collect();
    let live: Vec<_> = ids.iter().filter(|id| id.starts_with("live-")).collect();
    assert_eq!(live, ["live-splice-full-hit", "live-torn-walk-served-again"]);
    assert_eq!(summary.judgement().verdict, Verdict::Pass);

    let mut few = run(vec![]);
    few.retain(|event| !matches!(event, Event::Samples { .. }));
    assert!(super::fixtures::summary(&few, false).known_not_seen().is_empty());
}

/// The judgement of a run that was meant to reproduce this failure.
fn sought(events: &[Event], fingerprint: &Fingerprint, strict: bool) -> Judgement {
    let known = KnownFailures::kept().unwrap();
    let rules = Rules { known, strict, confidence: 0.9999, sought: Some(fingerprint.clone()) };
    let mut summary = Summary::new(rules);
    events.iter().for_each(|event| summary.event(event));
    summary.judgement()
}

#[test]
fn a_run_until_a_failure_owes_nothing_after_it() {
    let (new, known) = (finding(), cache_worse("stale-full-hit"));
    let cells = [cell(Lane::Live)];
    let over = Event::RunFinished { interrupted: false };
    let seen = |finding: &Finding| vec![started(&cells), Event::Violation(Box::new(finding.clone())), over.clone()];
    for (finding, strict, verdict) in
        [(&new, false, Verdict::Fail), (&known, false, Verdict::Pass), (&known, true, Verdict::Fail)]
    {
        let judgement = sought(&seen(finding), &finding.fingerprint(), strict);
        assert_eq!((judgement.verdict, judgement.doubts), (verdict, vec![]), "{}", finding.fingerprint());
    }
    // A known failure does not make a run pass that was meant to reproduce another one.
    let judgement = sought(&seen(&known), &new.fingerprint(), false);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(judgement.doubts.contains(&Doubt::NotSeen { fingerprint: new.fingerprint() }), "{judgement:?}");
    let judgement = sought(&run(vec![]), &new.fingerprint(), false);
    assert_eq!(judgement.doubts, [Doubt::NotSeen { fingerprint: new.fingerprint() }]);
}
