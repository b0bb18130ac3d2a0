//! Who moves when, between a walker and its target: the decisions of the stepped lane.
//!
//! A walker reads and writes the target's memory access by access. Just before each access is a [`Point`], at which the
//! target may move: it does some *steps*, and one step is one store to the thread state's `current_frame`, anchor or
//! sequence. A [`Schedule`] is the list of these moves; together with the workload it decides everything that happens.
//!
//! Whoever runs both sides (the rig) asks a [`Scheduler`] at every point and tells it afterwards what took place:
//! ```text
//! while scheduler.begin() {
//!     // target and walker stand where every schedule starts
//!     for every point, in order { move the target by scheduler.steps(point, kind) steps }
//!     scheduler.end(&ran);
//! }
//! ```
//! Nothing in here knows of processes, clocks or terminals.

pub mod cast;
pub mod cause;
pub mod clause;
pub mod cost;
mod digest;
pub mod event;
pub mod exhaustive;
pub mod fingerprint;
pub mod pct;
mod point;
pub mod random;
pub mod repeat;
pub mod replay;
pub mod shape;
pub mod shard;
pub mod shrink;
#[cfg(any(test, feature = "fixtures"))]
#[allow(missing_docs, clippy::new_without_default, reason = "test data: each name says what it is")]
pub mod story;
mod text;
#[cfg(test)]
mod toy;
pub mod trace;

pub use digest::Digest;
pub use point::{AccessKind, Point};
use serde::{Deserialize, Serialize};
pub use text::BadSchedule;

/// The target moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Move {
    /// Where.
    pub at: Point,
    /// By how many steps: stores of the interpreter to `current_frame`, anchor or sequence.
    pub steps: u32,
}

/// All moves of the target, in order; nowhere else does it move.
///
/// Its text is a comma-separated list of `SAMPLE.ACCESS:STEPS`, or `SAMPLE.ACCESS/WORD:STEPS` inside of a torn read:
/// `0.3:12,1.0:4,1.5/2:1`. That of a schedule without moves is `-`. Points increase strictly, and every move has steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    /// The moves, sorted by point, at most one at each.
    pub moves: Vec<Move>,
}

impl Schedule {
    /// The schedule of these moves, in any order: those at one point are added up, those of no step are left out.
    #[must_use]
    pub fn new(mut moves: Vec<Move>) -> Self {
        moves.retain(|one| one.steps > 0);
        moves.sort_unstable();
        moves.dedup_by(|later, kept| {
            let same = later.at == kept.at;
            if same {
                kept.steps = kept.steps.saturating_add(later.steps);
            }
            same
        });
        Self { moves }
    }

    /// The steps at a point; zero nearly everywhere.
    #[must_use]
    pub fn steps(&self, at: Point) -> u32 {
        self.moves.binary_search_by_key(&at, |one| one.at).map_or(0, |index| self.moves[index].steps)
    }

    /// The steps of all moves.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
        self.moves.iter().map(|one| u64::from(one.steps)).sum()
    }

    /// Whether the target moves inside of a sample; otherwise it moves between samples only.
    #[must_use]
    pub fn moves_inside_samples(&self) -> bool {
        self.moves.iter().any(|one| !one.at.is_between_samples())
    }
}

/// What a run of a schedule was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// The moves that took place. It differs from what was asked for where a point never came, or where the target had
    /// fewer steps left.
    pub schedule: Schedule,
    /// All points that came, in order, with the access that followed.
    pub points: Vec<(Point, AccessKind)>,
    /// For each of `points`, a digest of all that must be the same when the schedule runs again: what the target did there,
    /// and what the access read or wrote. Empty if nothing was digested.
    pub contents: Vec<u64>,
    /// For each sample that ended, a digest of what the walker returned. Empty if nothing was digested.
    pub results: Vec<u64>,
}

/// Decides where the target moves, schedule by schedule.
pub trait Scheduler {
    /// Turns to the next schedule; false if there is none left.
    fn begin(&mut self) -> bool;

    /// How many steps the target does at this point, just before an access of that kind. Asked at every point, in order.
    fn steps(&mut self, at: Point, kind: AccessKind) -> u32;

    /// Takes note of how the schedule ran. Called once for each `begin` that was true, also if the run ended early.
    fn end(&mut self, ran: &Ran);

    /// Whether the schedule that was begun counts. One that does not is run for what it tells of others (its points, or
    /// whether it can be repeated) and counts elsewhere, where its verdict is told.
    fn is_counted(&self) -> bool {
        true
    }
}

impl<S: Scheduler + ?Sized> Scheduler for &mut S {
    fn begin(&mut self) -> bool {
        (**self).begin()
    }

    fn steps(&mut self, at: Point, kind: AccessKind) -> u32 {
        (**self).steps(at, kind)
    }

    fn end(&mut self, ran: &Ran) {
        (**self).end(ran);
    }

    fn is_counted(&self) -> bool {
        (**self).is_counted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sample: u32, access: u32) -> Point {
        Point { sample, access, word: 0 }
    }

    #[test]
    fn moves_are_brought_into_order() {
        let one = |sample, access, steps| Move { at: at(sample, access), steps };
        let schedule = Schedule::new(vec![one(1, 0, 2), one(0, 3, 1), one(1, 0, 3), one(0, 4, 0)]);
        assert_eq!(schedule.moves, [one(0, 3, 1), one(1, 0, 5)]);
        assert_eq!((schedule.steps(at(1, 0)), schedule.steps(at(0, 4)), schedule.total_steps()), (5, 0, 6));
        assert!(schedule.moves_inside_samples());
        assert!(!Schedule::new(vec![one(1, 0, 2)]).moves_inside_samples());
    }
}
