//! Explains the failure of a stepped run from its recorded history.

use lanes::explore::replay::ReplayResult;
use lanes::stepped::SteppedRun;

use crate::report::explain::{ExplainedFailure, Explanation};

/// The history of a run and, if the run failed, the explanation.
#[must_use]
pub fn explain(run: &SteppedRun, again: &ReplayResult) -> Explanation {
    let failure = run.samples.iter().enumerate().find_map(|(number, sample)| {
        let (Some(wrong), Ok(seen)) = (&sample.wrong, &sample.sample.outcome) else { return None };
        Some(ExplainedFailure {
            sample: u32::try_from(number).unwrap_or(u32::MAX),
            clause: wrong.fault,
            seen: seen.clone(),
            possible: sample.moments.iter().map(|moment| moment.stack.clone()).collect(),
        })
    });
    let misfit = match again {
        ReplayResult::Misfit(misfit) => Some(misfit.to_string()),
        _ => None,
    };
    Explanation::of(&run.history, failure.as_ref(), misfit)
}
