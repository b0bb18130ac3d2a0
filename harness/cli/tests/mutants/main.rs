//! Interpreters and unwinders with a fault, and whether it is found.

#[path = "../common/mod.rs"]
mod common;

mod hits;
mod hunt;
mod image;
mod stand_ins;
mod unittest_file;
mod unwinder;
