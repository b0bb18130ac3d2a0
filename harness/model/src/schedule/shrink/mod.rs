//! Makes failing cases smaller.

mod moves;
pub mod parameters;
pub mod schedule;

use crate::schedule::Schedule;

/// A schedule with a number of samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// How many samples the walker takes.
    pub samples: u32,
    /// Where the target moves.
    pub schedule: Schedule,
}
