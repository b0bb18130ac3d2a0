//! Tests of the stepped lane: real targets and samplers, store by store, and how well the simulated interpreter
//! matches them.

#[path = "../common/mod.rs"]
mod common;

mod conformance;
mod corpus;
mod explore;
mod rig;
mod several;
#[cfg(target_arch = "x86_64")]
mod stepper;
mod store_order;
mod thread_exit;
