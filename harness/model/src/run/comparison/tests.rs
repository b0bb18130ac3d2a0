//! Tests of what a base proves to be new.

use std::collections::BTreeMap;

use framewalk::sample::WalkerKind;

use crate::invariants::Violation;
use crate::lane::Lane;
use crate::oracle::cause::Cause;
use crate::oracle::tally::Tally;
use crate::run::cell::{CellId, CellOutcome, NotRun};
use crate::run::change::AgainstBase;
use crate::run::document::Document;
use crate::run::event::Event;
use crate::run::finding::Finding;
use crate::run::fixtures::{cache_worse, cell, finding, run, runs, summary, with_tally};
use crate::run::known::KnownFailures;
use crate::run::schedules::{RanSchedules, ScheduleId};
use crate::run::verdict::{Doubt, LineVerdict, Verdict};
use crate::schedule::Schedule;
use crate::schedule::cast::ProfilerScript;
use crate::schedule::trace::Trace;

fn document(events: &[Event]) -> Document {
    Document::from(&summary(events, false))
}

fn violations(findings: Vec<Finding>) -> Document {
    document(&run(findings.into_iter().map(|finding| Event::Violation(Box::new(finding))).collect()))
}

/// Judges a run against a base.
fn against(base: &Document, mut now: Document) -> Document {
    now.judge_against("/base/python", base, KnownFailures::kept().unwrap().live());
    now
}

fn said(document: &Document) -> Vec<Option<AgainstBase>> {
    document.violations.iter().map(|violation| violation.against_base).collect()
}

fn dead_shim(family: &str) -> Finding {
    let violation = Violation::AnchorOnDeadShim { anchor: 8 };
    Finding { lane: Lane::Stopped, violation, cause: None, family: family.into(), count: 400, ..finding() }
}

#[test]
fn only_what_the_base_does_not_show_fails() {
    let nothing = violations(vec![]);
    let unknown = || violations(vec![finding()]);
    assert_eq!(against(&nothing, unknown()).judgement.verdict, Verdict::Fail);
    let same = against(&unknown(), unknown());
    assert_eq!((same.judgement.verdict, said(&same)), (Verdict::Pass, vec![Some(AgainstBase::AlsoInBase)]));
    assert!(same.table.iter().all(|line| line.verdict != LineVerdict::Fail), "{:?}", same.table);
    assert!(same.grouped().iter().all(|group| !group.fails));
    let gone = against(&unknown(), nothing.clone());
    assert_eq!(gone.judgement.verdict, Verdict::Pass);
    assert_eq!(gone.baseline.unwrap().comparison.count(super::Fate::Gone), 1);
}

#[test]
fn a_known_failure_is_new_where_the_base_looked_and_did_not_see_it() {
    let [nothing, one] = [vec![], vec![dead_shim("alternating")]].map(violations);
    assert_eq!(one.judgement.verdict, Verdict::Pass, "it is known");
    let new = against(&nothing, one.clone());
    assert_eq!((new.judgement.verdict, said(&new)), (Verdict::Fail, vec![Some(AgainstBase::New)]));
    assert_eq!(against(&one, one.clone()).judgement.verdict, Verdict::Pass);
    // A few can be missed by chance: not every stop is at a gate.
    let few = against(&nothing, violations(vec![Finding { count: 2, ..dead_shim("alternating") }]));
    assert_eq!((few.judgement.verdict, said(&few)), (Verdict::Pass, vec![Some(AgainstBase::NotProved)]));
    // In another family it is new, if the base ran that family.
    let deep = CellId { family: "deep".into(), ..cell(Lane::Stopped) };
    let with_deep = |findings: Vec<Finding>| {
        let findings = findings.into_iter().map(|finding| Event::Violation(Box::new(finding)));
        document(&run(runs(&deep).into_iter().chain(findings).collect()))
    };
    let base = with_deep(vec![dead_shim("alternating")]);
    let now = with_deep(vec![dead_shim("alternating"), dead_shim("deep")]);
    let judged = against(&base, now.clone());
    assert_eq!(judged.judgement.verdict, Verdict::Fail);
    let change = &judged.baseline.unwrap().comparison.changes[0];
    assert_eq!(change.places.len(), 1, "{change:?}");
    assert!(change.places.iter().all(|place| place.contains("deep")));
    // A base that did not run the family is no base for it.
    let judged = against(&one, now);
    assert_eq!(judged.judgement.verdict, Verdict::Inconclusive, "{:?}", judged.judgement);
    assert!(matches!(judged.judgement.doubts[..], [Doubt::BaseNotTested { .. }]));
}

/// The live lane is chance: one run need not show what another one does.
#[test]
fn a_rate_fails_only_beyond_the_margins_of_the_base() {
    let with = |count: u64, violation: bool| {
        let stale = [(Cause::StaleFullHit, count)];
        let fixture = crate::run::fixtures::tally();
        let tally = Tally { impossible: stale.into(), impossible_episodes: stale.into(), ..fixture };
        let mut events = with_tally(Lane::Live, WalkerKind::CpythonCached, &tally);
        if violation {
            events.insert(events.len() - 1, Event::Violation(Box::new(cache_worse("stale-full-hit"))));
        }
        document(&events)
    };
    for (before, now, expected) in [
        (with(0, false), with(100, true), Verdict::Pass),
        (with(90, false), with(2_000, true), Verdict::Fail),
        (with(1_000, false), with(2_000, true), Verdict::Pass),
        (with(100, true), with(5_000, true), Verdict::Pass),
    ] {
        assert_eq!(against(&before, now).judgement.verdict, expected);
    }
    // It is gone only if it is provably less frequent.
    for (now, gone) in [(0, 1), (4_500, 0)] {
        let comparison = against(&with(5_000, true), with(now, false)).baseline.unwrap().comparison;
        assert_eq!(comparison.count(super::Fate::Gone), gone, "{now}");
    }
    let not_proved = against(&with(0, false), with(100, true));
    assert_eq!(said(&not_proved), [Some(AgainstBase::NotProved)]);
}

fn id(number: u32) -> ScheduleId {
    let trace = Trace::of(&Schedule::default(), &[]);
    ScheduleId::new(&ProfilerScript::default(), number, &Schedule::default(), &trace)
}

/// A run of the schedules with these numbers, of which some fail in a known way.
fn stepped(ran: &[u32], failed: &[u32]) -> Document {
    const TEXT: &str = "stepped/cpython-cached/spliced/full-hit/function/read-frame..write-anchor";
    let fingerprint = TEXT.parse().unwrap();
    let violation =
        Violation::Existence { fingerprint, case: "framediff@1".into(), index: None, kept: false, seen: true };
    let finding = Finding { lane: Lane::Stepped, violation, cause: None, count: failed.len() as u64, ..finding() };
    let stepped = cell(Lane::Stepped);
    let mut schedules = RanSchedules::default();
    for number in ran {
        let fails = failed.contains(number).then(|| (finding.fingerprint(), format!("framediff@{number}")));
        schedules.add(id(*number), fails);
    }
    let mut events = runs(&stepped);
    events.push(Event::Schedules { cell: stepped, walker: WalkerKind::CpythonCached, schedules });
    if !failed.is_empty() {
        events.push(Event::Violation(Box::new(finding)));
    }
    document(&run(events))
}

#[test]
fn a_schedule_that_passed_and_fails_now_fails_and_is_named() {
    for (base, now, verdict, cases) in [
        (stepped(&[1, 2, 3], &[2]), stepped(&[1, 2, 3], &[2]), Verdict::Pass, vec![]),
        (stepped(&[1, 2, 3], &[2]), stepped(&[1, 2, 3], &[2, 3]), Verdict::Fail, vec!["framediff@3"]),
        (stepped(&[1, 2, 3], &[]), stepped(&[1, 2, 3], &[3]), Verdict::Fail, vec!["framediff@3"]),
        // Other schedules: which of them show a known failure is chance.
        (stepped(&[1, 2, 3], &[2]), stepped(&[4, 5, 6], &[4, 5]), Verdict::Pass, vec![]),
        (stepped(&[1, 2, 3], &[]), stepped(&[4, 5, 6], &[4, 5]), Verdict::Pass, vec![]),
        (stepped(&[1, 2, 3], &[2, 3]), stepped(&[1, 2, 3], &[]), Verdict::Pass, vec![]),
    ] {
        let judged = against(&base, now);
        assert_eq!(judged.judgement.verdict, verdict, "{:?}", judged.judgement);
        let comparison = judged.baseline.unwrap().comparison;
        let named: Vec<&str> = comparison.changes.iter().flat_map(|one| &one.cases).map(String::as_str).collect();
        assert_eq!(named, cases);
    }
}

#[test]
fn a_base_that_was_not_tested_is_no_base() {
    let now = || violations(vec![finding()]);
    let unrun = CellOutcome::NotRun(NotRun::SetUp("the interpreter crashed".into()));
    let crashed = document(&run(vec![Event::CellFinished { cell: cell(Lane::Live), outcome: unrun }]));
    let mut debug = violations(vec![]);
    debug.builds[0].flavour = "debug".into();
    let mut seeded = violations(vec![]);
    seeded.seed = 7;
    let mut arm = violations(vec![]);
    arm.architecture = Some("aarch64".into());
    for (base, words) in [
        (crashed, "the interpreter crashed"),
        (debug, "no such build or run mode"),
        (seeded, "the seed 7"),
        (arm, "another architecture, aarch64"),
    ] {
        let judged = against(&base, now());
        assert_eq!(judged.judgement.verdict, Verdict::Inconclusive, "{words}: {:?}", judged.judgement);
        let doubts: BTreeMap<String, ()> =
            judged.judgement.doubts.iter().map(|doubt| (doubt.to_string(), ())).collect();
        assert!(doubts.keys().any(|doubt| doubt.contains(words)), "{doubts:?}");
    }
}
