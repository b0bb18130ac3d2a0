//! The command line: arguments, exit codes, verbs.

pub mod arguments;
pub mod exit;
mod folder;
mod prove;
pub mod replay;
mod snapshots;
mod values;
pub mod verbs;
