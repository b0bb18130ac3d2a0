//! Saved cases: decoded, versioned, readable files that replay on any toolchain.
//!
//! A case of a fuzz target:
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
//! `target` is one of [`fuzzing::TARGETS`](crate::fuzzing::TARGETS). `case` is a value of its case type, as serde
//! writes it. For cases of the stepped lane see [`stepped`].
//!
//! The bytes that a fuzzer mutates are never saved: they get another meaning as soon as the type changes.

pub mod envelope;
pub mod error;
pub mod file;
pub mod format;
pub mod kept;
pub mod line;
mod pretty;
pub mod stepped;
pub mod verdict;
