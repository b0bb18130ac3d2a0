//! All schedules within bounds, the simplest first.
//!
//! The points are not known in advance, because the accesses depend on the moves before them. To find schedules, the
//! search runs one without its last move. Each point that occurs after the other moves is a point for that last move.
//! Schedules are ordered by their number of moves, then by their number of steps, then by their moves, so the first
//! failure is one of the shortest.
//!
//! The search remembers points by the moves that lead to them, as long as the memory lasts. After that, it repeats the
//! run without the last move to get its points. The repeated run does not count.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::replay::{Misfit, fits};
use super::shard::Shard;
use super::{AccessKind, Move, Point, RanSchedule, Schedule, Scheduler};

/// The bounds of the schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExhaustiveBounds {
    /// The target moves only in this many of the first samples.
    pub samples: u32,
    /// The largest number of moves.
    pub moves: u32,
    /// The largest number of steps in a move.
    pub steps: u32,
}

/// The progress of a search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExhaustiveProgress {
    /// Schedules that ran, each counted once.
    pub done: u64,
    /// Schedules known to be in this shard, including those that ran. This number grows until all schedules with one
    /// move less than allowed have run.
    pub known: u64,
    /// Runs that did not count and only provided points.
    pub told: u64,
    /// Schedules that did not run exactly because a point did not occur again. If there is one, the rig is not
    /// deterministic, and the search proves nothing.
    pub never_came: u64,
    /// Schedules in which the target had fewer steps left than requested. What ran instead is another schedule, which
    /// counts separately.
    pub fewer_steps: u64,
    /// The number of moves in the current schedules.
    pub moves: u32,
    /// Whether all schedules have run.
    pub finished: bool,
}

/// The scheduler that tries everything.
#[derive(Debug)]
pub struct Exhaustive {
    bounds: ExhaustiveBounds,
    shard: Shard,
    memory: Memory,
    progress: ExhaustiveProgress,
    /// The current number of moves, and the current sum of their steps.
    moves: u32,
    total: u64,
    /// The path from the empty schedule to the current one. Each schedule has one move more than the one before.
    way: Vec<Node>,
    prefix: Vec<Move>,
    running: Running,
}

/// A schedule that is being extended by one move.
#[derive(Clone, Debug)]
struct Node {
    points: Arc<[Point]>,
    /// The index of the current point, and the number of steps tried there last; `None` before the first.
    place: usize,
    steps: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Running {
    Idle,
    /// A schedule that counts.
    Counted(Schedule),
    /// A prefix that runs only for its points.
    Told(Schedule),
}

impl Exhaustive {
    /// All schedules within `bounds` that are in `shard`. About `bytes` bytes are used to remember points.
    #[must_use]
    pub fn new(bounds: ExhaustiveBounds, shard: Shard, bytes: usize) -> Self {
        Self {
            bounds,
            shard,
            memory: Memory { bytes, ..Memory::default() },
            progress: ExhaustiveProgress { known: u64::from(shard.is_first()), ..ExhaustiveProgress::default() },
            moves: 0,
            total: 0,
            way: Vec::new(),
            prefix: Vec::new(),
            running: Running::Idle,
        }
    }

    /// The progress of the search.
    #[must_use]
    pub fn progress(&self) -> ExhaustiveProgress {
        self.progress
    }

    /// Goes to the next schedule. Returns `None` after the last one.
    fn next(&mut self) -> Option<Running> {
        if self.way.is_empty() {
            // The very first run provides the points of the empty schedule. It belongs to the first shard.
            let first = Schedule::default();
            return Some(if self.shard.is_first() { Running::Counted(first) } else { Running::Told(first) });
        }
        loop {
            if self.moves == 0 && !self.next_total() {
                return None;
            }
            let Some(one) = self.next_move() else {
                if self.way.len() > 1 {
                    self.way.pop();
                    self.prefix.pop();
                } else if !self.next_total() {
                    return None;
                }
                continue;
            };
            self.prefix.push(one);
            if self.prefix.len() as u64 == u64::from(self.moves) {
                let schedule = Schedule { moves: self.prefix.clone() };
                self.prefix.pop();
                return Some(Running::Counted(schedule));
            }
            match self.memory.points(&self.prefix) {
                Some(points) => self.way.push(Node::after(points, one.at)),
                None => return Some(Running::Told(Schedule { moves: self.prefix.clone() })),
            }
        }
    }

    /// Goes to the next sum of steps, or to schedules with one move more.
    fn next_total(&mut self) -> bool {
        self.total += 1;
        if self.total > u64::from(self.moves) * u64::from(self.bounds.steps) {
            self.moves += 1;
            self.total = u64::from(self.moves);
        }
        if self.moves > self.bounds.moves || self.bounds.steps == 0 {
            return false;
        }
        self.progress.moves = self.moves;
        self.prefix.clear();
        self.way.truncate(1);
        if let Some(root) = self.way.first_mut() {
            (root.place, root.steps) = (0, None);
        }
        true
    }

    /// The next move after the prefix with which the sum of steps can still be reached.
    fn next_move(&mut self) -> Option<Move> {
        let most = u64::from(self.bounds.steps);
        let left = self.total - self.prefix.iter().map(|one| u64::from(one.steps)).sum::<u64>();
        let others = u64::from(self.moves) - self.prefix.len() as u64 - 1;
        let least = left.saturating_sub(others * most).max(1);
        let at_most = left.saturating_sub(others).min(most);
        let is_first = self.prefix.is_empty();
        let node = self.way.last_mut()?;
        loop {
            let &at = node.points.get(node.place)?;
            let steps = node.steps.map_or(least, |steps| steps + 1);
            if steps > at_most {
                node.place += 1;
                node.steps = None;
                continue;
            }
            node.steps = Some(steps);
            // Shards split at the first move, so each finds its schedules without running those of the others.
            if !is_first || self.shard.holds(node.place as u64 * most + steps - 1) {
                return Some(Move { at, steps: u32::try_from(steps).unwrap_or(u32::MAX) });
            }
        }
    }

    /// How many schedules extend `moves` by one move.
    fn extensions(&self, moves: &[Move], points: &[Point]) -> u64 {
        let steps = u64::from(self.bounds.steps);
        match moves.last() {
            None => self.shard.share(points.len() as u64 * steps),
            Some(last) => points.iter().filter(|&&point| point > last.at).count() as u64 * steps,
        }
    }
}

impl Node {
    /// The node for moves that end at `last`.
    fn after(points: Arc<[Point]>, last: Point) -> Self {
        let place = points.partition_point(|&point| point <= last);
        Self { points, place, steps: None }
    }
}

impl Scheduler for Exhaustive {
    fn begin(&mut self) -> bool {
        if self.progress.finished {
            return false;
        }
        match self.next() {
            Some(running) => self.running = running,
            None => {
                self.running = Running::Idle;
                self.progress.finished = true;
            }
        }
        !self.progress.finished
    }

    fn steps(&mut self, at: Point, _: AccessKind) -> u32 {
        match &self.running {
            Running::Counted(schedule) | Running::Told(schedule) => schedule.steps(at),
            Running::Idle => 0,
        }
    }

    fn end(&mut self, ran: &RanSchedule) {
        let (schedule, counted) = match std::mem::replace(&mut self.running, Running::Idle) {
            Running::Idle => return,
            Running::Counted(schedule) => (schedule, true),
            Running::Told(schedule) => (schedule, false),
        };
        let fit = fits(&schedule, ran);
        if counted {
            self.progress.done += 1;
            match fit {
                Ok(()) => {}
                Err(Misfit::NeverCame { .. }) => self.progress.never_came += 1,
                Err(Misfit::FewerSteps { .. }) => self.progress.fewer_steps += 1,
            }
        } else {
            self.progress.told += 1;
        }
        // A schedule that did not run exactly has no extensions: they would extend another schedule.
        let points: Arc<[Point]> = match fit {
            Ok(()) => {
                let inside = ran.points.iter().filter(|(point, _)| point.sample < self.bounds.samples);
                inside.map(|&(point, _)| point).collect()
            }
            Err(_) => Arc::from([]),
        };
        let is_root = schedule.moves.is_empty();
        if (schedule.moves.len() as u64) < u64::from(self.bounds.moves) && (counted || is_root) {
            self.progress.known += self.extensions(&schedule.moves, &points);
        }
        if is_root {
            self.way = vec![Node { points, place: 0, steps: None }];
        } else if counted {
            if (schedule.moves.len() as u64) < u64::from(self.bounds.moves) {
                self.memory.keep(&schedule.moves, points);
            }
        } else if let Some(last) = schedule.moves.last() {
            self.way.push(Node::after(points, last.at));
        }
    }

    fn is_counted(&self) -> bool {
        !matches!(self.running, Running::Told(_))
    }
}

/// The points that follow given moves.
#[derive(Debug, Default)]
struct Memory {
    /// How many bytes are left.
    bytes: usize,
    points: FxHashMap<Box<[Move]>, Arc<[Point]>>,
    /// All different lists of points. Most runs have the same points as another.
    shapes: FxHashSet<Arc<[Point]>>,
}

impl Memory {
    fn points(&self, moves: &[Move]) -> Option<Arc<[Point]>> {
        self.points.get(moves).cloned()
    }

    /// Remembers the points if there is room.
    fn keep(&mut self, moves: &[Move], points: Arc<[Point]>) {
        /// The size of an entry besides its moves.
        const ENTRY: usize = 64;
        let known = self.shapes.get(&points).cloned();
        let shape = if known.is_some() { 0 } else { size_of_val(&*points) + ENTRY };
        let cost = size_of_val(moves) + ENTRY + shape;
        let Some(left) = self.bytes.checked_sub(cost) else { return };
        self.bytes = left;
        let points = known.unwrap_or_else(|| {
            self.shapes.insert(Arc::clone(&points));
            points
        });
        self.points.insert(moves.into(), points);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::toy::Toy;
    use super::*;

    const BOUNDS: ExhaustiveBounds = ExhaustiveBounds { samples: 3, moves: 3, steps: 3 };
    const PLENTY: usize = 1 << 20;

    fn all(bounds: ExhaustiveBounds, shard: Shard, bytes: usize) -> (Vec<Schedule>, ExhaustiveProgress) {
        let mut scheduler = Exhaustive::new(bounds, shard, bytes);
        let runs = Toy::new(bounds.samples).run_all(&mut scheduler);
        (runs.into_iter().map(|ran| ran.schedule).collect(), scheduler.progress())
    }

    /// Computes the same in another way: tries every schedule over all possible points and keeps those that run
    /// exactly.
    fn by_force(bounds: ExhaustiveBounds) -> BTreeSet<Schedule> {
        let toy = Toy::new(bounds.samples);
        let points: Vec<Point> = (0..bounds.samples)
            .flat_map(|sample| (0..6).map(move |access| Point { sample, access, word: 0 }))
            .collect();
        let mut found = BTreeSet::new();
        let mut open = vec![Vec::new()];
        while let Some(moves) = open.pop() {
            let asked = Schedule { moves };
            let mut replay = super::super::replay::ScheduleReplay::new(asked.clone(), 1);
            toy.run_all(&mut replay);
            if replay.fit().is_err() {
                continue;
            }
            if (asked.moves.len() as u64) < u64::from(bounds.moves) {
                for &at in points.iter().filter(|&&at| asked.moves.last().is_none_or(|last| at > last.at)) {
                    for steps in 1..=bounds.steps {
                        open.push(asked.moves.iter().copied().chain([Move { at, steps }]).collect());
                    }
                }
            }
            found.insert(asked);
        }
        found
    }

    #[test]
    fn every_schedule_runs_exactly_once() {
        let (schedules, progress) = all(BOUNDS, Shard::WHOLE, PLENTY);
        let expected = by_force(BOUNDS);
        assert!(expected.len() > 1000, "{}", expected.len());
        assert_eq!(schedules.len(), expected.len());
        assert_eq!(schedules.into_iter().collect::<BTreeSet<_>>(), expected);
        let count = expected.len() as u64;
        assert_eq!((progress.done, progress.known, progress.told), (count, count, 0));
        assert_eq!((progress.never_came, progress.fewer_steps, progress.finished), (0, 0, true));
    }

    #[test]
    fn the_simplest_schedules_come_first_in_an_order_that_does_not_depend_on_memory() {
        let (schedules, _) = all(BOUNDS, Shard::WHOLE, PLENTY);
        let keys: Vec<_> = schedules.iter().map(|one| (one.moves.len(), one.total_steps(), one)).collect();
        assert!(keys.is_sorted());
        let (without, progress) = all(BOUNDS, Shard::WHOLE, 0);
        assert_eq!(without, schedules);
        assert!(progress.told > 0 && progress.told < progress.done / 2, "{progress:?}");
        assert_eq!((progress.known, progress.done), (schedules.len() as u64, schedules.len() as u64));
        let (some, progress_of_some) = all(BOUNDS, Shard::WHOLE, 2000);
        assert_eq!(some, schedules);
        assert!((1..progress.told).contains(&progress_of_some.told), "{progress_of_some:?}");
    }

    #[test]
    fn shards_cover_every_schedule_exactly_once() {
        let (mut whole, _) = all(BOUNDS, Shard::WHOLE, PLENTY);
        let mut parts = Vec::new();
        for index in 1..=4 {
            let shard: Shard = format!("{index}/4").parse().unwrap();
            let (part, progress) = all(BOUNDS, shard, PLENTY);
            assert_eq!((progress.done, progress.known), (part.len() as u64, part.len() as u64));
            assert!(part.len() > whole.len() / 8, "{} of {}", part.len(), whole.len());
            parts.extend(part);
        }
        parts.sort();
        whole.sort();
        assert_eq!(parts, whole);
    }

    #[test]
    fn samples_bound_the_moves_of_the_target() {
        let mut scheduler = Exhaustive::new(ExhaustiveBounds { samples: 1, ..BOUNDS }, Shard::WHOLE, PLENTY);
        let runs = Toy::new(3).run_all(&mut scheduler);
        assert!(runs.len() > 10);
        assert!(runs.iter().flat_map(|ran| &ran.schedule.moves).all(|one| one.at.sample == 0));
        for bounds in [
            ExhaustiveBounds { moves: 0, ..BOUNDS },
            ExhaustiveBounds { steps: 0, ..BOUNDS },
            ExhaustiveBounds { samples: 0, ..BOUNDS },
        ] {
            let mut scheduler = Exhaustive::new(bounds, Shard::WHOLE, PLENTY);
            assert_eq!(Toy::new(1).run_all(&mut scheduler).len(), 1, "{bounds:?}: the schedule without moves");
            assert!(scheduler.progress().finished);
        }
    }

    #[test]
    fn schedules_that_did_not_fit_are_counted_separately() {
        let mut scheduler = Exhaustive::new(ExhaustiveBounds { samples: 1, moves: 2, steps: 3 }, Shard::WHOLE, PLENTY);
        Toy { life: 2, ..Toy::new(1) }.run_all(&mut scheduler);
        let progress = scheduler.progress();
        assert!(progress.fewer_steps > 0 && progress.finished, "{progress:?}");
        assert_eq!(progress.never_came, 0);
        // A rig that is not deterministic: only its first run has a second access.
        let mut scheduler = Exhaustive::new(ExhaustiveBounds { samples: 1, moves: 1, steps: 1 }, Shard::WHOLE, PLENTY);
        let mut accesses = 2;
        while scheduler.begin() {
            let points = (0..accesses).map(|access| (Point { sample: 0, access, word: 0 }, AccessKind::ReadOther));
            let mut ran = RanSchedule { points: points.collect(), ..RanSchedule::default() };
            let moves = ran.points.iter().map(|&(at, kind)| Move { at, steps: scheduler.steps(at, kind) });
            ran.schedule = Schedule::new(moves.collect());
            scheduler.end(&ran);
            accesses = 1;
        }
        assert_eq!((scheduler.progress().done, scheduler.progress().never_came), (3, 1));
    }
}
