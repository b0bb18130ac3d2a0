//! The arguments of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use framewalk::sample::WalkerKind;
use lab::bench::document::BenchPart;

use crate::cli::report_arguments::Reports;
use crate::cli::shared_arguments::{BuildSource, Jit};
use crate::cli::values::{budget, seed, walkers};

/// Arguments of `bench`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Bench {
    /// The builds under test.
    #[command(flatten)]
    pub source: BuildSource,
    /// Measure only this run mode of each build
    #[arg(long, value_name = "MODE", help_heading = "Builds")]
    pub jit: Option<Jit>,
    /// Measure only this part; repeatable [default: everything that fits into the time]
    #[arg(long, value_name = "PART", help_heading = "Selection")]
    pub part: Vec<BenchPart>,
    /// Measure stacks with this number of frames; repeatable [default: 1, 10, 100, 1000 and 5000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9000), help_heading = "Selection")]
    pub depth: Vec<u32>,
    /// Measure only this walker and the uncached one it is compared with; repeatable
    #[arg(long, value_name = "WALKER", value_parser = walkers(), help_heading = "Selection")]
    pub walker: Vec<WalkerKind>,
    /// The seed of the order of measurements, decimal or 0x... [default: random, and printed]
    #[arg(long, value_name = "N", value_parser = seed, help_heading = "Run")]
    pub seed: Option<u64>,
    /// Time limit of the run, shared among all points
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// Print the results in this file, from an earlier --format json, and measure nothing
    #[arg(long, value_name = "FILE", help_heading = "Run", conflicts_with_all = ["budget", "depth", "part", "walker", "jit", "python", "seed"])]
    pub from: Option<PathBuf>,
    /// Compare with the results in this file, from an earlier --format json
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub baseline: Option<PathBuf>,
    /// Exit with 1 if anything is slower than in the baseline
    #[arg(long, requires = "baseline", help_heading = "Run")]
    pub fail_if_slower: bool,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: BenchFormat,
    /// Write the result to this file instead
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: Option<PathBuf>,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}

/// How a measurement is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum BenchFormat {
    /// For people: the same as markdown
    Human,
    /// Tables for an issue
    Markdown,
    /// Curves as a picture; the cost to the target is in the tables only
    Svg,
    /// One JSON document with a version field, with all blocks
    Json,
}
