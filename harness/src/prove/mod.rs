//! Exhaustive search: whether a walker can ever return a stack that was not there.
//!
//! [`graph`] enumerates what a simulated program can do, [`walk`] runs the real walker against all of it at once,
//! [`search`] goes from sample to sample until nothing new comes, and [`replay`] turns what went wrong into a scenario.

pub mod explore;
pub mod found;
pub mod graph;
pub mod replay;
pub mod search;
pub mod set;
pub mod space;
pub mod trace;
pub mod walk;
