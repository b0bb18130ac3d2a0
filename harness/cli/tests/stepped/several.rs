//! Tests several unwinders on one target: what happens to them, and how they affect each other.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use framediff::cli::exit;
use framewalk::sample::{Lookup, WalkerKind};
use lanes::stepped::{RecordOptions, Rig, RigPlan, SteppedRun};
use model::run::known::KnownFailures;
use model::schedule::Scheduler;
use model::schedule::event::StepEvent;
use model::schedule::replay::ScheduleReplay;
use model::workload::{Family, FrameSize, Mode, Names, Parameters, generate};
use serde_json::Value;
use sim::case::stepped::SteppedCase;

use crate::common;
use crate::common::command::{outcome, state};

const SMALL: Parameters =
    Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };

/// Two branches that use the same addresses.
fn launch(walker: WalkerKind, cast: &str) -> Rig {
    let plan = RigPlan {
        jit: Some(false),
        warm_up: 300,
        cast: cast.parse().unwrap(),
        keeping: RecordOptions { history: true, digests: false },
        ..RigPlan::new(&common::release(), walker)
    };
    Rig::launch(plan, generate(Family::Alternating, Mode::Rounds, &SMALL, 25)).unwrap_or_else(|error| panic!("{error}"))
}

fn run(rig: &mut Rig, samples: u32, schedule: &str) -> SteppedRun {
    let mut scheduler = ScheduleReplay::new(schedule.parse().unwrap(), 1);
    assert!(scheduler.begin());
    let run = rig.run(samples, &mut scheduler).unwrap_or_else(|error| panic!("{error}"));
    scheduler.fit().unwrap();
    run
}

fn lookups(run: &SteppedRun) -> Vec<&'static str> {
    let lookup = |lookup| match lookup {
        Lookup::FullHit => "full",
        Lookup::PartialHit => "part",
        Lookup::Miss(_) => "miss",
        _ => "none",
    };
    run.samples.iter().map(|sample| lookup(sample.sample.provenance.lookup)).collect()
}

/// The events between samples, and whether there was an anchor after each.
fn happened(run: &SteppedRun) -> Vec<(String, bool)> {
    let of = |event: &StepEvent| match event {
        StepEvent::Happened(one, anchor) => Some((one.to_string(), *anchor != 0)),
        _ => None,
    };
    run.history.iter().filter_map(of).collect()
}

fn by(run: &SteppedRun) -> String {
    run.samples.iter().map(|sample| sample.by.to_string()).collect()
}

#[test]
fn each_unwinder_has_its_own_cache() {
    for walker in [WalkerKind::OwnCached, WalkerKind::CpythonCached] {
        let mut rig = launch(walker, "a+b");
        let run = run(&mut rig, 6, "0.0:3");
        assert_eq!(
            (by(&run).as_str(), lookups(&run)),
            ("ababab", ["miss", "miss", "full", "full", "full", "full"].into())
        );
        assert!(run.samples.iter().all(|sample| sample.is_right()));
    }
}

#[test]
fn an_unwinder_clears_anchors_when_created_and_leaves_its_own_when_dropped() {
    let made = |text: &str, anchor| (text.to_owned(), anchor);
    for (cast, expected, caches) in [
        ("a+make-b.b", vec![made("make-b", false)], ["miss", "miss", "full"]),
        ("a+drop-a.make-a.a", vec![made("drop-a", true), made("make-a", false)], ["miss", "miss", "full"]),
        ("a+kill-a.make-a.a", vec![made("kill-a", true), made("make-a", false)], ["miss", "miss", "full"]),
        ("a+b+drop-b.a", vec![made("drop-b", true)], ["miss", "miss", "full"]),
    ] {
        let mut rig = launch(WalkerKind::CpythonCached, cast);
        for _ in 0..3 {
            let run = run(&mut rig, 3, "0.0:3");
            assert_eq!((happened(&run), lookups(&run)), (expected.clone(), caches.into()), "{cast}");
        }
    }
}

#[test]
fn a_killed_unwinder_is_replaced_by_another_process() {
    let mut rig = launch(WalkerKind::CpythonCached, "a+kill-a.make-b.b");
    let [a, b] = rig.sampler_pids()[..] else { panic!() };
    let first = run(&mut rig, 3, "0.0:3,2.0:1");
    assert!(first.samples.iter().all(|sample| sample.is_right()));
    assert_eq!((state(a), rig.sampler_pids()), (None, vec![b]));
    let again = run(&mut rig, 1, "0.0:3");
    let [other, same] = rig.sampler_pids()[..] else { panic!() };
    assert!(other != a && same == b && state(other).is_some());
    assert_eq!(lookups(&again), ["miss"]);
    drop(rig);
    assert_eq!([other, b].map(state), [None, None]);
}

/// The target does not move during any sample. b's unwinder is made after the first sample, and sets the anchor of a's
/// unwinder to NULL. Until b's first sample, frames that leave the stack are not counted.
#[test]
fn a_new_unwinder_makes_the_cache_of_the_old_one_wrong() {
    let version = common::release().version.to_string();
    for walker in [WalkerKind::OwnCached, WalkerKind::CpythonCached] {
        for (cast, lies) in [("old-and-new", true), ("alternating", false), ("handed-over", false), ("remade", false)] {
            let mut rig = launch(walker, cast);
            let run = run(&mut rig, 3, "0.0:1,1.0:8");
            let Some((sample, _)) = run.first_wrong() else {
                assert!(!lies, "{walker} {cast}");
                continue;
            };
            assert!(lies && sample == 2, "{walker} {cast}");
            let fingerprint = run.fingerprint(sample).unwrap();
            let expected = format!("stepped/{walker}/old-and-new/spliced/full-hit/function/between-samples");
            assert_eq!(fingerprint.to_string(), expected);
            if walker == WalkerKind::CpythonCached {
                assert!(
                    KnownFailures::kept().unwrap().find_stepped(&fingerprint, &version, Family::Alternating).is_some()
                );
            }
        }
    }
}

#[test]
fn a_search_with_several_unwinders_finds_only_known_failures() {
    let python = common::release().python;
    let explore = |more: &[&str]| {
        let fixed = ["explore", "--python", python.to_str().unwrap(), "--depth", "1", "--at-rest", "--format", "json"];
        let outcome = outcome([&fixed[..], more].concat(), Duration::from_secs(120));
        let document: Value =
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
        (outcome.code.unwrap(), document["searches"][0].clone())
    };
    let (code, search) = explore(&["--scenario", "old-and-new"]);
    let failures = search["failures"].as_array().unwrap();
    assert!(search["schedules"].as_u64().unwrap() > 50 && !failures.is_empty(), "{search}");
    assert_eq!((search["scenario"].as_str(), search["at_rest"].as_bool()), (Some("old-and-new"), Some(true)));
    let all_known = failures.iter().all(|failure| failure["known"].is_string());
    assert_eq!(code, i32::from(if all_known { exit::PASS } else { exit::VIOLATION }), "{search}");
    for failure in failures {
        let case: SteppedCase = failure["case"].as_str().unwrap().parse().unwrap();
        assert!(!case.schedule.moves_inside_samples() && case.cast.to_string() == "old-and-new", "{case}");
        let line = case.to_string();
        let replay = ["replay", "--python", python.to_str().unwrap(), "--times", "2", &line];
        let replayed = outcome(replay, Duration::from_secs(120));
        assert!(replayed.stdout.contains("reproduces 2/2"), "{replayed:?}");
    }
    let (code, search) = explore(&["--scenario", "a+make-b.b+a", "--strict"]);
    assert_eq!((code, search["scenario"].as_str()), (i32::from(exit::VIOLATION), Some("old-and-new")));
    // The same schedules with one unwinder.
    let (code, search) = explore(&[]);
    assert_eq!((code, search["failed"].as_u64(), search["scenario"].as_str()), (0, Some(0), Some("alone")), "{search}");
    let refused = outcome(["explore", "--scenario", "both"], Duration::from_secs(120));
    refused.assert_refused(&["\"both\" is not an actor", "known are alone, alternating, old-and-new"]);
}
