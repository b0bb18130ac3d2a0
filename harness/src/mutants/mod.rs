//! Mutants: interpreters with a known fault in an update of anchor and sequence, made from an installed build without its
//! source. A harness is worth what it kills.
//!
//! [`image::Image`] finds the updates in the machine code of a build and writes copies of it with a [`fault::Fault`] in one of
//! them, or in all; [`install`] makes such a copy a build that can be run.

pub mod code;
pub mod coverage;
pub mod fault;
pub mod history;
pub mod hunt;
pub mod image;
pub mod install;
pub mod judge;
pub mod opcodes;
pub mod peers;
pub mod report;
pub mod site;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod unwinder;
pub mod weakened;
