//! Runs one schedule exactly, and reports if it no longer fits.

use thiserror::Error;

use super::{AccessKind, Move, Point, RanSchedule, Schedule, Scheduler};

/// Why a schedule did not run exactly. Such a run proves nothing: its verdict is inconclusive, never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    /// The walker made different accesses, so the point of a move never occurred.
    #[error(
        "the schedule no longer fits: the point {} of its move {asked} was never reached, so the walker or the target \
         behaves differently than when the schedule was made; search again on this build",
        .asked.at
    )]
    NeverCame {
        /// The move whose point was not reached.
        asked: Move,
    },
    /// The target ended, or stopped at a place after which there are no further steps.
    #[error("the schedule no longer fits: at {} the target did {done} steps instead of {}", .asked.at, .asked.steps)]
    FewerSteps {
        /// The move that was only partly carried out.
        asked: Move,
        /// The number of steps that it did.
        done: u32,
    },
}

/// Checks that all moves of `asked` took place in `ran`.
///
/// # Errors
/// The first move that did not take place.
pub fn fits(asked: &Schedule, ran: &RanSchedule) -> Result<(), Misfit> {
    for &one in &asked.moves {
        let done = ran.schedule.steps(one.at);
        if done == one.steps {
            continue;
        }
        // Points are in order, so a run that ended early has all points up to its end.
        return Err(if ran.points.binary_search_by_key(&one.at, |&(point, _)| point).is_ok() {
            Misfit::FewerSteps { asked: one, done }
        } else {
            Misfit::NeverCame { asked: one }
        });
    }
    Ok(())
}

/// Runs a schedule a number of times.
#[derive(Clone, Debug)]
pub struct ScheduleReplay {
    schedule: Schedule,
    left: u32,
    fit: Result<(), Misfit>,
}

impl ScheduleReplay {
    /// Runs `schedule` `times` times.
    #[must_use]
    pub fn new(schedule: Schedule, times: u32) -> Self {
        Self { schedule, left: times, fit: Ok(()) }
    }

    /// Whether the last run was an exact run of the schedule.
    ///
    /// # Errors
    /// Why it was not.
    pub fn fit(&self) -> Result<(), Misfit> {
        self.fit
    }
}

impl Scheduler for ScheduleReplay {
    fn begin(&mut self) -> bool {
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }

    fn steps(&mut self, at: Point, _: AccessKind) -> u32 {
        self.schedule.steps(at)
    }

    fn end(&mut self, ran: &RanSchedule) {
        self.fit = fits(&self.schedule, ran);
    }
}

#[cfg(test)]
mod tests {
    use super::super::toy::Toy;
    use super::*;

    #[test]
    fn the_schedule_runs_as_often_as_requested() {
        let schedule: Schedule = "0.1:2,1.0:1".parse().unwrap();
        let mut replay = ScheduleReplay::new(schedule.clone(), 3);
        let runs = Toy::new(2).run_all(&mut replay);
        assert_eq!(runs.len(), 3);
        assert!(runs.iter().all(|ran| ran.schedule == schedule && *ran == runs[0]));
        assert_eq!(replay.fit(), Ok(()));
    }

    #[test]
    fn a_schedule_that_no_longer_fits_is_not_a_pass() {
        let toy = Toy { life: 5, ..Toy::new(2) };
        for (schedule, expected) in [
            ("0.1:2,1.3:1,1.4:1", "the point 1.3 of its move 1.3:1 was never reached"),
            ("0.0:3,0.1/1:1", "the point 0.1/1 of its move 0.1/1:1 was never reached"),
            ("0.0:3,1.0:4", "at 1.0 the target did 2 steps instead of 4"),
            ("0.0:5,1.0:1", "at 1.0 the target did 0 steps instead of 1"),
        ] {
            let mut replay = ScheduleReplay::new(schedule.parse().unwrap(), 1);
            toy.run_all(&mut replay);
            let error = replay.fit().unwrap_err().to_string();
            assert!(error.contains(expected), "{schedule}: {error}");
        }
    }
}
