//! Makes failing cases small.

mod moves;
pub mod parameters;
pub mod schedule;
