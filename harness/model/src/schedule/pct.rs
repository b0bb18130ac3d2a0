//! PCT: random schedules with a probabilistic guarantee.
//!
//! S. Burckhardt, P. Kothari, M. Musuvathi and S. Nagarakatte, "A randomized scheduler with probabilistic guarantees of
//! finding bugs", ASPLOS 2010. Each thread has a priority, and the thread with the highest priority always runs. The
//! initial priorities are random and above *d* - 1. There are *d* - 1 change points, drawn from all *k* steps. At each
//! of them, the thread that does the step gets a priority below all others. A bug of depth *d* is caused by *d*
//! orderings of two steps each. Each schedule finds it with a probability of at least 1 / (*n* k^(*d*-1)), where *n* is
//! the number of threads.
//!
//! Here *n* is two. A step of the walker is an access (or a piece of a torn read), and a step of the target is a store.
//! The target never ends on its own, so the number of its steps is limited. *k* is that limit plus the largest number
//! of accesses seen in a run.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{AccessKind, Point, RanSchedule, Scheduler};

/// The bounds of the schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PctBounds {
    /// The depth of the bugs to look for, *d* in the paper. Values above 16 count as 16.
    pub depth: u32,
    /// How many steps the target does in a schedule, unless the walker ends before.
    pub steps: u32,
}

/// The scheduler of the paper.
#[derive(Clone, Debug)]
pub struct Pct {
    bounds: PctBounds,
    left: u64,
    random: ChaCha8Rng,
    /// The largest number of accesses in a run so far. `None` before the first run, in which the target does not move.
    accesses: Option<usize>,
    run: Run,
}

/// The state of one schedule.
#[derive(Clone, Debug, Default)]
struct Run {
    target: u32,
    walker: u32,
    /// Change `i` takes place after the step with this number, counted from 1.
    changes: Vec<usize>,
    done: usize,
    steps_left: u32,
}

impl Run {
    /// Counts a step, and returns the new priority of the thread that did it.
    fn step(&mut self, priority: u32) -> u32 {
        self.done += 1;
        let change = self.changes.iter().position(|&change| change == self.done);
        // All changed priorities are at most depth - 1. The initial ones are at least depth.
        change.and_then(|change| u32::try_from(change).ok()).map_or(priority, |change| change + 1)
    }

    fn move_target(&mut self) -> u32 {
        let mut steps = 0;
        while self.steps_left > 0 && self.target > self.walker {
            self.steps_left -= 1;
            steps += 1;
            self.target = self.step(self.target);
        }
        self.walker = self.step(self.walker);
        steps
    }
}

impl Pct {
    /// `schedules` schedules, determined by `seed`. The first of them has no moves.
    #[must_use]
    pub fn new(seed: u64, schedules: u64, bounds: PctBounds) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { bounds, left: schedules, random, accesses: None, run: Run::default() }
    }

    fn draw(&mut self) -> Run {
        let Some(accesses) = self.accesses else { return Run::default() };
        let (depth, steps) = (self.bounds.depth.clamp(1, 16), self.bounds.steps);
        let all = accesses.saturating_add(steps as usize);
        let count = (depth as usize - 1).min(all);
        let mut changes = Vec::with_capacity(count);
        while changes.len() < count {
            let step = self.random.random_range(1..=all);
            if !changes.contains(&step) {
                changes.push(step);
            }
        }
        let target_first = self.random.random_bool(0.5);
        let (target, walker) = if target_first { (depth + 1, depth) } else { (depth, depth + 1) };
        Run { target, walker, changes, done: 0, steps_left: steps }
    }
}

impl Scheduler for Pct {
    fn begin(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.run = self.draw();
        true
    }

    fn steps(&mut self, _: Point, _: AccessKind) -> u32 {
        self.run.move_target()
    }

    fn end(&mut self, ran: &RanSchedule) {
        self.accesses = Some(self.accesses.unwrap_or(0).max(ran.points.len()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Schedule;
    use super::super::toy::Toy;
    use super::*;

    fn schedules(count: u64, bounds: PctBounds) -> Vec<Schedule> {
        let runs = Toy::new(2).run_all(&mut Pct::new(3, count, bounds));
        assert_eq!(runs.len() as u64, count);
        runs.into_iter().map(|ran| ran.schedule).collect()
    }

    #[test]
    fn depth_one_runs_the_threads_one_after_the_other() {
        let bounds = PctBounds { depth: 1, steps: 5 };
        let found: BTreeSet<String> = schedules(50, bounds).iter().map(ToString::to_string).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["-", "0.0:5"]);
    }

    #[test]
    fn depth_two_switches_once() {
        // Either the target runs first, then the walker, then the rest; or the walker first, then the target to its
        // end.
        let found: BTreeSet<Schedule> = schedules(500, PctBounds { depth: 2, steps: 5 }).into_iter().collect();
        assert!(found.iter().all(|schedule| schedule.moves.len() <= 1), "{found:?}");
        for schedule in ["0.0:1", "0.0:4", "0.0:5", "0.1:5", "1.0:5", "1.1:5"] {
            assert!(found.contains(&schedule.parse().unwrap()), "{schedule} in {found:?}");
        }
    }

    #[test]
    fn a_bug_is_found_with_the_probability_of_the_paper() {
        // Depth 3: the target must move after the first read and must not move again before the anchor is written.
        let bounds = PctBounds { depth: 3, steps: 4 };
        let wanted = |schedule: &Schedule| matches!(&schedule.moves[..], [one, ..] if one.at == Point { sample: 0, access: 1, word: 0 } && one.steps == 2);
        let count = 4000;
        let found = schedules(count, bounds).iter().filter(|schedule| wanted(schedule)).count();
        let (threads, all) = (2, 8 + 4);
        assert!(found as u64 >= count / (threads * all * all), "{found} of {count}");
        assert_eq!(schedules(20, bounds), schedules(20, bounds));
    }
}
