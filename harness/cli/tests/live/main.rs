//! Targets as they run: gates, memory, unwinders, `framediff attach`, and what a sample costs.

#[path = "../common/mod.rs"]
mod common;

mod attach;
mod forks;
mod target;
mod walk_costs;
