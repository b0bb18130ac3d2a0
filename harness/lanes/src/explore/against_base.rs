//! Runs the same schedules on two builds, and finds one that they answer differently.
//!
//! The target moves from gate to gate and stands still during samples. Such a schedule needs no rig: a Python file can
//! repeat it.

use std::time::Instant;

use model::schedule::cast::ProfilerScript;
use model::schedule::exhaustive::{Exhaustive, ExhaustiveBounds};
use model::schedule::fingerprint::CacheAnswer;
use model::schedule::replay::ScheduleReplay;
use model::schedule::shard::Shard;
use model::schedule::{AccessKind, Schedule, Scheduler};
use model::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};

use super::failures::Failing;
use super::place::movement;
use super::search::Until;
use crate::stepped::{Rig, RigError, RigPlan, SteppedRun};

/// Small enough that a few steps reach every part of the program.
pub const SMALL: Parameters =
    Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };

/// Enough to fill the cache, to leave frames, and to be answered from the cache twice.
const BOUNDS: ExhaustiveBounds = ExhaustiveBounds { samples: 3, moves: 2, steps: 12 };
/// Memory for the points of a search, in bytes.
const POINTS: usize = 16 << 20;

/// A schedule that two builds answer differently.
#[derive(Clone, Debug)]
pub struct BuildDifference {
    /// The program.
    pub workload: Workload,
    /// Who took which sample.
    pub cast: ProfilerScript,
    /// The number of samples.
    pub samples: u32,
    /// Where the target moved.
    pub schedule: Schedule,
    /// The failure that the base does not have. `None`: all stacks are right, but the caches answer differently.
    pub failing: Option<Failing>,
    /// What the cache of the base answered, an entry for each sample.
    pub on_base: Vec<CacheAnswer>,
    /// What the cache of the changed build answered.
    pub on_changed: Vec<CacheAnswer>,
}

/// The same plan with a target that stands still during samples and moves from gate to gate.
#[must_use]
pub fn at_rest(plan: &RigPlan) -> RigPlan {
    RigPlan { movement: movement(Mode::GatedRounds), tearing: false, still: AccessKind::ALL.into(), ..plan.clone() }
}

/// Searches for a schedule on which `changed` fails and `base` does not. Falls back to a schedule on which their caches
/// answer differently.
///
/// # Errors
/// As [`Rig::launch`] and [`Rig::run`].
pub fn difference(
    changed: &RigPlan,
    base: &RigPlan,
    family: Family,
    seed: u64,
    until: Until<'_>,
) -> Result<Option<BuildDifference>, RigError> {
    let workload = generate(family, Mode::GatedRounds, &SMALL.within_bounds(family), seed);
    let cast = changed.cast.clone();
    let mut changed = Rig::launch(at_rest(changed), workload.clone())?;
    let mut base = Rig::launch(at_rest(base), workload.clone())?;
    let mut scheduler = Exhaustive::new(BOUNDS, Shard::WHOLE, POINTS);
    let mut answers_differ = None;
    let is_over = || (until.interrupted)() || until.deadline.is_some_and(|deadline| Instant::now() >= deadline);
    while !is_over() && scheduler.begin() {
        let counted = scheduler.is_counted();
        let run = changed.run(BOUNDS.samples, &mut scheduler)?;
        if !counted {
            continue;
        }
        let on_changed = answers(&run);
        let Some(on_base) = right_answers(&mut base, &run)? else { continue };
        let failing = Failing::of(&run);
        let (samples, schedule) = failing.as_ref().map_or_else(
            || (BOUNDS.samples, run.ran.schedule.clone()),
            |failing| (failing.samples, failing.schedule.clone()),
        );
        let fails = failing.is_some();
        if fails || (answers_differ.is_none() && on_base != on_changed) {
            let (workload, cast) = (workload.clone(), cast.clone());
            answers_differ = Some(BuildDifference { workload, cast, samples, schedule, failing, on_base, on_changed });
        }
        if fails {
            break;
        }
    }
    Ok(answers_differ)
}

/// What the cache of the base answers on the schedule of `run`. `None` if the base fails, too, or cannot follow it.
fn right_answers(base: &mut Rig, run: &SteppedRun) -> Result<Option<Vec<CacheAnswer>>, RigError> {
    let mut same = ScheduleReplay::new(run.ran.schedule.clone(), 1);
    // Always true: one run is left.
    same.begin();
    let of_base = base.run(BOUNDS.samples, &mut same)?;
    Ok((same.fit().is_ok() && of_base.first_wrong().is_none()).then(|| answers(&of_base)))
}

fn answers(run: &SteppedRun) -> Vec<CacheAnswer> {
    run.samples.iter().map(|sample| sample.sample.provenance.lookup.into()).collect()
}
