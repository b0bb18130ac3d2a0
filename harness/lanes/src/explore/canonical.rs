//! Reduces failures to their simplest form, so that failures with only irrelevant differences become one.

use std::collections::HashMap;

use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::shrink::Attempt;
use model::schedule::shrink::schedule::shrink;

use super::failures::{Failing, FailureKind, Failures};
use super::replay::on;
use crate::stepped::{Rig, RigError};

/// The most runs for one kind.
const RUNS: u32 = 1000;
/// The most runs for all kinds together. Kinds that remain then stay as they are.
const ALL_RUNS: usize = 20_000;

/// Shrinks the simplest schedule of each kind, and merges kinds that become the same.
///
/// # Errors
/// As [`Rig::run`].
pub fn canonical(rig: &mut Rig, failures: &Failures) -> Result<Failures, RigError> {
    // Many kinds lead to the same smaller schedules.
    let mut known: HashMap<Attempt, Option<SteppedFingerprint>> = HashMap::new();
    let mut broken = None;
    let mut found = Failures::default();
    for FailureKind { simplest, count } in failures.kinds() {
        let start = Attempt { samples: simplest.samples, schedule: simplest.schedule.clone() };
        let shrunk = shrink(&start, RUNS, |attempt| {
            if let Some(fingerprint) = known.get(attempt) {
                return fingerprint.as_ref().map(SteppedFingerprint::without_shape);
            }
            if broken.is_some() || known.len() >= ALL_RUNS {
                return None;
            }
            let fingerprint = match on(rig, &attempt.schedule, attempt.samples, &simplest.fingerprint) {
                // It must fail in its last sample: an earlier failure belongs to an attempt with fewer samples.
                Ok((run, _)) => Failing::of(&run)
                    .filter(|failing| failing.schedule == attempt.schedule && failing.samples == attempt.samples)
                    .map(|failing| failing.fingerprint),
                Err(error) => {
                    broken = Some(error);
                    None
                }
            };
            known.insert(attempt.clone(), fingerprint.clone());
            fingerprint.as_ref().map(SteppedFingerprint::without_shape)
        });
        if let Some(error) = broken {
            return Err(error);
        }
        // A failure that cannot be shrunk, or does not even recur, stays as it was found.
        let canonical = shrunk.ok().and_then(|shrunk| {
            let fingerprint = known.get(&shrunk.attempt).cloned().flatten()?;
            Some(Failing { fingerprint, schedule: shrunk.attempt.schedule, samples: shrunk.attempt.samples })
        });
        found.add_kind(FailureKind { simplest: canonical.unwrap_or_else(|| simplest.clone()), count: *count });
    }
    Ok(found)
}
