//! Tests of the command line, on real interpreters.

#[path = "../common/mod.rs"]
mod common;

mod baseline;
mod bench;
mod bundles;
mod check;
mod findings;
mod hostile;
mod profiles;
mod programs;
mod recorded;
mod refusals;
mod reports;
mod reproducer;
mod shards;
mod shipped_profiler;
mod snapshots;
mod starting;
mod triage;
