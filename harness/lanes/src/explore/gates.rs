//! Searches for a failure again with a target that stands still during samples and moves from gate to gate.

use model::schedule::exhaustive::{Exhaustive, ExhaustiveBounds};
use model::schedule::shard::Shard;
use model::workload::{Mode, generate};
use sim::case::stepped::{SteppedCase, WorkloadIdentity};

use super::against_base::at_rest;
use super::search::{Until, find};
use crate::stepped::{Rig, RigError, RigPlan};

/// The most gates passed in one move.
const GATES: u32 = 12;
/// Memory for the points of a search, in bytes.
const POINTS: usize = 16 << 20;

/// Finds the same failure from gate to gate, within the case's samples and moves and one more of each. Returns `None` if
/// no such schedule fails.
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
    let mut rig = Rig::launch(at_rest(plan), workload)?;
    let bounds = ExhaustiveBounds {
        samples: case.samples.saturating_add(1),
        moves: u32::try_from(case.schedule.moves.len()).unwrap_or(u32::MAX).saturating_add(1),
        steps: GATES,
    };
    let mut scheduler = Exhaustive::new(bounds, Shard::WHOLE, POINTS);
    let (found, _) = find(&mut rig, bounds.samples, &mut scheduler, until, &case.fingerprint, u64::MAX)?;
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
