//! What tests framediff itself, and what compares it with others.

pub mod bench;
#[cfg(target_arch = "x86_64")]
pub mod mutants;
pub mod peers;
