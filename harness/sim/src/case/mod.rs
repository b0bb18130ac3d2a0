//! Saved cases: decoded, versioned, readable files that replay on any toolchain.
//!
//! One of a fuzz target:
//!
//! ```json
//! {
//!   "format": "framediff-case",
//!   "version": 1,
//!   "target": "text",
//!   "note": "the last code point of one byte",
//!   "case": {"units": {"Two": [255, 256]}, "rest": [0, 0, 0]}
//! }
//! ```
//! `target` is one of [`fuzzing::TARGETS`](crate::fuzzing::TARGETS), `case` is its type of cases as serde writes it.
//! One of the stepped lane has another kind, see [`stepped`].
//!
//! The bytes that a fuzzer mutates are never kept: they mean something else as soon as the type changes.

pub mod envelope;
pub mod error;
pub mod file;
pub mod kept;
pub mod line;
mod pretty;
pub mod stepped;
pub mod verdict;
