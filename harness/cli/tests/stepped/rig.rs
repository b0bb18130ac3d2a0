//! Tests the rig of the stepped lane: a real target and real samplers, store by store.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use lanes::stepped::{Movement, RecordOptions, Rig, RigError, RigPlan, SteppedRun, SteppedSample};
use model::schedule::event::{AccessedValue, StepEvent, ThreadWord};
use model::schedule::random::{Random, RandomBounds};
use model::schedule::repeat::{Repeat, difference};
use model::schedule::replay::ScheduleReplay;
use model::schedule::{AccessKind, Move, Point, Schedule, Scheduler};
use model::workload::family::FamilyThreads;
use model::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};
use process::target::ChildEnd;
use process::trace::{TraceError, Traced, Watched};

use crate::common;
use crate::common::command::state;

const SMALL: Parameters =
    Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
/// With this seed the program runs b0_0 > b0_1 > b0_2 > leaf, then b1_0 > b1_1 > b1_2 > leaf, and repeats.
const TWO_BRANCHES: u64 = 25;
/// Four calls and four returns in each branch.
const STEPS: u32 = 16;

fn branches() -> Workload {
    generate(Family::Alternating, Mode::Rounds, &SMALL, TWO_BRANCHES)
}

/// The branches, with these lines added at the end of each round.
fn branches_and(lines: &[&str]) -> Workload {
    let mut workload = branches();
    let call = "        b1_0(0)\n";
    let more: String = lines.iter().map(|line| format!("        {line}\n")).collect();
    assert!(workload.source.contains(call));
    workload.source = workload.source.replace(call, &format!("{call}{more}"));
    workload
}

fn plan(walker: WalkerKind) -> RigPlan {
    RigPlan { jit: Some(false), warm_up: 300, ..RigPlan::new(&common::release(), walker) }
}

fn keeping(walker: WalkerKind) -> RigPlan {
    RigPlan { keeping: RecordOptions { history: true, digests: true }, ..plan(walker) }
}

fn launch(plan: RigPlan, workload: Workload) -> Rig {
    Rig::launch(plan, workload).unwrap_or_else(|error| panic!("{error}"))
}

fn try_run(rig: &mut Rig, samples: u32, moves: &[Move]) -> Result<SteppedRun, RigError> {
    let mut scheduler = ScheduleReplay::new(Schedule::new(moves.to_vec()), 1);
    assert!(scheduler.begin());
    rig.run(samples, &mut scheduler)
}

fn run(rig: &mut Rig, samples: u32, moves: &[Move]) -> SteppedRun {
    try_run(rig, samples, moves).unwrap_or_else(|error| panic!("{error}"))
}

fn at(sample: u32, access: u32, steps: u32) -> Move {
    Move { at: Point { sample, access, word: 0 }, steps }
}

fn functions(run: &SteppedRun, sample: usize) -> Vec<&str> {
    run.samples[sample].sample.outcome.iter().flat_map(|stack| stack.iter()).map(|frame| &*frame.function).collect()
}

fn assert_right(run: &SteppedRun) {
    for sample in &run.samples {
        assert!(sample.is_right(), "{}: {:#?}", run.ran.schedule, sample);
    }
}

/// Runs every schedule of two moves of 1 to `most` steps within two samples, until a sample is wrong. Also returns how
/// many schedules ran before, and how many of their samples were right.
fn search(rig: &mut Rig, most: u32) -> (Option<SteppedRun>, u32, u32) {
    let (mut count, mut right) = (0, 0);
    // The first move can change the points after it, so the second move is chosen from the points of that run.
    let points = |run: &SteppedRun| run.ran.points.iter().map(|(point, _)| *point).collect::<Vec<_>>();
    for first in points(&run(rig, 2, &[])) {
        for steps in 1..=most {
            let first = Move { at: first, steps };
            let alone = run(rig, 2, &[first]);
            for second in points(&alone).into_iter().filter(|point| *point > first.at) {
                for steps in 1..=most {
                    let run = run(rig, 2, &[first, Move { at: second, steps }]);
                    if run.first_wrong().is_some() {
                        return (Some(run), count, right);
                    }
                    count += 1;
                    right += run.samples.iter().map(|sample| u32::from(sample.is_right())).sum::<u32>();
                }
            }
        }
    }
    (None, count, right)
}

#[test]
fn a_target_that_moves_only_between_samples_gives_correct_samples() {
    for walker in [WalkerKind::OwnCached, WalkerKind::CpythonCached, WalkerKind::OwnReference] {
        let mut rig = launch(plan(walker), branches());
        assert!(rig.has_fixed_addresses());
        assert_eq!(rig.steps_of_rounds(), [STEPS as usize]);
        for steps in 0..=STEPS + 2 {
            assert_right(&run(&mut rig, 3, &[at(0, 0, steps), at(1, 0, 1), at(2, 0, steps)]));
        }
    }
}

#[test]
fn two_moves_inside_a_sample_splice_repeatably() {
    let mut schedules = Vec::new();
    for walker in [WalkerKind::OwnCached, WalkerKind::CpythonCached] {
        let mut rig = launch(keeping(walker), branches());
        let (found, ..) = search(&mut rig, 9);
        let found = found.unwrap_or_else(|| panic!("{walker} does not splice"));
        let (wrong, _) = found.first_wrong().unwrap();
        let fingerprint = found.fingerprint(wrong).unwrap();
        let stack = functions(&found, wrong);
        for _ in 0..5 {
            let again = run(&mut rig, 2, &found.ran.schedule.moves);
            assert_eq!(difference(&found.ran, &again.ran), None);
            assert_eq!(
                (again.fingerprint(wrong).as_ref(), functions(&again, wrong)),
                (Some(&fingerprint), stack.clone())
            );
        }
        // The same in new processes.
        let again = run(&mut launch(keeping(walker), branches()), 2, &found.ran.schedule.moves);
        assert_eq!(difference(&found.ran, &again.ran), None);
        assert_eq!(again.fingerprint(wrong), Some(fingerprint));
        schedules.push(found.ran.schedule);
    }
    assert_eq!(schedules[0], schedules[1], "this project's implementation of the protocol is CPython's");
}

#[test]
fn the_reference_walker_is_correct_where_the_protocol_splices() {
    let mut rig = launch(plan(WalkerKind::OwnReference), branches());
    let (wrong, count, right) = search(&mut rig, 8);
    assert!(wrong.is_none(), "{:#?}", wrong.unwrap());
    assert!(count > 1000 && right > count, "{right} of twice {count}");
}

#[test]
fn a_history_lists_accesses_and_steps_in_order() {
    let mut rig = launch(keeping(WalkerKind::CpythonCached), branches());
    let run = run(&mut rig, 2, &[at(0, 0, 1), at(0, 1, 2), at(1, 0, 1)]);
    let told: Vec<String> = run
        .history
        .iter()
        .filter_map(|event| match event {
            StepEvent::Sample(number) => Some(format!("sample {number}")),
            StepEvent::Step(word, _) => Some(word.name().into()),
            StepEvent::Access(access) => Some(format!("{}", access.at?.access)),
            StepEvent::Result(number, _) => Some(format!("result {number}")),
            StepEvent::AnchorLoaded(_) | StepEvent::Truth(_) | StepEvent::Happened(..) | StepEvent::NextIs(_) => None,
        })
        .collect();
    let start = ["sample 0", "current_frame", "0", "current_frame", "current_frame", "1"];
    assert_eq!(told[..start.len()], start, "{told:?}");
    let written = run.history.iter().find_map(|event| match event {
        StepEvent::Access(access) if access.kind == AccessKind::WriteAnchor => access.shown.first(),
        _ => None,
    });
    let Some(AccessedValue::Thread(ThreadWord::Anchor, anchor)) = written else { panic!("{written:?}") };
    // The anchor is the frame that was current when the sample began, and the history knows its name and its callers.
    let named = run.history.iter().any(|event| match event {
        StepEvent::Truth(chain) => chain.iter().any(|link| link.address == *anchor && link.frame.is_some()),
        _ => false,
    });
    assert!(named);
    assert_eq!(run.ran.points.len(), run.ran.contents.len());
    assert_eq!(run.ran.results.len(), 2);
}

#[test]
fn a_read_that_is_not_atomic_gives_stacks_that_never_existed() {
    // The target is in one branch first. In the middle of the copy of the data stack it moves to the other.
    for walker in [WalkerKind::OwnUncached, WalkerKind::CpythonUncached] {
        let mut rig = launch(plan(walker), branches());
        let copied = run(&mut rig, 1, &[]).ran.points.iter().position(|(_, kind)| *kind == AccessKind::ReadChunk);
        let access = u32::try_from(copied.unwrap()).unwrap();
        // If the copy is atomic, the stack is the one of that moment, or one without a leaf that is gone.
        for steps in 1..=STEPS {
            let whole = run(&mut rig, 1, &[at(0, 0, 1), at(0, access, steps)]);
            assert!(whole.first_wrong().is_none(), "{whole:#?}");
        }
        let mut rig = launch(RigPlan { tearing: true, ..plan(walker) }, branches());
        let torn: Vec<SteppedSample> = (1..120)
            .map(|word| Move { at: Point { sample: 0, access, word }, steps: 8 })
            .map(|inside| run(&mut rig, 1, &[at(0, 0, 1), inside]).samples.swap_remove(0))
            .collect();
        assert!(torn.iter().any(|sample| sample.wrong.is_some()), "{walker} {torn:?}");
        assert!(torn.iter().any(SteppedSample::is_right), "{walker} {torn:?}");
    }
}

#[test]
fn the_rig_works_the_same_without_a_seccomp_filter() {
    let moves = [at(0, 0, 3), at(0, 2, 5), at(1, 1, 2), at(2, 0, 7)];
    let mut filtered = launch(keeping(WalkerKind::CpythonCached), branches());
    let mut unfiltered = launch(RigPlan { filter: false, ..keeping(WalkerKind::CpythonCached) }, branches());
    assert_eq!((filtered.is_filtered(), unfiltered.is_filtered()), (Some(true), Some(false)));
    let [one, other] = [&mut filtered, &mut unfiltered].map(|rig| run(rig, 3, &moves));
    assert_eq!(difference(&one.ran, &other.ran), None);
    assert_eq!(one.samples.len(), 3);
}

#[test]
fn every_single_threaded_family_can_be_stepped_repeatably() {
    for family in Family::ALL {
        let workload = generate(family, Mode::Rounds, &SMALL, 2);
        let launched = Rig::launch(keeping(WalkerKind::OwnCached), workload);
        if family.spec().threads != FamilyThreads::Main {
            assert!(matches!(launched, Err(RigError::Threads(_))));
            continue;
        }
        let mut rig = launched.unwrap_or_else(|error| panic!("{family}: {error}"));
        let steps = u32::try_from(rig.steps_of_rounds().iter().sum::<usize>()).unwrap();
        for start in (0..steps).step_by(usize::try_from(steps / 8).unwrap()) {
            let run = run(&mut rig, 2, &[at(0, 0, start), at(1, 0, 1)]);
            assert_right(&run);
            for moment in run.samples.iter().flat_map(|sample| &sample.moments) {
                assert_eq!(rig.workload().grammar.judge(&moment.stack), Ok(()), "{family} {:?}", moment.stack);
            }
        }
        let mut random = Repeat::new(Random::new(1, 10, RandomBounds { moves: 4, steps: 12 }));
        while random.begin() {
            rig.run(3, &mut random).unwrap_or_else(|error| panic!("{family}: {error}"));
        }
        assert!(random.difference().is_none(), "{family}: {}", random.difference().unwrap());
    }
}

#[test]
fn cpythons_unwinder_repeats_its_results_on_generators_and_compiled_code() {
    for (family, jit, warm_up) in [(Family::Generators, false, 300), (Family::Alternating, true, 6000)] {
        let workload = generate(family, Mode::Rounds, &SMALL, 2);
        let plan = RigPlan { jit: Some(jit), warm_up, ..keeping(WalkerKind::CpythonCached) };
        let mut rig = launch(plan, workload);
        let mut random = Repeat::new(Random::new(3, 20, RandomBounds { moves: 4, steps: 12 }));
        while random.begin() {
            rig.run(3, &mut random).unwrap();
        }
        assert!(random.compared() >= 10);
        assert!(random.difference().is_none(), "{family}: {}", random.difference().unwrap());
    }
}

#[test]
fn from_gate_to_gate_a_target_moves_without_watchpoints() {
    let workload = generate(Family::Alternating, Mode::GatedRounds, &SMALL, TWO_BRANCHES);
    let mut rig = launch(RigPlan { movement: Movement::Gates, ..plan(WalkerKind::OwnCached) }, workload);
    let &[gates] = rig.steps_of_rounds() else { panic!() };
    assert!(gates > 6, "{gates}");
    let mut seen = BTreeSet::new();
    for steps in 0..u32::try_from(gates).unwrap() {
        let run = run(&mut rig, 2, &[at(0, 0, steps), at(1, 0, 1)]);
        assert_right(&run);
        seen.insert(functions(&run, 0).join(" < "));
    }
    let leaf = |branch| format!("leaf < b{branch}_2 < b{branch}_1 < b{branch}_0 < main < <module>");
    assert!(seen.contains(&leaf(0)) && seen.contains(&leaf(1)), "{seen:?}");
}

#[test]
fn a_target_that_ends_is_reported_with_its_stderr() {
    let lines = ["_w[0] += 1", "if _w[0] > 320: _write(2, b'enough'); _exit(3)"];
    for walker in [WalkerKind::OwnCached, WalkerKind::CpythonCached] {
        let mut rig = launch(plan(walker), branches_and(&lines));
        let error = (0..100).find_map(|_| try_run(&mut rig, 2, &[at(0, 1, 5), at(1, 1, STEPS)]).err()).unwrap();
        let RigError::Ended(ended) = error else { panic!("{error:?}") };
        assert_eq!((ended.end, ended.stderr.as_str()), (ChildEnd::Exited(3), "enough"));
    }
}

#[test]
fn signals_are_delivered_to_a_stepped_target() {
    let mut rig = launch(plan(WalkerKind::OwnCached), branches());
    let target = nix::unistd::Pid::from_raw(rig.pid());
    // Python ignores the first signal and does not handle the second.
    nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGPIPE).unwrap();
    assert_right(&run(&mut rig, 2, &[at(0, 0, 5)]));
    nix::sys::signal::kill(target, nix::sys::signal::Signal::SIGUSR1).unwrap();
    let error = try_run(&mut rig, 2, &[at(0, 0, 5)]).unwrap_err();
    let RigError::Ended(ended) = error else { panic!("{error:?}") };
    assert_eq!(ended.end, ChildEnd::Killed(nix::sys::signal::Signal::SIGUSR1));
}

#[test]
fn the_wait_for_a_blocked_or_looping_target_ends() {
    for (line, blocks) in
        [("if _w[0] > 320: _lock.acquire(); _lock.acquire()", true), ("while _w[0] > 320: pass", false)]
    {
        let plan = RigPlan { patience: Duration::from_secs(1), ..plan(WalkerKind::OwnCached) };
        let mut rig = launch(plan, branches_and(&["_w[0] += 1", line]));
        let error = (0..100).find_map(|_| try_run(&mut rig, 2, &[at(0, 1, 5), at(1, 1, STEPS)]).err()).unwrap();
        match error {
            RigError::Trace(TraceError::Blocked { .. }) => assert!(blocks),
            RigError::Trace(TraceError::Loops { .. }) => assert!(!blocks),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_dropped_rig_leaves_no_process() {
    for movement in [Movement::Stores, Movement::Gates] {
        let mode = if movement == Movement::Gates { Mode::GatedRounds } else { Mode::Rounds };
        let workload = generate(Family::Alternating, mode, &SMALL, TWO_BRANCHES);
        let before = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap();
        let mut rig = launch(RigPlan { movement, ..plan(WalkerKind::CpythonCached) }, workload);
        run(&mut rig, 2, &[at(0, 1, 3)]);
        let [sampler] = rig.sampler_pids()[..] else { panic!() };
        let pids = [rig.pid(), sampler];
        assert!(pids.iter().all(|&pid| state(pid).is_some()));
        drop(rig);
        assert_eq!(pids.map(state), [None, None]);
        assert_eq!(nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap(), before);
    }
}

#[test]
fn a_program_without_rounds_is_refused() {
    let workload = generate(Family::Alternating, Mode::Free, &SMALL, TWO_BRANCHES);
    assert!(matches!(Rig::launch(plan(WalkerKind::OwnCached), workload), Err(RigError::NoRounds)));
}

/// Tests each hole of the anchor-first protocol that a step can reach, on the real interpreter. Without the check that
/// closes the hole, the schedule gives a wrong stack; with it, the same moves do not. (The hole of shim frames lies
/// between two stores that are not steps.)
#[test]
fn the_holes_of_the_anchor_first_protocol_exist_on_real_builds() {
    for (weakening, family, depth, movement, samples, schedule) in [
        (Weakening::GeneratorLeafAnchored, Family::Generators, 1, Movement::Loads, 2, "0.0:18,1.0:9"),
        (Weakening::GeneratorBeingMadeAnchored, Family::Generators, 1, Movement::Stores, 2, "0.0:1,0.3:2,1.0:2"),
        (Weakening::PartialHitOnGrownStack, Family::Alternating, 2, Movement::Stores, 2, "0.0:2,1.0:1,1.2:2,1.3:4"),
        (
            Weakening::EntryKeptAfterFailedAttempt,
            Family::Alternating,
            2,
            Movement::Stores,
            2,
            "0.0:3,1.0:1,1.4:2,1.8:5",
        ),
    ] {
        let schedule: Schedule = schedule.parse().unwrap();
        let [with, without] = [BTreeSet::new(), BTreeSet::from([weakening])].map(|weakenings| {
            let plan = RigPlan { weakenings, movement, ..plan(WalkerKind::OwnReference) };
            let workload = generate(family, Mode::Rounds, &Parameters { depth, ..SMALL }, TWO_BRANCHES);
            // The schedule need not fit both walkers: the weakened one makes fewer reads.
            let mut scheduler = ScheduleReplay::new(schedule.clone(), 1);
            assert!(scheduler.begin());
            launch(plan, workload).run(samples, &mut scheduler).unwrap_or_else(|error| panic!("{weakening}: {error}"))
        });
        assert!(without.first_wrong().is_some(), "{weakening}: {:#?}", without.samples);
        assert!(with.first_wrong().is_none(), "{weakening}: {:#?}", with.samples);
    }
}

/// A failure disappears with its cause: the same search runs without the cache, or without one kind of move. (For
/// reads that are not atomic, see [`a_read_that_is_not_atomic_gives_stacks_that_never_existed`].)
#[test]
fn the_causes_of_failures_are_distinguished() {
    let failed = |walker: WalkerKind, family: Family, still: &[AccessKind]| {
        let workload = generate(family, Mode::Rounds, &Parameters { depth: 1, ..SMALL }, TWO_BRANCHES);
        let plan = RigPlan { still: still.iter().copied().collect(), ..plan(walker) };
        let mut rig = launch(plan, workload);
        let mut random = Random::new(7, 600, RandomBounds { moves: 4, steps: 12 });
        let mut failed = 0;
        while random.begin() {
            let run = rig.run(2, &mut random).unwrap_or_else(|error| panic!("{family}: {error}"));
            failed += u32::from(run.first_wrong().is_some());
        }
        failed
    };
    // Here the cache is the cause: no read is torn, and all frames are on the data stack.
    assert!(failed(WalkerKind::OwnCached, Family::Alternating, &[]) > 0);
    assert_eq!(failed(WalkerKind::OwnUncached, Family::Alternating, &[]), 0);
    // Here the cause is frames outside the chunks, which are read one by one: there is no cache, no read is torn, and
    // nothing moves before the chunks are read. (A move before that would make the chunks disagree with the thread
    // state.)
    let (frames, chunks) = (AccessKind::ReadFrame, AccessKind::ReadChunk);
    assert!(failed(WalkerKind::OwnUncached, Family::Coroutines, &[chunks]) > 0);
    assert!(failed(WalkerKind::OwnUncached, Family::Coroutines, &[frames]) > 0);
    assert_eq!(failed(WalkerKind::OwnUncached, Family::Coroutines, &[frames, chunks]), 0);
}

#[test]
fn without_watchpoints_the_error_says_what_still_works() {
    let target = common::target::started(&format!("{}gate(0)", common::target::PROLOGUE));
    let mut traced = Traced::attach(target.pid(), target.pid()).unwrap();
    // Kernel addresses cannot be watched. The error is the same as if all debug registers were taken.
    let error = traced.watch(&[Watched { address: 0xffff_8000_0000_0000, loads: false }]).unwrap_err();
    assert!(matches!(error, TraceError::NoWatchpoints { .. }), "{error}");
    assert!(error.to_string().contains("explore --step gate"), "{error}");
    traced.watch(&[]).unwrap();
}

#[test]
fn schedules_do_not_move_the_target_at_excluded_accesses() {
    let still = AccessKind::ALL.into();
    let mut rig = launch(RigPlan { still, tearing: true, ..plan(WalkerKind::CpythonCached) }, branches());
    let mut random = Random::new(5, 100, RandomBounds { moves: 4, steps: 12 });
    let mut moves = 0;
    while random.begin() {
        let ran = rig.run(3, &mut random).unwrap().ran;
        assert!(ran.points.iter().all(|(at, _)| at.is_between_samples()), "{ran:?}");
        assert!(ran.schedule.moves.iter().all(|one| one.at.is_between_samples()), "{}", ran.schedule);
        moves += ran.schedule.moves.len();
    }
    assert!(moves > 50, "{moves}");
}
