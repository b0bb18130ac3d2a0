//! Runs a case with its history kept, and tells why it fails.

use crate::explore::replay::Again;
use crate::lane::stepped::{SteppedRun, Verdict};
use crate::report::explain::{Failure, history, render};

/// The history of a run and, if it failed, what is wrong and why. For lines of `width` columns.
#[must_use]
pub fn explain(run: &SteppedRun, again: &Again, width: u16) -> String {
    let failure = run.samples.iter().enumerate().find_map(|(number, sample)| {
        let (Verdict::Wrong(wrong), Ok(seen)) = (&sample.verdict, &sample.sample.outcome) else { return None };
        Some(Failure {
            sample: u32::try_from(number).unwrap_or(u32::MAX),
            clause: wrong.clause,
            seen: seen.clone(),
            possible: sample.moments.iter().map(|moment| moment.stack.clone()).collect(),
        })
    });
    let text = match failure {
        Some(failure) => render(&run.history, &failure, width),
        None => history(&run.history, width) + "\n  nothing is wrong: every stack was there during its sample\n",
    };
    match again {
        Again::Misfit(misfit) => format!("{text}  note       {misfit}\n"),
        _ => text,
    }
}
