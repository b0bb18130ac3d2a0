//! Keeps a scheduler to the points between samples.

use crate::schedule::{AccessKind, Point, Ran, Schedule, Scheduler};

/// Another scheduler, which hears of no point inside of a sample: the target stands still there.
pub(super) struct Between<S>(pub(super) S);

impl<S: Scheduler> Scheduler for Between<S> {
    fn begin(&mut self) -> bool {
        self.0.begin()
    }

    fn steps(&mut self, at: Point, kind: AccessKind) -> u32 {
        if at.is_between_samples() { self.0.steps(at, kind) } else { 0 }
    }

    fn end(&mut self, ran: &Ran) {
        let between = |at: Point| at.is_between_samples();
        let moves = ran.schedule.moves.iter().filter(|one| between(one.at)).copied().collect();
        let points = ran.points.iter().filter(|(at, _)| between(*at)).copied().collect();
        self.0.end(&Ran { schedule: Schedule { moves }, points, ..Ran::default() });
    }

    fn is_counted(&self) -> bool {
        self.0.is_counted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::exhaustive::{Bounds, Exhaustive};
    use crate::schedule::shard::Shard;

    #[test]
    fn nothing_moves_inside_of_samples() {
        let bounds = Bounds { samples: 2, moves: 2, steps: 2 };
        let mut scheduler = Between(Exhaustive::new(bounds, Shard::WHOLE, 1 << 20));
        let mut schedules = Vec::new();
        while scheduler.begin() {
            let mut ran = Ran::default();
            let mut moves = Vec::new();
            for (sample, access) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)] {
                let at = Point { sample, access, word: 0 };
                moves.push(crate::schedule::Move { at, steps: scheduler.steps(at, AccessKind::ReadOther) });
                ran.points.push((at, AccessKind::ReadOther));
            }
            ran.schedule = Schedule::new(moves);
            schedules.push(ran.schedule.to_string());
            scheduler.end(&ran);
        }
        assert_eq!(
            schedules,
            ["-", "0.0:1", "1.0:1", "0.0:2", "1.0:2", "0.0:1,1.0:1", "0.0:1,1.0:2", "0.0:2,1.0:1", "0.0:2,1.0:2"]
        );
    }
}
