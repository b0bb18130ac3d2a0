//! Peers: other test suites with which framediff is compared.
//!
//! A fault that framediff finds and a peer misses shows what framediff is for. A fault that a peer finds and framediff
//! misses is a gap. [`cpython_tests`] runs CPython's own tests of remote inspection.

pub mod cpython_tests;
mod group;
