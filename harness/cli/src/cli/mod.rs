//! The command line: arguments, exit codes, verbs.

pub mod arguments;
mod bench;
pub mod bench_arguments;
mod bundles;
#[cfg(target_arch = "x86_64")]
mod cases;
pub mod compare;
#[cfg(target_arch = "x86_64")]
mod conform;
pub mod emit_unittest;
pub mod exit;
#[cfg(target_arch = "x86_64")]
mod explore;
mod folder;
pub mod merge;
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
#[cfg(target_arch = "x86_64")]
mod stand_ins;
pub mod stepped_arguments;
#[cfg(target_arch = "x86_64")]
mod unwinder_mutants;
mod values;
pub mod verbs;
