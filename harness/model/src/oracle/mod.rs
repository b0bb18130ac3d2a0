//! The oracles: they judge samples.

pub mod attribution;
pub mod cause;
pub mod differential;
pub mod distribution;
pub mod episodes;
pub mod hits;
pub mod limits;
pub mod markers;
pub mod profile;
pub mod proportion;
pub mod protocol;
pub mod rejections;
pub mod statistics;
pub mod tally;
