//! Tests of framediff itself, and comparisons with other tools.

pub mod bench;
#[cfg(target_arch = "x86_64")]
pub mod mutants;
pub mod peers;
