//! Peers: other test suites that are held against framediff.
//!
//! A fault that framediff reports and a peer passes is what framediff is for; one that a peer reports and framediff passes
//! is a gap. [`cpython_tests`] runs the tests that CPython itself has for remote inspection.

pub mod cpython_tests;
mod group;
