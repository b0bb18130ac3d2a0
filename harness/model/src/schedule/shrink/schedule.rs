//! Finds the smallest schedule that still fails in the same way.

use std::collections::HashSet;

use thiserror::Error;

use super::Attempt;
use super::moves::{Size, candidates};

/// The result of shrinking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShrunkSchedule {
    /// The smallest attempt found.
    pub attempt: Attempt,
    /// How many runs were made.
    pub runs: u32,
    /// Whether the attempt is 1-minimal: no single change among those tried makes it smaller and still fail. If false,
    /// the budget was spent first.
    pub is_minimal: bool,
}

/// Why a case cannot be shrunk.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CannotShrink {
    /// The case does not fail when it is run again.
    #[error("the case does not fail when it runs again, so there is nothing to shrink; see `framediff replay`")]
    Passes,
    /// The budget allows no run.
    #[error("with a budget of no runs, not even the failure of the case can be shown")]
    NoBudget,
}

/// Makes `attempt` smaller as long as it fails in the same way, within a budget of runs.
///
/// `fails` runs an attempt and returns what identifies the bug. It returns `None` if the attempt does not fail, or if
/// the point of a move did not occur. What identifies the bug must not depend on where the moves are, because they
/// change.
///
/// An attempt is smaller if it has, in this order: fewer samples, fewer moves, fewer moves inside torn reads, fewer
/// moves inside samples, fewer steps, earlier points. The changes tried are: leaving out samples and moves, merging two
/// moves at one point, fewer steps, and other points for single moves.
///
/// # Errors
/// `attempt` does not fail, or the budget is zero.
pub fn shrink<F: Eq>(
    attempt: &Attempt,
    budget: u32,
    mut fails: impl FnMut(&Attempt) -> Option<F>,
) -> Result<ShrunkSchedule, CannotShrink> {
    if budget == 0 {
        return Err(CannotShrink::NoBudget);
    }
    let wanted = fails(attempt).ok_or(CannotShrink::Passes)?;
    let mut smallest = attempt.clone();
    let mut runs = 1;
    // An attempt that passed once passes again, because the rig is deterministic. Smaller attempts have many of the
    // same candidates.
    let mut passed = HashSet::new();
    loop {
        let size = Size::of(&smallest);
        let mut found = None;
        for candidate in candidates(&smallest) {
            if Size::of(&candidate) >= size || passed.contains(&candidate) {
                continue;
            }
            if runs == budget {
                return Ok(ShrunkSchedule { attempt: smallest.clone(), runs, is_minimal: false });
            }
            runs += 1;
            if fails(&candidate).is_some_and(|seen| seen == wanted) {
                found = Some(candidate);
                break;
            }
            passed.insert(candidate);
        }
        match found {
            Some(candidate) => smallest = candidate,
            None => return Ok(ShrunkSchedule { attempt: smallest, runs, is_minimal: true }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::random::{Random, RandomBounds};
    use crate::schedule::replay::ScheduleReplay;
    use crate::schedule::toy::Toy;
    use crate::schedule::{AccessKind, RanSchedule};

    fn attempt(samples: u32, schedule: &str) -> Attempt {
        Attempt { samples, schedule: schedule.parse().unwrap() }
    }

    /// Runs an attempt on the toy. An attempt that does not fit does not fail.
    fn ran(attempt: &Attempt) -> Option<RanSchedule> {
        let mut replay = ScheduleReplay::new(attempt.schedule.clone(), 1);
        let mut runs = Toy { words: 4, ..Toy::new(attempt.samples) }.run_all(&mut replay);
        replay.fit().is_ok().then(|| runs.pop()).flatten()
    }

    /// The toy's bug: in some sample, the target moves by five steps or more between the copy of the chunk and the
    /// write of the anchor, and its position is even in a later sample.
    fn late_anchor(attempt: &Attempt) -> Option<&'static str> {
        let ran = ran(attempt)?;
        let mut position = 0;
        let mut moved = None;
        for &(at, kind) in &ran.points {
            let steps = ran.schedule.steps(at);
            position += steps;
            if moved.is_some_and(|sample| sample < at.sample) && position % 2 == 0 {
                return Some("late anchor");
            }
            if kind == AccessKind::WriteAnchor && steps >= 5 {
                moved = Some(at.sample);
            }
        }
        None
    }

    /// A failing attempt with many moves.
    fn noisy(seed: u64) -> Attempt {
        let mut random = Random::new(seed, 2000, RandomBounds { moves: 9, steps: 30 });
        let runs = Toy { words: 4, ..Toy::new(6) }.run_all(&mut random);
        let attempts = runs.into_iter().map(|ran| Attempt { samples: 6, schedule: ran.schedule });
        let mut noisy = attempts.filter(|attempt| attempt.schedule.moves.len() > 5 && late_anchor(attempt).is_some());
        noisy.next().unwrap()
    }

    #[test]
    fn a_noisy_schedule_becomes_the_shortest_one() {
        for seed in 1..=4 {
            let start = noisy(seed);
            let shrunk = shrink(&start, 2000, late_anchor).unwrap();
            assert!(shrunk.is_minimal, "{shrunk:?}");
            // Two samples are needed. Five steps are odd, so a sixth makes the position even. One move is enough.
            assert_eq!(shrunk.attempt, attempt(2, "0.2:6"), "{start:?}");
        }
    }

    #[test]
    fn moves_are_shifted_between_samples_if_possible() {
        let fails = |attempt: &Attempt| {
            let ran = ran(attempt)?;
            (ran.results.last()? % 3 == 2).then_some(())
        };
        let shrunk = shrink(&attempt(4, "0.1/3:2,1.1:7,2.1:5"), 1000, fails).unwrap();
        assert_eq!((shrunk.attempt, shrunk.is_minimal), (attempt(1, "0.0:2"), true));
    }

    #[test]
    fn a_different_failure_does_not_count() {
        let fails = |attempt: &Attempt| {
            let total = attempt.schedule.total_steps();
            (total >= 3).then_some(if total >= 10 { "large" } else { "small" })
        };
        let shrunk = shrink(&attempt(1, "0.0:40,0.1:30"), 1000, fails).unwrap();
        assert_eq!(shrunk.attempt, attempt(1, "0.0:10"));
    }

    #[test]
    fn the_budget_is_kept_and_reported() {
        let mut runs = 0;
        let counting = |attempt: &Attempt| {
            runs += 1;
            late_anchor(attempt)
        };
        let shrunk = shrink(&noisy(1), 7, counting).unwrap();
        assert_eq!((runs, shrunk.runs, shrunk.is_minimal), (7, 7, false));
        assert_eq!(late_anchor(&shrunk.attempt), Some("late anchor"));
    }

    #[test]
    fn a_case_that_does_not_fail_is_not_shrunk() {
        let passing = attempt(2, "0.0:1");
        assert_eq!(shrink(&passing, 10, late_anchor), Err(CannotShrink::Passes));
        assert_eq!(shrink(&passing, 0, late_anchor), Err(CannotShrink::NoBudget));
    }
}
