//! The main job: the matrix of rows, lanes and families, run within a budget.

use std::time::Duration;

/// The budget of `check` where none is given.
pub const BUDGET: Duration = Duration::from_secs(60);
/// The confidence of its comparisons where none is given.
pub const CONFIDENCE: f64 = 0.9999;
/// How often the action and `mutants` stop each target of the stopped lane for each cached walker.
pub const STOPS: u32 = 300;
/// How many schedules of the stepped lane they run for each program: all that are kept for it, and as many drawn ones as
/// there is time for.
pub const SCHEDULES: u32 = 600;

pub mod plan;
pub mod run;
#[cfg(target_arch = "x86_64")]
pub mod stepped;
