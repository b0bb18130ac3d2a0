//! Walking a thread's chain of frames over a memory trait: no process, no clock, no sleep.

pub mod miss;
pub mod rejection;
