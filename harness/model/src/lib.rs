//! The specification of a correct sample, the oracles that check it, and the vocabulary of a run.

pub mod account;
pub mod digest;
pub mod files;
pub mod findings;
pub mod history;
pub mod invariants;
pub mod jit_mode;
pub mod json;
pub mod lane;
pub mod oracle;
pub mod run;
pub mod schedule;
pub mod seconds;
pub mod workload;
