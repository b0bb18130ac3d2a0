//! Mutants: interpreters with a known fault in an update of anchor and sequence, made from an installed build without
//! its source; and unwinders, CPython's and this project's, with a check left out. They measure which faults the
//! harness finds.
//!
//! [`image::BinaryImage`] finds the updates in the machine code of a build, and writes copies with a [`fault::Fault`] in one
//! or all of them. [`install`] turns such a copy into a build that can be run. [`unwinder`] patches the module
//! `_remote_debugging`, and [`weakened`] weakens this project's walkers. A [`stand_in`] wraps that module in Python.
//! [`peers`] runs CPython's own tests against each mutant.

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
pub mod register;
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
