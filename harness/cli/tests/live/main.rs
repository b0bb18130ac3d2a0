//! Tests of running targets: gates, memory, unwinders, `framediff attach`, and the cost of a sample.

#[path = "../common/mod.rs"]
mod common;

mod attach;
mod forks;
mod target;
mod walk_costs;
