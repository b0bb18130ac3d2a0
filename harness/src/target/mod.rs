//! Real interpreters: builds, launching them on workloads, gates, and CPython's own unwinder.

pub mod build;
mod child;
pub mod gate;
mod pipe;
pub mod process;
mod runtime;
mod spawner;
mod unwind_reply;
pub mod unwinder;
