//! Schedules a second in the stepped lane, with one rig on each core and three samples in a schedule.
//!
//! The limit is the kernel: each stop of the target or of the sampler costs two context switches.

mod common;

use std::error::Error;
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use criterion::Throughput;
use framewalk::sample::WalkerKind;
use lanes::stepped::{Rig, RigPlan};
use model::schedule::Scheduler;
use model::schedule::random::{Random, RandomBounds};
use model::workload::{Family, FrameSize, Mode, Names, Parameters, generate};
use process::build::{Build, Silent, cache_folder, fetch, probe};

const SAMPLES: u32 = 3;
const BOUNDS: RandomBounds = RandomBounds { moves: 2, steps: 9 };
const SMALL: Parameters =
    Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
/// The seed of a program with two plain branches over one leaf.
const SEED: u64 = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = common::long();
    let fetched = fetch(&cache_folder(None)?, &mut Silent)?;
    let build = probe(fetched.first().ok_or("nothing was fetched")?)?;
    build.usable()?;
    let rigs = std::thread::available_parallelism()?.get();
    let mut group = criterion.benchmark_group("stepped");
    group.throughput(Throughput::Elements(rigs as u64));
    for walker in [WalkerKind::OwnCached, WalkerKind::OwnReference, WalkerKind::CpythonCached] {
        group.bench_function(walker.name(), |bencher| {
            // The closure cannot return an error.
            bencher.iter_custom(|schedules| measured(&build, walker, rigs, schedules).unwrap_or(Duration::MAX));
        });
        measured(&build, walker, rigs, 1)?;
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}

/// The time in which each of `rigs` rigs runs `schedules` schedules. Launching the rigs is not counted.
fn measured(build: &Build, walker: WalkerKind, rigs: usize, schedules: u64) -> Result<Duration, String> {
    let start = Barrier::new(rigs);
    let spent = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..rigs)
            .map(|seed| {
                let (start, spent) = (&start, &spent);
                scope.spawn(move || {
                    let plan = RigPlan { jit: Some(false), ..RigPlan::new(build, walker) };
                    let rig = Rig::launch(plan, generate(Family::Alternating, Mode::Rounds, &SMALL, SEED));
                    let mut scheduler = Random::new(seed as u64, schedules, BOUNDS);
                    start.wait();
                    let mut rig = rig.map_err(|error| error.to_string())?;
                    let begun = Instant::now();
                    while scheduler.begin() {
                        rig.run(SAMPLES, &mut scheduler).map_err(|error| error.to_string())?;
                    }
                    let mut longest = spent.lock().unwrap_or_else(PoisonError::into_inner);
                    *longest = begun.elapsed().max(*longest);
                    Ok::<_, String>(())
                })
            })
            .collect();
        running.into_iter().try_for_each(|rig| rig.join().map_err(|_| "a rig panicked".to_owned())?)
    })?;
    Ok(spent.into_inner().unwrap_or_else(PoisonError::into_inner))
}
