//! Several rigs that share a search.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use model::schedule::exhaustive::{Bounds, Exhaustive, Progress};
use model::schedule::pct::{self, Pct};
use model::schedule::random::{self, Random};
use model::schedule::shard::Shard;
use model::schedule::{AccessKind, Point, Ran, Scheduler};
use model::workload::Workload;

use super::failures::Failures;
use super::search::{Ended, Searched, Tally, Until, search};
use crate::stepped::{Rig, RigError, RigPlan};

/// Memory for the points of one search, in bytes.
const POINTS: usize = 64 << 20;

/// In which order schedules come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All of them, the simplest first, in this part.
    Exhaustive(Shard),
    /// So many, drawn with this seed.
    Random {
        /// How many.
        schedules: u64,
        /// The seed.
        seed: u64,
    },
    /// So many, by the algorithm of that name.
    Pct {
        /// How many.
        schedules: u64,
        /// The seed.
        seed: u64,
    },
}

/// What is searched.
#[derive(Clone, Debug)]
pub struct Search {
    /// The rigs.
    pub plan: RigPlan,
    /// What the target runs.
    pub workload: Workload,
    /// How many samples are taken, moves made, and steps done at a time. For PCT, the bugs' depth is one more than the moves,
    /// and the steps are those of all moves together.
    pub bounds: Bounds,
    /// In which order.
    pub order: Order,
    /// How many rigs.
    pub jobs: NonZeroUsize,
}

/// How far a search is, as everybody can see it.
#[derive(Debug, Default)]
pub struct Watch {
    /// Schedules that ran.
    pub done: AtomicU64,
    /// Schedules that are known to come.
    pub known: AtomicU64,
    /// Schedules that failed.
    pub failed: AtomicU64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Of all rigs together.
    pub searched: Searched,
    /// Of an exhaustive search.
    pub progress: Progress,
}

/// Searches. The outcome is the same however many rigs there are, unless it ended early.
///
/// # Errors
/// The first that a rig gives; the others end then.
pub fn run(what: &Search, until: Until<'_>, watch: &Watch) -> Result<Outcome, RigError> {
    let jobs = what.jobs.get() as u64;
    let stop = AtomicBool::new(false);
    let outcomes: Vec<Result<Outcome, RigError>> = thread::scope(|scope| {
        let stop = &stop;
        let threads: Vec<_> =
            (0..jobs).map(|job| scope.spawn(move || one(what, job, jobs, until, stop, watch))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = Outcome {
        searched: Searched { tally: Tally::default(), failures: Failures::default(), ended: Ended::Everything },
        progress: Progress { finished: true, ..Progress::default() },
    };
    for outcome in outcomes {
        let Outcome { searched, progress } = outcome?;
        all.searched.tally.merge(&searched.tally);
        all.searched.failures.merge(searched.failures);
        // Whoever found the first failure stopped the others.
        all.searched.ended = match (all.searched.ended, searched.ended) {
            (Ended::First, _) | (_, Ended::First) => Ended::First,
            (Ended::Everything, other) => other,
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
    what: &Search,
    job: u64,
    jobs: u64,
    until: Until<'_>,
    stop: &AtomicBool,
    watch: &Watch,
) -> Result<Outcome, RigError> {
    let interrupted = || (until.interrupted)() || stop.load(Ordering::Relaxed);
    let until = Until { interrupted: &interrupted, ..until };
    let mut share = Share::new(what, job, jobs);
    let (mut done, mut known, mut failed) = (0, 0, 0);
    let mut seen = |share: &Share, tally: &Tally, failures: &Failures| {
        add(&watch.done, &mut done, tally.schedules);
        add(&watch.known, &mut known, share.known());
        add(&watch.failed, &mut failed, failures.count());
    };
    let searched = Rig::launch(what.plan.clone(), what.workload.clone())
        .and_then(|mut rig| search(&mut rig, what.bounds.samples, &mut share, until, &mut seen));
    if searched.as_ref().map_or(true, |searched| searched.ended == Ended::First) {
        stop.store(true, Ordering::Relaxed);
    }
    Ok(Outcome { searched: searched?, progress: share.progress() })
}

/// Adds to `all` by how much a rig's own number grew.
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
    fn new(what: &Search, job: u64, jobs: u64) -> Self {
        let Bounds { moves, steps, .. } = what.bounds;
        // Every rig draws schedules of its own, and all of them together as many as were asked for.
        let part = |schedules: u64| schedules / jobs + u64::from(job < schedules % jobs);
        match what.order {
            Order::Exhaustive(shard) => {
                Self::Exhaustive(Exhaustive::new(what.bounds, shard.part(job, jobs), POINTS / jobs.max(1) as usize))
            }
            Order::Random { schedules, seed } => {
                let bounds = random::Bounds { moves, steps };
                Self::Random(Random::new(seed.wrapping_add(job), part(schedules), bounds), part(schedules))
            }
            Order::Pct { schedules, seed } => {
                let bounds = pct::Bounds { depth: moves.saturating_add(1), steps };
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

    fn progress(&self) -> Progress {
        match self {
            Self::Exhaustive(scheduler) => scheduler.progress(),
            Self::Random(..) | Self::Pct(..) => Progress { finished: true, ..Progress::default() },
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

    fn end(&mut self, ran: &Ran) {
        self.inner().end(ran);
    }

    fn is_counted(&self) -> bool {
        match self {
            Self::Exhaustive(scheduler) => scheduler.is_counted(),
            Self::Random(..) | Self::Pct(..) => true,
        }
    }
}
