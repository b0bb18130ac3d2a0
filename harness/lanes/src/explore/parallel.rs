//! Divides a search among several rigs.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use model::schedule::exhaustive::{Exhaustive, ExhaustiveBounds, ExhaustiveProgress};
use model::schedule::pct::{self, Pct};
use model::schedule::random::{self, Random};
use model::schedule::shard::Shard;
use model::schedule::{AccessKind, Point, RanSchedule, Scheduler};
use model::workload::Workload;

use super::failures::Failures;
use super::search::{SearchStop, SearchTally, Searched, Until, search};
use crate::stepped::{Rig, RigError, RigPlan};

/// Memory for the points of one search, in bytes.
const POINTS: usize = 64 << 20;

/// The order in which schedules run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// This shard of all schedules, the simplest first.
    Exhaustive(Shard),
    /// Schedules drawn at random, with most moves at critical accesses.
    Random {
        /// The number of schedules, for all rigs together.
        schedules: u64,
        /// The seed of the first rig. Each further rig uses the next seed.
        seed: u64,
    },
    /// Schedules drawn by the PCT algorithm.
    Pct {
        /// The number of schedules, for all rigs together.
        schedules: u64,
        /// The seed of the first rig. Each further rig uses the next seed.
        seed: u64,
    },
}

/// The search that all rigs share.
#[derive(Clone, Debug)]
pub struct ParallelSearch {
    /// The plan of each rig.
    pub plan: RigPlan,
    /// The program that the target runs.
    pub workload: Workload,
    /// The number of samples, the most moves, and the most steps in one move. For PCT, the depth of the bugs is one
    /// more than the moves, and the steps are those of all moves together.
    pub bounds: ExhaustiveBounds,
    /// The order in which schedules run.
    pub order: Order,
    /// The number of rigs.
    pub jobs: NonZeroUsize,
}

/// The progress of a search, visible to all threads.
#[derive(Debug, Default)]
pub struct Watch {
    /// Schedules that have run.
    pub done: AtomicU64,
    /// Schedules that are known so far, including those that have run.
    pub known: AtomicU64,
    /// Schedules that have failed.
    pub failed: AtomicU64,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct ParallelResult {
    /// The results of all rigs together.
    pub searched: Searched,
    /// The progress of an exhaustive search.
    pub progress: ExhaustiveProgress,
}

/// Runs a search. The outcome of an exhaustive search does not depend on the number of rigs, unless it ends early.
///
/// # Errors
/// The first error of a rig; the others then stop.
pub fn run(what: &ParallelSearch, until: Until<'_>, watch: &Watch) -> Result<ParallelResult, RigError> {
    let jobs = what.jobs.get() as u64;
    let stop = AtomicBool::new(false);
    let outcomes: Vec<Result<ParallelResult, RigError>> = thread::scope(|scope| {
        let stop = &stop;
        let threads: Vec<_> =
            (0..jobs).map(|job| scope.spawn(move || one(what, job, jobs, until, stop, watch))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = ParallelResult {
        searched: Searched {
            tally: SearchTally::default(),
            failures: Failures::default(),
            ended: SearchStop::Everything,
        },
        progress: ExhaustiveProgress { finished: true, ..ExhaustiveProgress::default() },
    };
    for outcome in outcomes {
        let ParallelResult { searched, progress } = outcome?;
        all.searched.tally.merge(&searched.tally);
        all.searched.failures.merge(searched.failures);
        // The rig that found the first failure stopped the others.
        all.searched.ended = match (all.searched.ended, searched.ended) {
            (SearchStop::First, _) | (_, SearchStop::First) => SearchStop::First,
            (SearchStop::Everything, other) => other,
            (before, _) => before,
        };
        all.progress.done += progress.done;
        all.progress.known += progress.known;
        all.progress.told += progress.told;
        all.progress.never_came += progress.never_came;
        all.progress.fewer_steps += progress.fewer_steps;
        all.progress.finished &= progress.finished;
    }
    Ok(all)
}

fn one(
    what: &ParallelSearch,
    job: u64,
    jobs: u64,
    until: Until<'_>,
    stop: &AtomicBool,
    watch: &Watch,
) -> Result<ParallelResult, RigError> {
    let interrupted = || (until.interrupted)() || stop.load(Ordering::Relaxed);
    let until = Until { interrupted: &interrupted, ..until };
    let mut share = Share::new(what, job, jobs);
    let (mut done, mut known, mut failed) = (0, 0, 0);
    let mut seen = |share: &Share, tally: &SearchTally, failures: &Failures| {
        add(&watch.done, &mut done, tally.schedules);
        add(&watch.known, &mut known, share.known());
        add(&watch.failed, &mut failed, failures.count());
    };
    let searched = Rig::launch(what.plan.clone(), what.workload.clone())
        .and_then(|mut rig| search(&mut rig, what.bounds.samples, &mut share, until, &mut seen));
    if searched.as_ref().map_or(true, |searched| searched.ended == SearchStop::First) {
        stop.store(true, Ordering::Relaxed);
    }
    Ok(ParallelResult { searched: searched?, progress: share.progress() })
}

/// Adds the growth of a rig's own number to `all`.
fn add(all: &AtomicU64, before: &mut u64, now: u64) {
    all.fetch_add(now.saturating_sub(*before), Ordering::Relaxed);
    *before = now.max(*before);
}

/// One rig's share of the schedules.
enum Share {
    Exhaustive(Exhaustive),
    Random(Random, u64),
    Pct(Pct, u64),
}

impl Share {
    fn new(what: &ParallelSearch, job: u64, jobs: u64) -> Self {
        let ExhaustiveBounds { moves, steps, .. } = what.bounds;
        // Every rig draws its own schedules, and together they draw as many as the user asked for.
        let part = |schedules: u64| schedules / jobs + u64::from(job < schedules % jobs);
        match what.order {
            Order::Exhaustive(shard) => {
                Self::Exhaustive(Exhaustive::new(what.bounds, shard.part(job, jobs), POINTS / jobs.max(1) as usize))
            }
            Order::Random { schedules, seed } => {
                let bounds = random::RandomBounds { moves, steps };
                Self::Random(Random::new(seed.wrapping_add(job), part(schedules), bounds), part(schedules))
            }
            Order::Pct { schedules, seed } => {
                let bounds = pct::PctBounds { depth: moves.saturating_add(1), steps };
                Self::Pct(Pct::new(seed.wrapping_add(job), part(schedules), bounds), part(schedules))
            }
        }
    }

    fn inner(&mut self) -> &mut dyn Scheduler {
        match self {
            Self::Exhaustive(scheduler) => scheduler,
            Self::Random(scheduler, _) => scheduler,
            Self::Pct(scheduler, _) => scheduler,
        }
    }

    fn known(&self) -> u64 {
        match self {
            Self::Exhaustive(scheduler) => scheduler.progress().known,
            Self::Random(_, schedules) | Self::Pct(_, schedules) => *schedules,
        }
    }

    fn progress(&self) -> ExhaustiveProgress {
        match self {
            Self::Exhaustive(scheduler) => scheduler.progress(),
            Self::Random(..) | Self::Pct(..) => ExhaustiveProgress { finished: true, ..ExhaustiveProgress::default() },
        }
    }
}

impl Scheduler for Share {
    fn begin(&mut self) -> bool {
        self.inner().begin()
    }

    fn steps(&mut self, at: Point, kind: AccessKind) -> u32 {
        self.inner().steps(at, kind)
    }

    fn end(&mut self, ran: &RanSchedule) {
        self.inner().end(ran);
    }

    fn is_counted(&self) -> bool {
        match self {
            Self::Exhaustive(scheduler) => scheduler.is_counted(),
            Self::Random(..) | Self::Pct(..) => true,
        }
    }
}
