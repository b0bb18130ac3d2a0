//! The arguments of `mutants`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::shared_arguments::{BuildSource, Format, Jit};
use crate::cli::values::{budget, seed};

/// Arguments of `mutants`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Mutants {
    /// Which builds.
    #[command(flatten)]
    pub source: BuildSource,
    /// Only the builds' run mode of that name [default: both]
    #[arg(long, value_name = "MODE", help_heading = "Builds")]
    pub jit: Option<Jit>,
    /// Only mutants with this in their name, as `sequence-kept`, `@everywhere`, `@3` or `stand-in/`; repeatable [default: all]
    #[arg(long, value_name = "TEXT", help_heading = "Mutants")]
    pub mutant: Vec<String>,
    /// Show the sites, what reaches them and the mutants, and check none
    #[arg(long, help_heading = "Mutants")]
    pub list: bool,
    /// Keep the mutants in this folder, one folder each with a `python` to start
    #[arg(long, value_name = "DIR", conflicts_with = "list", help_heading = "Mutants")]
    pub keep: Option<PathBuf>,
    /// The seed of the programs, decimal or 0x...
    #[arg(long, value_name = "N", value_parser = seed, default_value = "1", help_heading = "Run")]
    pub seed: u64,
    /// The time after which a mutant is given up; what is tested is given by number, as in the action
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// How often the original is checked like a mutant
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Run")]
    pub control: u32,
    /// Also run CPython's own tests of remote inspection on each mutant; they are fetched if need be
    #[arg(long, help_heading = "Peers")]
    pub peers: bool,
    /// The folder with CPython's own test_external_inspection.py [default: the build's own library, or what is fetched]
    #[arg(long, value_name = "DIR", requires = "peers", help_heading = "Peers")]
    pub peer_tests: Option<PathBuf>,
    /// Run all of test_external_inspection on mutants of a single site, too, instead of its TestFrameCaching alone
    #[arg(long, requires = "peers", help_heading = "Peers")]
    pub whole: bool,
    /// Read known failures from this file instead of the list that came with framediff
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub known: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Human, help_heading = "Run")]
    pub format: Format,
}
