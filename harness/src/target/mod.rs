//! Real interpreters: builds, launching them on workloads, gates, and CPython's own unwinder.

pub mod build;
mod child;
pub(crate) mod confined;
pub mod deadline;
pub mod gate;
pub mod maps;
pub mod memory;
pub mod own_stops;
mod pipe;
pub mod process;
pub mod program;
pub mod runtime;
pub(crate) mod script;
pub(crate) mod spawner;
#[cfg(target_arch = "x86_64")]
pub mod stepper;
#[cfg(target_arch = "x86_64")]
pub mod trace;
mod unwind_reply;
pub mod unwinder;
