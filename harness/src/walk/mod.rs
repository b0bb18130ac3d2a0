//! Walking a thread's chain of frames over a memory trait: no process, no clock, no sleep.

mod before;
pub mod cache;
pub mod cached;
pub mod chain;
pub mod chunks;
pub mod code;
mod cycle;
pub mod location_table;
pub mod miss;
pub mod raw_frame;
pub mod reference;
pub mod rejection;
mod roster;
pub mod shared;
pub mod text;
pub mod thread_state;
pub mod uncached;
pub mod walker;
pub mod weakening;
