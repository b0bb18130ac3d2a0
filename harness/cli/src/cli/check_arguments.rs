//! The arguments of `check`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::lane::Lane;
use model::run::document::Defaults;
use model::run::finding::Fingerprint;
use model::schedule::shard::Shard;
use model::workload::Family;

use crate::cli::report_arguments::Reports;
use crate::cli::shared_arguments::{BuildSource, Format, Jit, Judging, Size};
use crate::cli::values::{
    Configurations, budget, check_jobs, configuration, families, fingerprint, lanes, seed, walkers, weakenings,
};

/// The default budget of `check`.
const DEFAULT_BUDGET: &str = "60s";
/// Options that make no sense with a user's own program. Such a program has no family and no schedules, and runs in
/// one cell for each build.
const PROGRAM_EXCLUDES: [&str; 9] =
    ["family", "depth", "width", "speed", "frame_size", "names", "schedules", "profiles", "shard"];

/// Options that make no sense with a base: it decides what fails, and both runs must be whole.
const BASELINE_EXCLUDES: [&str; 4] = ["strict", "until", "shard", "weaken"];

/// Arguments of `check`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Check {
    /// The builds under test.
    #[command(flatten)]
    pub source: BuildSource,
    /// Test only this run mode of each build
    #[arg(long, value_name = "MODE", help_heading = "Builds")]
    pub jit: Option<Jit>,
    /// Which cells of the matrix run.
    #[command(flatten)]
    pub selection: Selection,
    /// Run this Python program instead of generated ones, in the stopped lane; with --lane live, in the live lane. Walkers
    /// are compared with each other, and with the program's own account where it imports and calls `framediff_gate.gate()`.
    /// The program runs in the current folder, with no input. The stopped lane restarts it when it ends. Its arguments come
    /// after --
    #[arg(long, value_name = "FILE", help_heading = "Selection", conflicts_with_all = PROGRAM_EXCLUDES)]
    pub program: Option<PathBuf>,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS", requires = "program", help_heading = "Selection")]
    pub arguments: Vec<String>,
    /// How the workloads look.
    #[command(flatten)]
    pub size: Size,
    /// Time limit of the run, shared fairly among its cells. Cells that did not run are listed. Work in progress may overrun
    /// the limit by 15 % and two seconds. Finding the builds does not count
    #[arg(long, value_name = "TIME", default_value = DEFAULT_BUDGET, value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// Stopped lane: the number of stops of each target for each cached walker. The budget is then only a limit, so the
    /// speed of the machine does not decide what is tested
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Run")]
    pub stops: Option<u32>,
    /// Stepped lane: the number of schedules for each program, recorded ones first, then random ones. The budget is then
    /// only a limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Run")]
    pub schedules: Option<u32>,
    /// End the run at the first violation with this fingerprint, as the replay line of a report does. The exit code is 1, or 0
    /// if the violation is known. A run that does not show it is inconclusive, never a pass
    #[arg(long, value_name = "FINGERPRINT", value_parser = fingerprint, help_heading = "Run")]
    pub until: Option<Fingerprint>,
    /// Number of targets that run at once, at most eight per core [default: three for two cores, because a stopped target
    /// leaves its core idle]
    #[arg(long, value_name = "N", value_parser = check_jobs, help_heading = "Run")]
    pub jobs: Option<NonZeroUsize>,
    /// Live lane: compare each walker's profile with the true one. This takes a sixth of the time and is advice: it does not
    /// change the verdict
    #[arg(long, help_heading = "Run")]
    pub profiles: bool,
    /// Write a bundle of each distinct failure to this folder, for `replay` and `explain` on another machine
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub bundles: Option<PathBuf>,
    /// How the result is judged.
    #[command(flatten)]
    pub judging: Judging,
    /// Judge the build against this one: an interpreter, which then runs the same programs, stops and schedules first, or the
    /// JSON report of its `check`. Only what the base does not show fails the run. Without --stops and --schedules, the
    /// budget decides how many there are, and both runs have the same; they take about one budget each
    #[arg(long, value_name = "BASE", requires = "python", conflicts_with_all = BASELINE_EXCLUDES, help_heading = "Verdict")]
    pub baseline: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
    /// Defaults for these options, as TOML: keys are their long names, paths are relative to the file. The command line wins
    /// [default: framediff.toml in this folder, or above it within the checkout]
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<PathBuf>,
    /// Read no file with defaults
    #[arg(long, conflicts_with = "config", help_heading = "Run")]
    pub no_config: bool,
    /// What a file decided.
    #[arg(skip)]
    pub defaults: Option<Defaults>,
}

/// Which cells of the matrix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Selection")]
pub struct Selection {
    /// Run only this family of workloads; repeatable
    #[arg(long, value_name = "NAME", value_parser = families())]
    pub family: Vec<Family>,
    /// Run only this lane; repeatable
    #[arg(long, value_name = "LANE", value_parser = lanes())]
    pub lane: Vec<Lane>,
    /// Use only this walker and the walkers it is compared with; repeatable
    #[arg(long, value_name = "WALKER", value_parser = walkers())]
    pub walker: Vec<WalkerKind>,
    /// Make CPython's unwinder with these options; repeatable: each cell then runs with every one. Some of gc, native, opcodes, threads=all|main|active, mode=wall|cpu|gil|all|exception, no-skip and
    /// no-statistics, separated by commas; or all, for few of them that have every pair [default: gc,threads=main, as
    /// profiling.sampling has it, and a share of all that the seed picks]
    #[arg(long, value_name = "OPTIONS", value_parser = configuration)]
    pub configuration: Vec<Configurations>,
    /// The seed of the workloads, decimal or 0x... [default: random, and printed]
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,
    /// Run only part K of N, so that N machines can share a run with one seed; `merge` joins their reports
    #[arg(long, value_name = "K/N", requires = "seed", default_value_t = Shard::WHOLE)]
    pub shard: Shard,
    /// Put this known fault into framediff's cached walker, to see that it is found; repeatable
    #[arg(long, value_name = "NAME", value_parser = weakenings())]
    pub weaken: Vec<Weakening>,
}
