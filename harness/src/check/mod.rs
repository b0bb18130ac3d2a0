//! The main job: the matrix of rows, lanes and families, run within a budget.

pub mod plan;
pub mod run;
#[cfg(target_arch = "x86_64")]
pub mod stepped;
