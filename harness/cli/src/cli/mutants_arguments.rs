//! The arguments of `mutants`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::report_arguments::Reports;
use crate::cli::shared_arguments::{BuildSource, Format, Jit};
use crate::cli::values::{budget, seed};

/// Arguments of `mutants`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Mutants {
    /// The builds under test.
    #[command(flatten)]
    pub source: BuildSource,
    /// Use only this run mode of each build [default: both]
    #[arg(long, value_name = "MODE", help_heading = "Builds")]
    pub jit: Option<Jit>,
    /// Only mutants whose name contains this, such as `sequence-kept`, `@everywhere`, `@3` or `stand-in/`; repeatable [default: all]
    #[arg(long, value_name = "TEXT", help_heading = "Mutants")]
    pub mutant: Vec<String>,
    /// List the sites, the instructions that reach them, and the mutants; check none
    #[arg(long, help_heading = "Mutants")]
    pub list: bool,
    /// Keep the mutants in this folder, each in a folder of its own with a `python` to run
    #[arg(long, value_name = "DIR", conflicts_with = "list", help_heading = "Mutants")]
    pub keep: Option<PathBuf>,
    /// The seed of the programs, decimal or 0x...
    #[arg(long, value_name = "N", value_parser = seed, default_value = "1", help_heading = "Run")]
    pub seed: u64,
    /// Time limit for each mutant. The number of stops and schedules is fixed, as in the action
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// Number of checks of the unchanged original
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Run")]
    pub control: u32,
    /// Also run CPython's own tests of remote inspection on each mutant; they are fetched if necessary
    #[arg(long, help_heading = "Peers")]
    pub peers: bool,
    /// The folder with CPython's own test_external_inspection.py [default: the build's own library, or what is fetched]
    #[arg(long, value_name = "DIR", requires = "peers", help_heading = "Peers")]
    pub peer_tests: Option<PathBuf>,
    /// On mutants of a single site, run all of test_external_inspection instead of only TestFrameCaching
    #[arg(long, requires = "peers", help_heading = "Peers")]
    pub whole: bool,
    /// Known failures [default: the list that comes with framediff]
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub known: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Human, help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}
