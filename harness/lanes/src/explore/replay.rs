//! Runs a case again, each time in fresh processes.

use std::fmt;

use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::replay::{Misfit, ScheduleReplay};
use model::schedule::{Schedule, Scheduler};
use model::workload::Workload;
use sim::case::stepped::SteppedCase;

use crate::explore::failures::Failing;
use crate::stepped::{Rig, RigError, RigPlan, SteppedRun};

/// The result of one run of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayResult {
    /// It failed as expected. The shape may differ if the walker's accesses are of other kinds.
    Same,
    /// It failed in another way.
    Other(Failing),
    /// It did not fail, and the walker returned a stack in each sample.
    Passed,
    /// It did not fail, but the walker rejected a sample, so there was nothing to judge.
    Rejected(String),
    /// The schedule no longer fits, so the run shows nothing.
    Misfit(Misfit),
}

/// The results of all runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The results, in order.
    pub runs: Vec<ReplayResult>,
}

impl Replayed {
    /// How many runs failed as expected.
    #[must_use]
    pub fn same(&self) -> usize {
        self.runs.iter().filter(|run| **run == ReplayResult::Same).count()
    }

    /// How many runs failed in any way.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.runs.iter().filter(|run| matches!(run, ReplayResult::Same | ReplayResult::Other(_))).count()
    }

    /// Whether every run fit the schedule and had a stack in each sample up to its failure.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        !self.runs.is_empty()
            && !self.runs.iter().any(|run| matches!(run, ReplayResult::Misfit(_) | ReplayResult::Rejected(_)))
    }

    /// The misfit of the first run that did not fit.
    #[must_use]
    pub fn misfit(&self) -> Option<Misfit> {
        self.runs.iter().find_map(|run| match run {
            ReplayResult::Misfit(misfit) => Some(*misfit),
            _ => None,
        })
    }
}

/// Prints `reproduces 10/10`, and in brackets any other results.
impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.runs.len();
        write!(f, "reproduces {}/{all}", self.same())?;
        let mut others: Vec<String> = Vec::new();
        for run in &self.runs {
            let text = match run {
                ReplayResult::Same | ReplayResult::Passed => continue,
                ReplayResult::Other(failing) => format!("another failure: {}", failing.fingerprint),
                ReplayResult::Misfit(misfit) => misfit.to_string(),
                ReplayResult::Rejected(why) => format!("a sample without a stack: {why}"),
            };
            if !others.contains(&text) {
                others.push(text);
            }
        }
        if others.is_empty() { Ok(()) } else { write!(f, " ({})", others.join("; ")) }
    }
}

/// Runs a case once, on a new rig.
///
/// # Errors
/// As [`Rig::launch`] and [`Rig::run`].
pub fn run(plan: &RigPlan, workload: &Workload, case: &SteppedCase) -> Result<(SteppedRun, ReplayResult), RigError> {
    let mut rig = Rig::launch(plan.clone(), workload.clone())?;
    on(&mut rig, &case.schedule, case.samples, &case.fingerprint)
}

/// Runs a schedule once on an existing rig, and compares the result with a failure.
///
/// # Errors
/// As [`Rig::run`].
pub fn on(
    rig: &mut Rig,
    schedule: &Schedule,
    samples: u32,
    wanted: &SteppedFingerprint,
) -> Result<(SteppedRun, ReplayResult), RigError> {
    let mut replay = ScheduleReplay::new(schedule.clone(), 1);
    // Always true: one run is left.
    replay.begin();
    let run = rig.run(samples, &mut replay)?;
    // The expected failure counts, even if the rest of the schedule did not fit.
    let again = match (Failing::of(&run), replay.fit()) {
        (Some(failing), _) if failing.fingerprint.without_shape() == wanted.without_shape() => ReplayResult::Same,
        (_, Err(misfit)) => ReplayResult::Misfit(misfit),
        (Some(failing), Ok(())) => ReplayResult::Other(failing),
        (None, Ok(())) => match run.samples.iter().find_map(|sample| sample.sample.outcome.as_ref().err()) {
            Some(rejection) => ReplayResult::Rejected(rejection.to_string()),
            None => ReplayResult::Passed,
        },
    };
    Ok((run, again))
}

#[cfg(test)]
mod tests {
    use model::schedule::{Move, Point};

    use super::*;

    #[test]
    fn the_summary_counts_and_lists_other_results() {
        let asked = Move { at: Point { sample: 1, access: 2, word: 0 }, steps: 3 };
        let misfit = ReplayResult::Misfit(Misfit::NeverCame { asked });
        let replayed = Replayed { runs: vec![ReplayResult::Same, ReplayResult::Passed, misfit.clone(), misfit] };
        let text = replayed.to_string();
        assert!(text.starts_with("reproduces 1/4 (the schedule no longer fits: the point 1.2"), "{text}");
        assert_eq!(text.matches("no longer fits").count(), 1, "{text}");
        assert_eq!((replayed.same(), replayed.failed()), (1, 1));
        assert_eq!(Replayed { runs: vec![ReplayResult::Same; 10] }.to_string(), "reproduces 10/10");
    }
}
