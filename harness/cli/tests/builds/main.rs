//! Tests with interpreters: finding, fetching and identifying them, and what they report of code, programs and their
//! own tests.

#[path = "../common/mod.rs"]
mod common;

mod build_folder;
mod builds;
mod calibration;
mod code_objects;
mod fetch;

mod peers;
mod sanitizers;
mod structures;
mod workloads;
