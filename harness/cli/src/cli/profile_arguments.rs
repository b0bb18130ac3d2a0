//! The arguments of `profile`.

use std::time::Duration;

use clap::Args;
use model::workload::Family;

use crate::cli::report_arguments::Reports;
use crate::cli::shared_arguments::{BuildSource, Format, Jit, Size};
use crate::cli::values::{budget, profiled_families, seed};

/// Arguments of `profile`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ProfileArguments {
    /// The builds under test.
    #[command(flatten)]
    pub source: BuildSource,
    /// Use only this run mode of each build [default: both]
    #[arg(long, value_name = "MODE", help_heading = "Builds")]
    pub jit: Option<Jit>,
    /// The family of the program; repeatable
    #[arg(long, value_name = "NAME", value_parser = profiled_families(), default_value = "alternating", help_heading = "Program")]
    pub family: Vec<Family>,
    /// The seed of the program, decimal or 0x...
    #[arg(long, value_name = "N", value_parser = seed, default_value = "1", help_heading = "Program")]
    pub seed: u64,
    /// How the program looks.
    #[command(flatten)]
    pub size: Size,
    /// How long each of the three runs of the profiler samples
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=600), help_heading = "Run")]
    pub seconds: u64,
    /// Time limit
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}
