//! Conformance: the same schedules on the simulated interpreter and on the real one.
//!
//! A random [`sim::program::Program`] is [drawn](draw::draw) and [translated](python::translate) into Python, so
//! that one round of its `main` is one round of the workload. A [`Rig`](crate::stepped::Rig) runs the Python under a walker and schedules that
//! are drawn as well; the simulated interpreter runs the program under the same code of the walker (for CPython's own, the
//! one that follows its protocol) and the same schedule. They must tell the same: each store to current frame, anchor and
//! sequence, the chain after each store to the current frame with the lines of all its frames, each access of the walker
//! with what it read, and each answer. Addresses are compared as identities: each of one interpreter must stand for one
//! of the other throughout a schedule, so that a frame stands where another one stood in both or in neither.
//!
//! The real interpreter is right. A disagreement is a fault of the simulated one, and thus of what [`sim::prove`] shows.

pub mod draw;
pub mod family;
mod given;
mod legal;
mod pairing;
pub mod python;
mod show;
mod simulated;
mod told;
mod trial;

pub use self::trial::{Compared, ConformError, Conformance, Disagreement, Trial};
