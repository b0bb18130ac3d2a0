//! Tests the walkers on an array of bytes: every hit, miss and rejection, and what each weakening lets through.

#![allow(clippy::unwrap_used, reason = "a failure of the fixture is a failure of the test")]

mod answers;
mod as_cpython;
mod code_objects;
mod damaged;
mod moving;
mod target;
