//! Saved cases of fuzz targets: decoded, versioned, readable files that replay on any toolchain.
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
//! The bytes that a fuzzer mutates are never kept: they mean something else as soon as the type changes.

pub mod error;
pub mod file;
mod pretty;
pub mod verdict;
