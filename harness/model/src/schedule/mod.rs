//! Schedules: the decisions of the stepped lane. They determine when the target moves between the accesses of a walker.
//!
//! A walker reads and writes the target's memory access by access. Just before each access is a [`Point`], at which the
//! target may move. It then does some *steps*; one step is one store to the thread state's `current_frame`, anchor or
//! sequence. A [`Schedule`] is the list of these moves. Together with the workload, it determines everything that
//! happens.
//!
//! The code that runs both sides (the rig) asks a [`Scheduler`] at every point, and reports to it afterwards what took
//! place:
//! ```text
//! while scheduler.begin() {
//!     // target and walker are where every schedule starts
//!     for every point, in order { move the target by scheduler.steps(point, kind) steps }
//!     scheduler.end(&ran);
//! }
//! ```
//! This module does not depend on processes, clocks or terminals.

pub mod cast;
pub mod cause;
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

/// A move of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Move {
    /// The point at which it moves.
    pub at: Point,
    /// The number of steps: stores of the interpreter to `current_frame`, anchor or sequence.
    pub steps: u32,
}

/// All moves of the target, in order. The target moves nowhere else.
///
/// The text form is a comma-separated list of `SAMPLE.ACCESS:STEPS`, or `SAMPLE.ACCESS/WORD:STEPS` inside a torn read:
/// `0.3:12,1.0:4,1.5/2:1`. A schedule without moves is written `-`. Points increase strictly, and every move has steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    /// The moves, sorted by point, at most one at each.
    pub moves: Vec<Move>,
}

impl Schedule {
    /// The schedule of these moves, given in any order. Moves at the same point are added up, and moves without steps
    /// are left out.
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

    /// The steps at a point; zero if the target does not move there.
    #[must_use]
    pub fn steps(&self, at: Point) -> u32 {
        self.moves.binary_search_by_key(&at, |one| one.at).map_or(0, |index| self.moves[index].steps)
    }

    /// The sum of the steps of all moves.
    #[must_use]
    pub fn total_steps(&self) -> u64 {
        self.moves.iter().map(|one| u64::from(one.steps)).sum()
    }

    /// Whether the target moves inside a sample. Otherwise it moves only between samples.
    #[must_use]
    pub fn moves_inside_samples(&self) -> bool {
        self.moves.iter().any(|one| !one.at.is_between_samples())
    }
}

/// The record of a run of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RanSchedule {
    /// The moves that took place. They differ from the requested ones if a point never occurred, or if the target had
    /// fewer steps left.
    pub schedule: Schedule,
    /// All points that occurred, in order, each with the kind of the access that followed.
    pub points: Vec<(Point, AccessKind)>,
    /// For each of `points`, a digest of everything that must be the same when the schedule runs again: what the target
    /// did there, and what the access read or wrote. Empty if nothing was digested.
    pub contents: Vec<u64>,
    /// For each sample that ended, a digest of the walker's result. Empty if nothing was digested.
    pub results: Vec<u64>,
}

/// Decides where the target moves, one schedule after another.
pub trait Scheduler {
    /// Begins the next schedule. Returns false after the last one.
    fn begin(&mut self) -> bool;

    /// How many steps the target does at this point, just before an access of this kind. Called at every point, in
    /// order.
    fn steps(&mut self, at: Point, kind: AccessKind) -> u32;

    /// Receives the record of the run. Called once after each `begin` that returned true, even if the run ended early.
    fn end(&mut self, ran: &RanSchedule);

    /// Whether the current schedule counts. A run that does not count only provides information about other schedules:
    /// their points, or whether they can be repeated. Its schedule counts in another run, which is judged.
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

    fn end(&mut self, ran: &RanSchedule) {
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
    fn moves_are_sorted() {
        let one = |sample, access, steps| Move { at: at(sample, access), steps };
        let schedule = Schedule::new(vec![one(1, 0, 2), one(0, 3, 1), one(1, 0, 3), one(0, 4, 0)]);
        assert_eq!(schedule.moves, [one(0, 3, 1), one(1, 0, 5)]);
        assert_eq!((schedule.steps(at(1, 0)), schedule.steps(at(0, 4)), schedule.total_steps()), (5, 0, 6));
        assert!(schedule.moves_inside_samples());
        assert!(!Schedule::new(vec![one(1, 0, 2)]).moves_inside_samples());
    }
}
