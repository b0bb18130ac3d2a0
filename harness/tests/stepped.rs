//! The stepped lane's rig: a real target and real samplers, store by store.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::time::Duration;

use framediff::lane::stepped::{Keeping, Rig, RigError, RigPlan, SteppedRun, Verdict};
use framediff::sample::WalkerKind;
use framediff::schedule::{AccessKind, Move, Point, Ran, Schedule, Scheduler};
use framediff::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};

/// Two branches of three functions over one leaf, called in turn: b0_0 > b0_1 > b0_2 > leaf, b1_0 > b1_1 > b1_2 > leaf.
fn branches() -> Workload {
    let parameters = Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
    generate(Family::Alternating, Mode::Rounds, &parameters, 25)
}

fn plan(walker: WalkerKind) -> RigPlan {
    RigPlan { jit: Some(false), ..RigPlan::new(&common::release().python, walker) }
}

/// One fixed schedule.
struct Fixed(Schedule);

impl Scheduler for Fixed {
    fn begin(&mut self) -> bool {
        true
    }

    fn steps(&mut self, at: Point, _kind: AccessKind) -> u32 {
        self.0.steps(at)
    }

    fn end(&mut self, _ran: &Ran) {}
}

fn run(rig: &mut Rig, samples: u32, moves: &[Move]) -> SteppedRun {
    rig.run(samples, &mut Fixed(Schedule::new(moves.to_vec()))).unwrap_or_else(|error| panic!("{error}"))
}

fn at(sample: u32, access: u32, steps: u32) -> Move {
    Move { at: Point { sample, access, word: 0 }, steps }
}

fn functions(run: &SteppedRun, sample: usize) -> Vec<&str> {
    run.samples[sample].sample.outcome.iter().flat_map(|stack| stack.iter()).map(|frame| &*frame.function).collect()
}

#[test]
fn a_target_that_moves_between_samples_alone_gives_right_samples() {
    let mut rig = Rig::launch(plan(WalkerKind::OwnCached), branches()).unwrap();
    assert!(rig.has_fixed_addresses());
    // Four calls and four returns on each branch.
    assert_eq!(rig.steps_of_rounds(), [16]);
    let per_round = 16;
    for steps in 0..=per_round + 2 {
        let run = run(&mut rig, 3, &[at(0, 0, steps), at(1, 0, 1), at(2, 0, steps)]);
        assert_eq!(run.samples.len(), 3);
        for sample in &run.samples {
            assert_eq!(sample.verdict, Verdict::Right, "{steps} {run:?}");
        }
    }
}

/// Every schedule of two moves within these samples, each of 1 to `most` steps, until `visit` gives something.
fn search<T>(
    rig: &mut Rig,
    samples: u32,
    most: u32,
    mut visit: impl FnMut(&[Move], &SteppedRun) -> Option<T>,
) -> (Option<T>, u32) {
    let mut count = 0;
    // What the first move changes, it changes from its own point on.
    let points = |run: &SteppedRun| run.ran.points.iter().map(|(point, _)| *point).collect::<Vec<_>>();
    for first in points(&run(rig, samples, &[])) {
        for steps in 1..=most {
            let first = Move { at: first, steps };
            let alone = run(rig, samples, &[first]);
            for second in points(&alone).into_iter().filter(|point| *point > first.at) {
                for steps in 1..=most {
                    let moves = [first, Move { at: second, steps }];
                    count += 1;
                    let found = visit(&moves, &run(rig, samples, &moves));
                    if found.is_some() {
                        return (found, count);
                    }
                }
            }
        }
    }
    (None, count)
}

fn explore(walker: WalkerKind) {
    let mut rig = Rig::launch(plan(walker), branches()).unwrap();
    let begun = std::time::Instant::now();
    let (found, count) = search(&mut rig, 2, 9, |moves, run| {
        run.samples.iter().any(|sample| sample.verdict.is_wrong()).then(|| (Schedule::new(moves.to_vec()), run.clone()))
    });
    let Some((schedule, found)) = found else {
        eprintln!("{walker} NONE after {count} in {:?}", begun.elapsed());
        return;
    };
    eprintln!("{walker} {schedule} after {count} in {:?}", begun.elapsed());
    for (index, sample) in found.samples.iter().enumerate() {
        eprintln!(
            "{:?} {:?} {:?} {:?}",
            functions(&found, index),
            sample.verdict,
            sample.sample.provenance,
            sample.counters
        );
    }
    for p in &found.ran.points {
        eprintln!("{} {}", p.0, p.1)
    }
    let begun = std::time::Instant::now();
    let (_, count) = search(&mut rig, 2, 3, |_, _| None::<()>);
    eprintln!("{count} in {:?}", begun.elapsed());
    drop(rig);
    let mut rig =
        Rig::launch(RigPlan { keeping: Keeping { history: true, digests: true }, ..plan(walker) }, branches()).unwrap();
    let found = run(&mut rig, 2, &schedule.moves);
    for event in found.history {
        eprintln!("{event:?}");
    }
}
#[test]
fn x1() {
    explore(WalkerKind::CpythonCached);
}
#[test]
fn x2() {
    explore(WalkerKind::CpythonUncached);
}
#[test]
fn x3() {
    explore(WalkerKind::OwnUncached);
}
#[test]
fn x4() {
    explore(WalkerKind::OwnReference);
}
#[test]
fn families() {
    for jit in [false, true] {
        for family in [Family::Coroutines] {
            for seed in 1..6 {
                let parameters =
                    Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
                let workload = generate(family, Mode::Rounds, &parameters, seed);
                let rig = Rig::launch(RigPlan { jit: Some(jit), ..plan(WalkerKind::OwnCached) }, workload);
                let mut rig = match rig {
                    Ok(rig) => rig,
                    Err(error) => {
                        eprintln!("{family} {seed} {jit}: {error}");
                        continue;
                    }
                };
                let per_round = u32::try_from(rig.steps_of_rounds().iter().sum::<usize>()).unwrap();
                let mut tally = std::collections::BTreeMap::<String, u32>::new();
                for steps in 0..per_round.min(60) {
                    match rig.run(2, &mut Fixed(Schedule::new(vec![at(0, 0, steps), at(1, 0, 1)]))) {
                        Err(error) => {
                            eprintln!("{family} {seed} {steps}: {error}");
                            break;
                        }
                        Ok(run) => {
                            for sample in &run.samples {
                                *tally
                                    .entry(match &sample.verdict {
                                        Verdict::Right => "right".into(),
                                        Verdict::Wrong(w) => format!("{w:?}"),
                                        Verdict::Rejected(r) => r.to_string(),
                                    })
                                    .or_default() += 1;
                                for moment in &sample.moments {
                                    if let Err(e) = rig.workload().grammar.judge(&moment.stack) {
                                        *tally.entry(format!("TRUTH {e}")).or_default() += 1
                                    }
                                }
                            }
                        }
                    }
                }
                let jitted = std::fs::read_to_string(format!("/proc/{}/maps", rig.pid()))
                    .unwrap()
                    .lines()
                    .filter(|l| l.contains("r-xp 00000000 00:00 0"))
                    .count();
                eprintln!("{family} {seed} {jit}: {jitted} {:?} {tally:?}", rig.steps_of_rounds());
            }
        }
    }
}
