//! Random schedules with most moves where the cache's protocol is most vulnerable.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{AccessKind, Move, Point, RanSchedule, Schedule, Scheduler};

/// The bounds of the schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomBounds {
    /// The largest number of moves.
    pub moves: u32,
    /// The largest number of steps in a move.
    pub steps: u32,
}

/// The scheduler that draws each schedule at random.
///
/// Moves are drawn from the points that occurred in earlier runs. The first run has no moves and provides the first
/// points. A move at a point that does not occur does not take place.
#[derive(Clone, Debug)]
pub struct Random {
    bounds: RandomBounds,
    left: u64,
    random: ChaCha8Rng,
    /// The accesses that occurred, by sample and number.
    met: BTreeMap<(u32, u32), Met>,
    schedule: Schedule,
}

/// An access that occurred.
#[derive(Clone, Copy, Debug)]
struct Met {
    /// How much more likely a move is before this access than before one of weight 1.
    weight: u32,
    /// The last word of this access that has a point before it.
    words: u32,
}

/// Enough steps to leave a frame and enter another.
const FEW: u32 = 6;

impl Random {
    /// `schedules` schedules, determined by `seed`.
    #[must_use]
    pub fn new(seed: u64, schedules: u64, bounds: RandomBounds) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { bounds, left: schedules, random, met: BTreeMap::new(), schedule: Schedule::default() }
    }

    fn draw(&mut self) -> Schedule {
        if self.met.is_empty() || self.bounds.moves == 0 || self.bounds.steps == 0 {
            return Schedule::default();
        }
        let all: u32 = self.met.values().map(|met| met.weight).sum();
        let count = self.random.random_range(1..=self.bounds.moves);
        let moves = (0..count).filter_map(|_| {
            let mut drawn = self.random.random_range(0..all);
            let (&(sample, access), met) = self.met.iter().find(|(_, met)| {
                let here = drawn < met.weight;
                drawn = drawn.saturating_sub(met.weight);
                here
            })?;
            // A torn read counts as one access, however long it is.
            let word =
                if met.words > 0 && self.random.random_bool(0.5) { self.random.random_range(1..=met.words) } else { 0 };
            Some(Move { at: Point { sample, access, word }, steps: steps(&mut self.random, self.bounds.steps) })
        });
        // Of two moves at one point only the first is kept, so that no move has more steps than the bounds allow.
        let mut moves: Vec<Move> = moves.collect();
        moves.sort_by_key(|one| one.at);
        moves.dedup_by_key(|one| one.at);
        Schedule { moves }
    }
}

/// Usually few steps; otherwise a number up to `most`, with each order of magnitude equally likely.
fn steps(random: &mut ChaCha8Rng, most: u32) -> u32 {
    if random.random_bool(0.6) {
        return random.random_range(1..=most.min(FEW));
    }
    let magnitude = random.random_range(0..=most.ilog2());
    random.random_range(1 << magnitude..=most.min(u32::MAX >> (31 - magnitude)))
}

/// How likely a move is before an access of this kind, given the access before it in the same sample.
fn weight(before: Option<AccessKind>, kind: AccessKind) -> u32 {
    match (before, kind) {
        // The walker acts on what it read of the thread state, or writes the anchor for a frame that it read earlier.
        (Some(AccessKind::ReadThreadState), _) | (_, AccessKind::WriteAnchor) => 6,
        // Between samples, or just after the anchor was written.
        (None, _) | (Some(AccessKind::WriteAnchor), _) => 4,
        // The walker checks whether its cached frames are still valid.
        (_, AccessKind::ReadAnchor) => 2,
        _ => 1,
    }
}

impl Scheduler for Random {
    fn begin(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.schedule = self.draw();
        true
    }

    fn steps(&mut self, at: Point, _: AccessKind) -> u32 {
        self.schedule.steps(at)
    }

    fn end(&mut self, ran: &RanSchedule) {
        let mut before: Option<(u32, AccessKind)> = None;
        for &(at, kind) in &ran.points {
            if at.word == 0 {
                let before_it = before.filter(|&(sample, _)| sample == at.sample).map(|(_, kind)| kind);
                let met = Met { weight: weight(before_it, kind), words: 0 };
                self.met.entry((at.sample, at.access)).and_modify(|known| known.weight = met.weight).or_insert(met);
                before = Some((at.sample, kind));
            } else if let Some(met) = self.met.get_mut(&(at.sample, at.access)) {
                met.words = met.words.max(at.word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::toy::Toy;
    use super::*;

    const BOUNDS: RandomBounds = RandomBounds { moves: 3, steps: 40 };

    fn schedules(toy: Toy, seed: u64, bounds: RandomBounds) -> Vec<RanSchedule> {
        toy.run_all(&mut Random::new(seed, 400, bounds))
    }

    #[test]
    fn a_seed_gives_the_same_schedules_within_their_bounds() {
        let toy = Toy::new(3);
        let runs = schedules(toy, 5, BOUNDS);
        assert_eq!(runs, schedules(toy, 5, BOUNDS));
        assert_ne!(runs, schedules(toy, 6, BOUNDS));
        assert_eq!(runs.len(), 400);
        let moves = || runs.iter().flat_map(|ran| &ran.schedule.moves);
        assert!(runs.iter().all(|ran| ran.schedule.moves.len() <= 3));
        assert!(runs.iter().any(|ran| ran.schedule.moves.len() == 3));
        assert!(moves().all(|one| (1..=40).contains(&one.steps)));
        assert!(moves().any(|one| one.steps == 1) && moves().any(|one| one.steps > 32));
    }

    #[test]
    fn most_moves_are_at_critical_accesses_and_some_everywhere() {
        let runs = schedules(Toy { words: 500, ..Toy::new(2) }, 1, BOUNDS);
        let mut counts: BTreeMap<(AccessKind, bool), usize> = BTreeMap::new();
        for ran in &runs {
            for one in &ran.schedule.moves {
                let index = ran.points.binary_search_by_key(&one.at, |&(at, _)| at).unwrap();
                *counts.entry((ran.points[index].1, one.at.word > 0)).or_default() += 1;
            }
        }
        let count = |kind, torn| counts.get(&(kind, torn)).copied().unwrap_or(0);
        assert!(count(AccessKind::WriteAnchor, false) > 3 * count(AccessKind::ReadFrame, false), "{counts:?}");
        assert!(count(AccessKind::ReadChunk, true) > 0 && count(AccessKind::ReadFrame, false) > 0, "{counts:?}");
        assert!(count(AccessKind::ReadChunk, true) < runs.len(), "torn reads are long, not likely: {counts:?}");
    }

    #[test]
    fn bounds_of_zero_give_no_moves() {
        for bounds in [RandomBounds { moves: 0, ..BOUNDS }, RandomBounds { steps: 0, ..BOUNDS }] {
            assert!(schedules(Toy::new(1), 1, bounds).iter().all(|ran| ran.schedule.moves.is_empty()));
        }
        let single = schedules(Toy::new(1), 1, RandomBounds { moves: 1, steps: 1 });
        assert!(single.iter().any(|ran| ran.schedule.total_steps() == 1));
        assert!(single.iter().all(|ran| ran.schedule.total_steps() <= 1));
    }
}
