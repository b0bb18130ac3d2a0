//! Makes failing cases smaller.

mod moves;
pub mod parameters;
pub mod schedule;
