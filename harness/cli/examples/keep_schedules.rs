//! Writes the schedules that `check` runs in its stepped lane: `keep_schedules FILE PYTHON...`; with `--again` before the
//! file, those that the repository keeps stay, and what is kept of the builds on them is made anew.
//!
//! Every run mode of every given build is tried; they must be released ones, in which each failure is known. The first
//! one's first run mode is where schedules are drawn. Of those that fail nowhere on it, some are chosen so that as many
//! different ways to sample as possible are among them: the accesses, and what each sample came to. The
//! other builds then strike out what is another schedule on them, or fails. Last, all schedules within the bounds that
//! `check` draws from are run on all builds, and the kept ones once more; every failure is kept, and the most that a sample
//! asked for while the target stood still.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool of this repository: what is wrong ends it")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use framewalk::sample::WalkerKind;
use lanes::explore::failures::Failing;
use lanes::explore::place::{identity, movement};
use lanes::stepped::{Rig, RigPlan, SteppedRun, WARM_UP_WITHOUT_JIT};
use model::schedule::cast::ProfilerScript;
use model::schedule::cost::{Costs, faults};
use model::schedule::exhaustive::{Exhaustive, ExhaustiveBounds};
use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::random::{self, Random};
use model::schedule::replay::ScheduleReplay;
use model::schedule::shard::Shard;
use model::schedule::trace::Trace;
use model::schedule::{AccessKind, Schedule, Scheduler};
use model::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};
use process::build::{BuildOptions, BuildVariant, Silent, cache_folder, select};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sim::case::kept::{DRAWN, Drawn, FORMAT, KeptProgram, KeptSchedules, KeptSet, Moving, Schedules, VERSION, still};
use sim::case::stepped::WorkloadIdentity;

/// The seed of programs and draws.
const SEED: u64 = 25;
/// What differs in how frames come and go: plain calls, unwinding, frames outside of the data stack, shim frames.
const FAMILIES: [Family; 6] = [
    Family::Alternating,
    Family::Recursion,
    Family::Exceptions,
    Family::Generators,
    Family::Coroutines,
    Family::ThroughC,
];
/// Memory for the points of one search, in bytes.
const POINTS: usize = 64 << 20;

/// Where candidates are drawn from, how many are drawn, and how many kept at most.
const CANDIDATES: [(Drawn, u64, usize); 9] = [
    (Drawn { cast: "a", moving: Moving::Everywhere, samples: 2, moves: 3, steps: 8 }, 1500, 70),
    (Drawn { cast: "a", moving: Moving::Everywhere, samples: 3, moves: 3, steps: 12 }, 1000, 30),
    (Drawn { cast: "a", moving: Moving::AtRest, samples: 3, moves: 3, steps: 16 }, 400, 20),
    (Drawn { cast: "a+b", moving: Moving::AtRest, samples: 4, moves: 3, steps: 16 }, 900, 50),
    (Drawn { cast: "a+b", moving: Moving::Everywhere, samples: 3, moves: 3, steps: 8 }, 600, 20),
    (Drawn { cast: "a+make-b.b+a", moving: Moving::AtRest, samples: 3, moves: 3, steps: 8 }, 700, 50),
    (Drawn { cast: "a+drop-a.make-b.b", moving: Moving::AtRest, samples: 3, moves: 2, steps: 12 }, 150, 8),
    (Drawn { cast: "a+drop-a.make-a.a", moving: Moving::AtRest, samples: 3, moves: 2, steps: 12 }, 150, 8),
    (Drawn { cast: "a+kill-a.make-b.b", moving: Moving::AtRest, samples: 3, moves: 2, steps: 12 }, 80, 5),
];

use AccessKind::{ReadAnchor, ReadChunk, ReadFrame, ReadThreadState, WriteAnchor};

/// The target moves before one kind of access alone, or before two, so that each has its share however rare it is among all.
const BEFORE: [&[AccessKind]; 15] = [
    &[ReadThreadState],
    &[ReadFrame],
    &[ReadChunk],
    &[ReadAnchor],
    &[WriteAnchor],
    &[ReadThreadState, ReadFrame],
    &[ReadThreadState, ReadChunk],
    &[ReadThreadState, ReadAnchor],
    &[ReadThreadState, WriteAnchor],
    &[ReadFrame, ReadChunk],
    &[ReadFrame, ReadAnchor],
    &[ReadFrame, WriteAnchor],
    &[ReadChunk, ReadAnchor],
    &[ReadChunk, WriteAnchor],
    &[ReadAnchor, WriteAnchor],
];

fn candidates() -> impl Iterator<Item = (Drawn, u64, usize)> {
    let before = |kinds| (Drawn { cast: "a", moving: Moving::Before(kinds), samples: 2, moves: 3, steps: 8 }, 600, 15);
    CANDIDATES.into_iter().chain(BEFORE.into_iter().map(before))
}

type Chosen = BTreeMap<(String, u32), BTreeSet<(Trace, Schedule)>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from).peekable();
    let again = arguments.next_if(|first| first.as_os_str() == "--again").is_some();
    let output = arguments.next().ok_or("the file to write is missing")?;
    let rows =
        select(&arguments.collect::<Vec<_>>(), &BuildOptions::default(), &cache_folder(None)?, &mut Silent)?.rows;
    let folder = tempfile::tempdir()?;
    let mut kept = KeptSchedules {
        format: FORMAT.to_owned(),
        version: VERSION,
        builds: rows.iter().map(|row| identity(row).to_string()).collect(),
        programs: Vec::new(),
    };
    let before = if again { KeptSchedules::kept()?.programs } else { Vec::new() };
    for family in FAMILIES {
        let begun = Instant::now();
        let mut one = match before.iter().find(|program| program.workload.family == family) {
            Some(program) => program.clone(),
            None => choose(family, &rows, folder.path()),
        };
        let seen: Vec<Seen> = rows.par_iter().map(|row| seen(row, &one, folder.path())).collect();
        (one.seen, one.costs) = Seen::default();
        for (seen, costs) in seen {
            one.seen.extend(seen);
            one.costs.merge(&costs);
        }
        println!("{family}: {} kinds of failure, {:.0?}", one.seen.len(), begun.elapsed());
        kept.programs.push(one);
        std::fs::write(&output, serde_json::to_string_pretty(&kept)? + "\n")?;
    }
    Ok(())
}

/// Every failure, and the most that a sample asked for.
type Seen = (BTreeSet<SteppedFingerprint>, Costs);

/// The program of a family with schedules that no build fails.
fn choose(family: Family, rows: &[BuildVariant], folder: &Path) -> KeptProgram {
    let workload = program(family, Mode::Rounds);
    let mut first = rig(rows.first().unwrap(), &workload, folder);
    let steps = first.steps_of_rounds().first().copied().unwrap_or(0);
    let mut chosen = draw(&mut first);
    drop(first);
    let drawn: usize = chosen.values().map(BTreeSet::len).sum();
    let stay: Vec<BTreeSet<(String, Schedule)>> =
        rows.par_iter().map(|row| passing(&mut rig(row, &workload, folder), &chosen)).collect();
    for ((cast, _), all) in &mut chosen {
        all.retain(|(_, schedule)| stay.iter().all(|stay| stay.contains(&(cast.clone(), schedule.clone()))));
    }
    let left: usize = chosen.values().map(BTreeSet::len).sum();
    println!("{family}: {drawn} drawn, {left} kept");
    let (seen, costs) = Seen::default();
    KeptProgram { workload: WorkloadIdentity::of(&workload), steps, seen, costs, sets: sets(chosen) }
}

fn program(family: Family, mode: Mode) -> Workload {
    let parameters = Parameters { depth: 1, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
    generate(family, mode, &parameters.within_bounds(family), SEED)
}

fn rig(row: &BuildVariant, workload: &Workload, folder: &Path) -> Rig {
    let plan = RigPlan::new(&row.build, WalkerKind::CpythonCached);
    let plan = RigPlan {
        jit: row.jit.switch(),
        movement: movement(workload.mode),
        warm_up: if row.jit.switch() == Some(true) { plan.warm_up } else { WARM_UP_WITHOUT_JIT },
        folder: folder.to_owned(),
        ..plan
    };
    Rig::launch(plan, workload.clone()).unwrap_or_else(|error| panic!("{}: {error}", row.name))
}

/// What each sample of a run came to.
fn answers(run: &SteppedRun) -> String {
    let answer = |sample: &lanes::stepped::SteppedSample| match &sample.sample.outcome {
        Err(rejection) => rejection.to_string(),
        Ok(_) => {
            let of_leaf = sample.moments.first().map_or_else(String::new, |moment| moment.leaf.to_string());
            format!("{:?} {} {of_leaf}", sample.sample.provenance.lookup, sample.moments.len() > 1)
        }
    };
    run.samples.iter().map(answer).collect::<Vec<_>>().join("; ")
}

/// Candidates that do not fail, as different as can be.
fn draw(rig: &mut Rig) -> Chosen {
    let mut chosen = Chosen::new();
    for (bounds, draws, quota) in candidates() {
        rig.stage(&bounds.cast(), bounds.still());
        let mut random = Random::new(SEED, draws, random::RandomBounds { moves: bounds.moves, steps: bounds.steps });
        let mut strata: BTreeMap<(Vec<AccessKind>, String), Vec<Schedule>> = BTreeMap::new();
        while random.begin() {
            let run = rig.run(bounds.samples, &mut random).unwrap_or_else(|error| panic!("{error}"));
            let schedule = run.ran.schedule.clone();
            let at_rest = !schedule.moves_inside_samples();
            if Failing::of(&run).is_some() || schedule.moves.is_empty() || at_rest != (bounds.moving == Moving::AtRest)
            {
                continue;
            }
            // What the walker did after the last move tells whether it noticed.
            let accesses = run.ran.points.iter().map(|&(_, kind)| kind).collect();
            let stratum = strata.entry((accesses, answers(&run))).or_default();
            if !stratum.contains(&schedule) {
                stratum.push(schedule);
            }
        }
        let all = chosen.entry((bounds.cast().script(), bounds.samples)).or_default();
        let before = all.len();
        // Each stratum in turn, and no stratum before another because of its name.
        let mut strata: Vec<_> = strata.into_iter().collect();
        strata.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
        let longest = strata.iter().map(|(_, schedules)| schedules.len()).max().unwrap_or(0);
        for round in 0..longest {
            for (_, schedules) in &strata {
                let Some(schedule) = schedules.get(round).filter(|_| all.len() < before + quota) else { continue };
                if let Some(trace) = passes(rig, &bounds.cast(), bounds.samples, schedule) {
                    all.insert((trace, schedule.clone()));
                }
            }
        }
    }
    chosen
}

/// Those that are the same schedule on this rig, and do not fail, each of three times.
fn passing(rig: &mut Rig, chosen: &Chosen) -> BTreeSet<(String, Schedule)> {
    let mut passing = BTreeSet::new();
    for ((cast, samples), all) in chosen {
        for (trace, schedule) in all {
            if (0..3).all(|_| passes(rig, &cast.parse().unwrap(), *samples, schedule).as_ref() == Some(trace)) {
                passing.insert((cast.clone(), schedule.clone()));
            }
        }
    }
    passing
}

/// The accesses up to the last move of a schedule that runs as it stands and does not fail.
fn passes(rig: &mut Rig, cast: &ProfilerScript, samples: u32, schedule: &Schedule) -> Option<Trace> {
    rig.stage(cast, still(schedule));
    let mut replay = ScheduleReplay::new(schedule.clone(), 1);
    replay.begin();
    let run = rig.run(samples, &mut replay).unwrap_or_else(|error| panic!("{error}"));
    let passes = replay.fit().is_ok() && Failing::of(&run).is_none();
    passes.then(|| Trace::of(schedule, &run.ran.points))
}

/// What comes of the kept schedules, and of all within the bounds that are drawn from, store by store and from gate to gate.
fn seen(row: &BuildVariant, kept: &KeptProgram, folder: &Path) -> Seen {
    let (mut seen, mut costs) = Seen::default();
    let family = kept.workload.family;
    let mut stores = rig(row, &program(family, Mode::Rounds), folder);
    for one in kept.schedules() {
        stores.stage(one.cast, still(one.schedule));
        let mut replay = ScheduleReplay::new(one.schedule.clone(), 1);
        replay.begin();
        let run = stores.run(one.samples, &mut replay).unwrap_or_else(|error| panic!("{}: {error}", row.name));
        note(family, &mut costs, &run);
    }
    let mut gates = rig(row, &program(family, Mode::GatedRounds), folder);
    for (rig, at_stores) in [(&mut stores, true), (&mut gates, false)] {
        for drawn in DRAWN {
            rig.stage(&drawn.cast(), if at_stores { drawn.still() } else { AccessKind::ALL.into() });
            let bounds = ExhaustiveBounds { samples: drawn.samples, moves: drawn.moves, steps: drawn.steps };
            let mut exhaustive = Exhaustive::new(bounds, Shard::WHOLE, POINTS);
            while exhaustive.begin() {
                let run = rig.run(drawn.samples, &mut exhaustive);
                let run = run.unwrap_or_else(|error| panic!("{}: {error}", row.name));
                seen.extend(Failing::of(&run).map(|failing| failing.fingerprint));
                note(family, &mut costs, &run);
            }
        }
    }
    (seen, costs)
}

/// The costs of a run's samples; a fault that needs no list must not come up on a released build.
fn note(family: Family, costs: &mut Costs, run: &SteppedRun) {
    for sample in run.samples.iter().filter(|sample| sample.wrong.is_none()) {
        let answered = sample.answered();
        for fault in faults(&answered, None) {
            println!("{family}: {fault} ({} of {} in {})", answered.answer.name(), run.cast, run.ran.schedule);
        }
        if sample.at_rest {
            costs.add(&answered);
        }
    }
}

fn sets(chosen: Chosen) -> Vec<KeptSet> {
    let set = |((cast, samples), all): ((String, u32), BTreeSet<(Trace, Schedule)>)| {
        let mut schedules: BTreeMap<Trace, Schedules> = BTreeMap::new();
        for (trace, schedule) in all {
            schedules.entry(trace).or_default().0.push(schedule);
        }
        KeptSet { cast: cast.parse().unwrap(), samples, schedules }
    };
    chosen.into_iter().filter(|(_, all)| !all.is_empty()).map(set).collect()
}
