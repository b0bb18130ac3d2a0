//! Conformance: the same schedules on the simulated interpreter and on the real one.
//!
//! A random [`sim::program::SimProgram`] is [drawn](draw::draw) and [translated](python::translate) into Python, so that
//! one round of its `main` is one round of the workload. A [`Rig`](crate::stepped::Rig) runs the Python program under a
//! walker and randomly drawn schedules. The simulated interpreter runs the same program under the same schedule and the
//! same walker code (for CPython's own unwinder, our walker of its protocol). Both must report the same: each store to
//! current frame, anchor and sequence; the chain after each store to the current frame, with the lines of all its
//! frames; each access of the walker, with what it read; and each result. Addresses are compared by identity:
//! throughout a schedule, each address of one interpreter corresponds to exactly one of the other. So a frame reuses
//! the address of another frame in both or in neither.
//!
//! The real interpreter is right by definition. A disagreement is a fault of the simulated one, and so of what
//! [`sim::prove`] shows.

pub mod draw;
pub mod family;
mod given;
mod legal;
mod pairing;
pub mod python;
mod show;
mod simulated;
mod story;
mod trial;

pub use self::trial::{Compared, ConformError, Conformance, Disagreement, Trial};
