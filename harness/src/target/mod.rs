//! Real interpreters: builds, launching them on workloads, gates, and CPython's own unwinder.

pub mod build;
