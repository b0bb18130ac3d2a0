//! Looks for a failure again with a target that stands still during samples, and moves from gate to gate.

use super::between::Between;
use super::failures::Failing;
use super::place::movement;
use super::search::{Until, search};
use crate::case::stepped::{SteppedCase, WorkloadIdentity};
use crate::lane::stepped::{Rig, RigError, RigPlan};
use crate::schedule::exhaustive::{Bounds, Exhaustive};
use crate::schedule::shard::Shard;
use crate::workload::{Mode, generate};

/// Gates passed at a time at most.
const GATES: u32 = 12;
/// Memory for the points of a search, in bytes.
const POINTS: usize = 16 << 20;

/// The same failure from gate to gate, if there is one within the case's samples and moves and one more of each.
///
/// # Errors
/// As [`Rig::launch`] and [`Rig::run`].
pub fn from_gate_to_gate(
    plan: &RigPlan,
    case: &SteppedCase,
    until: Until<'_>,
) -> Result<Option<SteppedCase>, RigError> {
    let WorkloadIdentity { family, seed, parameters, .. } = &case.workload;
    let workload = generate(*family, Mode::GatedRounds, parameters, *seed);
    let identity = WorkloadIdentity::of(&workload);
    let plan = RigPlan { movement: movement(Mode::GatedRounds), tearing: false, ..plan.clone() };
    let mut rig = Rig::launch(plan, workload)?;
    let bounds = Bounds {
        samples: case.samples.saturating_add(1),
        moves: u32::try_from(case.schedule.moves.len()).unwrap_or(u32::MAX).saturating_add(1),
        steps: GATES,
    };
    let mut scheduler = Between(Exhaustive::new(bounds, Shard::WHOLE, POINTS));
    let wanted = case.fingerprint.without_shape();
    let mut found: Option<Failing> = None;
    let over = std::sync::atomic::AtomicBool::new(false);
    let interrupted = || (until.interrupted)() || over.load(std::sync::atomic::Ordering::Relaxed);
    let until = Until { interrupted: &interrupted, first: false, ..until };
    search(&mut rig, bounds.samples, &mut scheduler, until, &mut |_, _, failures| {
        let kind = failures.kinds().into_iter().find(|kind| kind.simplest.fingerprint.without_shape() == wanted);
        found = kind.map(|kind| kind.simplest.clone());
        over.store(found.is_some(), std::sync::atomic::Ordering::Relaxed);
    })?;
    Ok(found.map(|failing| SteppedCase {
        workload: identity,
        samples: failing.samples,
        tearing: false,
        loads: false,
        schedule: failing.schedule,
        fingerprint: failing.fingerprint,
        ..case.clone()
    }))
}
