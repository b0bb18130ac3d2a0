//! Tests of the command line, on real interpreters.

#[path = "../common/mod.rs"]
mod common;

mod baseline;
mod bench;
mod bundles;
mod check;
mod hostile;
mod profiles;
mod programs;
mod recorded;
mod refusals;
mod reports;
mod reproducer;
mod shards;
mod snapshots;
mod starting;
mod triage;
