//! The `check` command: runs the matrix of rows, lanes and families within a budget.

use std::time::Duration;

/// The default budget of `check`.
pub const BUDGET: Duration = Duration::from_secs(60);
/// The default confidence of its comparisons.
pub const CONFIDENCE: f64 = 0.9999;
/// How often the GitHub action and `mutants` stop each target of the stopped lane, for each cached walker.
pub const STOPS: u32 = 300;
/// How many schedules of the stepped lane the action and `mutants` run for each program: the kept ones, then as many
/// drawn ones as time permits.
pub const SCHEDULES: u32 = 600;

mod configurations;
pub mod plan;
pub mod run;
#[cfg(target_arch = "x86_64")]
pub mod stepped;
