//! The command line: arguments, exit codes, verbs.

pub mod arguments;
mod attach;
mod baseline;
mod bench;
pub mod bench_arguments;
mod builds;
mod bundled;
mod bundles;
#[cfg(target_arch = "x86_64")]
mod cases;
mod check;
pub mod check_arguments;
mod check_run;
pub mod compare;
#[cfg(target_arch = "x86_64")]
mod conform;
pub mod defaults;
pub mod dispatch;
pub mod emit_unittest;
pub mod exit;
#[cfg(target_arch = "x86_64")]
mod explanation;
#[cfg(target_arch = "x86_64")]
mod explore;
pub mod findings;
mod folder;
mod interrupt;
pub mod merge;
#[cfg(target_arch = "x86_64")]
mod mutant_steps;
#[cfg(target_arch = "x86_64")]
mod mutants;
pub mod mutants_arguments;
#[cfg(target_arch = "x86_64")]
mod opened;
mod output;
mod profile;
pub mod profile_arguments;
mod prove;
pub mod prove_arguments;
pub mod replay_command;
mod replays;
mod report;
pub mod report_arguments;
mod reports;
#[cfg(target_arch = "x86_64")]
mod reproducers;
mod rows;
pub mod shared_arguments;
pub mod shells;
mod snapshots;
#[cfg(target_arch = "x86_64")]
mod stand_ins;
pub mod stepped_arguments;
mod threads;
#[cfg(target_arch = "x86_64")]
mod triage;
#[cfg(target_arch = "x86_64")]
pub mod triage_arguments;
#[cfg(target_arch = "x86_64")]
mod unwinder_mutants;
mod values;
