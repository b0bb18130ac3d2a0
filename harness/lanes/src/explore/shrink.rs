//! Shrinks a case: its schedule, then its workload, then the schedule once more.

use model::schedule::Scheduler;
use model::schedule::exhaustive::{Exhaustive, ExhaustiveBounds};
use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::random::{self, Random};
use model::schedule::shard::Shard;
use model::schedule::shrink::schedule::{CannotShrink, shrink as shrink_schedule};
use model::schedule::shrink::{Attempt, parameters};
use model::workload::{Parameters, generate};
use sim::case::stepped::{SteppedCase, WorkloadIdentity};

use crate::explore::failures::Failing;
use crate::explore::replay::{ReplayResult, on};
use crate::explore::search::{Until, find};
use crate::stepped::{Rig, RigError, RigPlan};

/// How much work shrinking may take.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// The most runs to shrink one schedule. Finding a schedule in a smaller workload may take three times as many.
    pub runs: u32,
    /// How many smaller workloads to try.
    pub workloads: u32,
    /// What ends the shrinking early.
    pub until: Until<'a>,
}

/// The result of shrinking.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest case that was found.
    pub case: SteppedCase,
    /// How many schedules ran.
    pub runs: u64,
    /// Whether no single change makes it smaller.
    pub is_minimal: bool,
}

/// Why a case cannot be shrunk.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// The case does not fail.
    #[error(transparent)]
    Cannot(#[from] CannotShrink),
    /// The rig failed, so the search for a smaller case ended.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// The workload cannot be generated.
    #[error(transparent)]
    Case(#[from] sim::case::stepped::BadStepped),
}

/// In a smaller workload, this many schedules are drawn for each of the simplest ones tried.
const DRAWN: u64 = 2;
/// Memory for the points of a search, in bytes.
const POINTS: usize = 16 << 20;
/// Steps per move in a search on a smaller workload: enough for a whole round of a small one.
const STEPS: u32 = 16;

/// Shrinks `case` on rigs of this plan.
///
/// # Errors
/// See [`ShrinkError`].
pub fn shrink(plan: &RigPlan, case: &SteppedCase, budget: Budget<'_>) -> Result<Shrunk, ShrinkError> {
    let mut rig = Rig::launch(plan.clone(), case.workload.generate()?)?;
    let mut shrunk = schedule(&mut rig, case, budget)?;
    drop(rig);
    let smaller = workload(plan, &shrunk.case, budget)?;
    shrunk.runs += smaller.runs;
    let workload_is_minimal = smaller.is_minimal;
    if smaller.case.workload != shrunk.case.workload {
        let mut rig = Rig::launch(plan.clone(), smaller.case.workload.generate()?)?;
        let again = schedule(&mut rig, &smaller.case, budget)?;
        shrunk = Shrunk { runs: shrunk.runs + again.runs, ..again };
    }
    shrunk.is_minimal &= workload_is_minimal;
    Ok(shrunk)
}

fn schedule(rig: &mut Rig, case: &SteppedCase, budget: Budget<'_>) -> Result<Shrunk, ShrinkError> {
    let mut broken = None;
    let mut shape = case.fingerprint.shape.clone();
    let mut cut = false;
    let start = Attempt { samples: case.samples, schedule: case.schedule.clone() };
    let shrunk = shrink_schedule(&start, budget.runs, |attempt| {
        cut = cut || is_over(budget.until);
        if broken.is_some() || cut {
            return None;
        }
        match on(rig, &attempt.schedule, attempt.samples, &case.fingerprint) {
            Ok((run, ReplayResult::Same)) => {
                shape = Failing::of(&run)?.fingerprint.shape;
                Some(())
            }
            Ok(_) => None,
            Err(error) => {
                broken = Some(error);
                None
            }
        }
    });
    if let Some(error) = broken {
        return Err(error.into());
    }
    let shrunk = shrunk?;
    let case = SteppedCase {
        samples: shrunk.attempt.samples,
        schedule: shrunk.attempt.schedule,
        fingerprint: SteppedFingerprint { shape, ..case.fingerprint.clone() },
        ..case.clone()
    };
    Ok(Shrunk { case, runs: u64::from(shrunk.runs), is_minimal: shrunk.is_minimal && !cut })
}

/// Searches smaller workloads for the same failure, with no more moves and samples.
fn workload(plan: &RigPlan, case: &SteppedCase, budget: Budget<'_>) -> Result<Shrunk, ShrinkError> {
    let identity = &case.workload;
    let mut runs = 0;
    let mut cut = false;
    let most = case.schedule.moves.iter().map(|one| one.steps).max().unwrap_or(0);
    let bounds = ExhaustiveBounds {
        samples: case.samples,
        moves: u32::try_from(case.schedule.moves.len()).unwrap_or(u32::MAX),
        steps: most.max(STEPS),
    };
    let smaller = parameters::shrink(identity.family, &identity.parameters, budget.workloads, |parameters| {
        cut = cut || is_over(budget.until);
        if cut {
            return None;
        }
        let found = same_failure(plan, case, parameters, bounds, budget, &mut runs);
        found.map(|failing| {
            let workload = generate(identity.family, identity.mode, parameters, identity.seed);
            SteppedCase {
                workload: WorkloadIdentity::of(&workload),
                samples: failing.samples,
                schedule: failing.schedule,
                fingerprint: failing.fingerprint,
                ..case.clone()
            }
        })
    });
    let case = smaller.found.unwrap_or_else(|| case.clone());
    Ok(Shrunk { case, runs, is_minimal: smaller.is_minimal && !cut })
}

/// The simplest schedule on that workload that fails in the same way.
fn same_failure(
    plan: &RigPlan,
    case: &SteppedCase,
    parameters: &Parameters,
    bounds: ExhaustiveBounds,
    budget: Budget<'_>,
    runs: &mut u64,
) -> Option<Failing> {
    let WorkloadIdentity { family, mode, seed, .. } = case.workload;
    // A workload that the rig cannot step does not count as smaller.
    let mut rig = Rig::launch(plan.clone(), generate(family, mode, parameters, seed)).ok()?;
    // The simplest schedules first; then random ones, many of which move where the protocol is vulnerable.
    let mut simplest = Exhaustive::new(bounds, Shard::WHOLE, POINTS);
    let ExhaustiveBounds { moves, steps, .. } = bounds;
    let drawn = u64::from(budget.runs) * DRAWN;
    let mut others = Random::new(seed, drawn, random::RandomBounds { moves, steps });
    let schedulers: [(&mut dyn Scheduler, u64); 2] = [(&mut simplest, u64::from(budget.runs)), (&mut others, drawn)];
    for (scheduler, limit) in schedulers {
        let (found, ran) = find(&mut rig, bounds.samples, scheduler, budget.until, &case.fingerprint, limit).ok()?;
        *runs += ran;
        if found.is_some() {
            return found;
        }
    }
    None
}

fn is_over(until: Until<'_>) -> bool {
    (until.interrupted)() || until.deadline.is_some_and(|deadline| std::time::Instant::now() >= deadline)
}
