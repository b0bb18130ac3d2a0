//! Mutants: interpreters with a known fault in an update of anchor and sequence, made from an installed build without its
//! source; and unwinders, CPython's own and this project's, with a check left out. A harness is worth what it kills.
//!
//! [`image::Image`] finds the updates in the machine code of a build and writes copies of it with a [`fault::Fault`] in one of
//! them, or in all; [`install`] makes such a copy a build that can be run. [`unwinder`] does the same to the module
//! `_remote_debugging`, and [`weakened`] to this project's walkers; a [`stand_in`] wraps that module in Python. [`peers`] asks CPython's own tests of each.

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
pub mod replaced;
pub mod report;
mod script;
pub mod site;
pub mod stand_in;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod unwinder;
pub mod weakened;
