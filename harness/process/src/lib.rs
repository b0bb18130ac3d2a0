//! Processes: Python builds, targets running workloads, their gates, and CPython's own unwinder.

pub mod build;
mod child;
pub mod confined;
pub mod deadline;
pub mod debug_info;
mod descendants;
pub mod gate;
pub mod guard;
pub mod limits;
pub mod maps;
pub mod memory;
pub mod own_stops;
mod pipe;
pub mod profiling;
pub mod program;
pub mod python_run;
pub mod run_folder;
pub mod runtime;
pub mod script;
pub mod spawner;
pub mod target;
#[cfg(target_arch = "x86_64")]
pub mod trace;
mod unwind_reply;
pub mod unwinder;
mod unwinder_error;
