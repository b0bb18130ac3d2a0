//! Tests that the simulated interpreter behaves like the real one, store by store and stack by stack.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use lanes::conform::family::{ConformOperation, ProgramFamily};
use lanes::conform::{Compared, Conformance, Trial};
use lanes::stepped::RigPlan;
use model::schedule::random::RandomBounds;
use process::build::Build;
use sim::variation::Variation;

use crate::common;

const WALKERS: [WalkerKind; 5] = [
    WalkerKind::OwnCached,
    WalkerKind::CpythonCached,
    WalkerKind::OwnReference,
    WalkerKind::OwnUncached,
    WalkerKind::CpythonUncached,
];
const SCHEDULES: u64 = 28;

fn trial(family: ProgramFamily, seed: u64, variation: Option<Variation>) -> Trial {
    Trial {
        family,
        seed,
        schedules: SCHEDULES,
        samples: 3,
        bounds: RandomBounds { moves: 4, steps: 40 },
        variations: variation.into_iter().collect(),
        weakenings: BTreeSet::new(),
    }
}

fn run(build: &Build, jit: bool, walker: WalkerKind, trial: &Trial) -> Conformance {
    let plan = RigPlan {
        jit: build.jit_available.then_some(jit),
        warm_up: if jit { 6000 } else { 200 },
        patience: Duration::from_secs(120),
        ..RigPlan::new(build, walker)
    };
    let layout = build.usable().unwrap();
    trial.run(plan, layout).unwrap_or_else(|error| panic!("{} {} {walker}: {error}", trial.family, trial.seed))
}

/// Compares every family with every modelled walker. The programs differ in each run mode.
fn conforms(build: &Build, jit: bool, first_seed: u64) {
    let mut compared = Compared::default();
    let mut operations = BTreeSet::new();
    for family in ProgramFamily::ALL {
        for (seed, mut walker) in (first_seed..).zip(WALKERS) {
            // Without a cache, a debug build's unwinder finds the chunks through a page that it read before. How long
            // ago depends on the layout of its heap.
            if build.debug && walker == WalkerKind::CpythonUncached {
                walker = WalkerKind::OwnCached;
            }
            let conformance = run(build, jit, walker, &trial(family, seed, None));
            if let Some(disagreement) = conformance.disagreement {
                panic!("{family}, seed {seed}, {walker}, JIT {jit}:\n{disagreement}");
            }
            compared.add(&conformance.compared);
            operations.extend(conformance.operations);
        }
    }
    println!("{compared}");
    let all = ProgramFamily::ALL.iter().flat_map(|family| family.operations());
    let expected: BTreeSet<ConformOperation> =
        all.copied().chain([ConformOperation::Call, ConformOperation::Yield]).collect();
    assert_eq!(operations, expected, "what no program did shows nothing");
    let Compared { schedules, stores, updates, full_hits, partial_hits, misses, rejected, beyond, .. } = compared;
    assert_eq!(schedules, SCHEDULES * (ProgramFamily::ALL.len() * WALKERS.len()) as u64);
    for count in [full_hits, partial_hits, misses, rejected] {
        assert!(count > 20, "{compared}");
    }
    assert!(stores > 5000 && updates > 40 && beyond * 4 < schedules, "{compared}");
}

#[test]
fn a_release_build_matches_the_simulation() {
    conforms(&common::release(), false, 0);
}

#[test]
fn compiled_code_matches_the_simulation() {
    conforms(&common::release(), true, 100);
}

#[test]
fn a_debug_build_matches_the_simulation() {
    conforms(&common::debug(), false, 200);
}

#[test]
fn compiled_code_of_a_debug_build_matches_the_simulation() {
    conforms(&common::debug(), true, 300);
}

#[test]
fn conformance_detects_a_walker_that_keeps_freed_code() {
    let build = common::release();
    for walker in [WalkerKind::OwnCached, WalkerKind::OwnReference] {
        let weakenings = BTreeSet::from([Weakening::CodeKeptAfterFree]);
        let trial = |seed| Trial { weakenings: weakenings.clone(), ..trial(ProgramFamily::CodeReuse, seed, None) };
        let found = (0..20).find_map(|seed| run(&build, false, walker, &trial(seed)).disagreement);
        assert!(found.is_some_and(|found| found.histories.contains("> ")), "{walker} was never noticed");
    }
}

#[test]
fn conformance_detects_a_varied_interpreter() {
    let build = common::release();
    for (variation, family) in [
        (Variation::AnchorKeptOnReturn, ProgramFamily::Calls),
        (Variation::AnchorKeptOnYield, ProgramFamily::Generators),
        (Variation::AnchorKeptOnReturnGenerator, ProgramFamily::Generators),
        (Variation::AnchorKeptOnThrow, ProgramFamily::Throw),
        (Variation::AnchorKeptOnFailedBind, ProgramFamily::FailedBind),
        (Variation::SequenceKept, ProgramFamily::Calls),
        (Variation::CurrentFrameFirstOnYield, ProgramFamily::Generators),
        (Variation::AnchorMovedByShims, ProgramFamily::Entry),
    ] {
        let trials =
            (0..150).map(|seed| run(&build, false, WalkerKind::OwnCached, &trial(family, seed, Some(variation))));
        let mut disagreements = trials.filter_map(|conformance| conformance.disagreement);
        let found = disagreements.next().unwrap_or_else(|| panic!("{variation} was never noticed"));
        assert!(found.histories.contains("> ") || found.what.contains("steps"), "{variation}: {found}");
    }
}
