//! Tests of interpreters and unwinders with a fault: is it found?

#[path = "../common/mod.rs"]
mod common;

mod hits;
mod hunt;
mod image;
mod stand_ins;
mod unittest_file;
mod unwinder;
