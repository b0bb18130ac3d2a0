//! Differential testing of CPython's remote-profiling frame cache.
//!
//! Data flows one way: a [`target::build`] runs a generated [`workload`] as a target; a [`lane`] decides how the
//! target and the [`walk`]ers are interleaved; every walk is a [`sample::Sample`] that the [`oracle`]s judge against
//! the definition in [`invariants`]; what they find becomes [`report`] events. [`check`] spreads all of it over a budget.
//! A [`snapshot`] is what walkers read of a target, in a file.
//!
//! The pure parts ([`memory`] traits, [`layout`], [`walk`], [`invariants`], [`workload`], [`oracle`]) know nothing of
//! processes, clocks or terminals. [`fuzzing`] checks parts of them on inputs that nobody thought of, and [`case`] keeps
//! such inputs.

pub mod bench;
pub mod case;
pub mod check;
pub mod cli;
#[cfg(target_arch = "x86_64")]
pub mod conform;
#[cfg(target_arch = "x86_64")]
pub mod explore;
pub mod frame;
pub mod fuzzing;
pub mod invariants;
pub mod lane;
pub mod layout;
pub mod memory;
#[cfg(target_arch = "x86_64")]
pub mod mutants;
pub mod oracle;
pub mod peers;
pub mod prove;
pub mod report;
pub mod sample;
pub mod schedule;
pub mod sim;
pub mod snapshot;
pub mod stack;
pub mod stores;
pub mod target;
pub mod walk;
pub mod workload;
