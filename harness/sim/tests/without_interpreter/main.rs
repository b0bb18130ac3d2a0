//! Tests that need no interpreter: walkers on images, searches on the simulated interpreter, and saved cases.

mod cases;
mod proofs;

mod stepped_cases;
mod store_names;
mod store_order;
#[allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "tests; the texts are for real interpreters")]
mod stores;
mod walkers;
mod workloads;
