//! Interpreters: which are found, fetched and known, and what they say of code, programs and their own tests.

#[path = "../common/mod.rs"]
mod common;

mod build_folder;
mod builds;
mod code_objects;
mod fetch;
mod peers;
mod sanitizers;
mod workloads;
