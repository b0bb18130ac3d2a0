//! The stepped lane: real targets and samplers, store by store, and the simulated interpreter's likeness to them.

#[path = "../common/mod.rs"]
mod common;

mod conformance;
mod corpus;
mod explore;
mod rig;
mod several;
mod store_order;
mod thread_exit;
