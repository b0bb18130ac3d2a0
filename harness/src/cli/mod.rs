//! The command line: arguments, exit codes, verbs.

pub mod arguments;
mod bench;
pub mod bench_arguments;
#[cfg(target_arch = "x86_64")]
mod cases;
#[cfg(target_arch = "x86_64")]
mod conform;
pub mod exit;
#[cfg(target_arch = "x86_64")]
mod explore;
mod folder;
#[cfg(target_arch = "x86_64")]
mod mutants;
pub mod mutants_arguments;
mod prove;
pub mod replay;
mod report;
pub mod report_arguments;
mod reports;
mod rows;
mod snapshots;
pub mod stepped_arguments;
#[cfg(target_arch = "x86_64")]
mod unwinder_mutants;
mod values;
pub mod verbs;
