//! The arguments of the verbs of the stepped lane.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::schedule::AccessKind;
use model::schedule::cast::ProfilerScript;
use model::schedule::shard::Shard;
use model::workload::Family;

use crate::cli::report_arguments::Reports;
use crate::cli::shared_arguments::{BuildSource, Format, Jit, Size};
use crate::cli::values::{accesses, all_weakenings, budget, explore_jobs, families, seed, walkers};

/// With this many schedules, every answer of the cache appears, even if they are random or only one shard of a search.
const MANY: u64 = 500;

/// Arguments of `explore`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Explore {
    /// The builds under test.
    #[command(flatten)]
    pub source: BuildSource,
    /// The run mode of the build
    #[arg(long, value_name = "MODE", default_value = "off", help_heading = "Builds")]
    pub jit: Jit,
    /// The walker to test
    #[arg(long, value_name = "WALKER", value_parser = walkers(), default_value = "cpython-cached", help_heading = "Walker")]
    pub walker: WalkerKind,
    /// Leave this check out of one of framediff's walkers; repeatable
    #[arg(long, value_name = "NAME", value_parser = all_weakenings(), help_heading = "Walker")]
    pub weaken: Vec<Weakening>,
    /// Which profiler takes which sample, and when profilers start and end: alone, alternating, old-and-new, handed-over,
    /// remade, died, or turns as in a+make-b.b+a
    #[arg(long, value_name = "NAME", default_value = "alone", help_heading = "Walker")]
    pub scenario: ProfilerScript,
    /// The family of the workload; repeatable
    #[arg(long, value_name = "NAME", value_parser = families(), default_value = "alternating", help_heading = "Workload (default: a small one)")]
    pub family: Vec<Family>,
    /// The seed of the workload and of random schedules, decimal or 0x...
    #[arg(long, value_name = "N", value_parser = seed, default_value = "25", help_heading = "Workload (default: a small one)")]
    pub seed: u64,
    /// How the workload looks.
    #[command(flatten)]
    pub size: Size,
    /// The order of the schedules
    #[arg(long, value_name = "ORDER", default_value = "exhaustive", help_heading = "Search")]
    pub order: SearchOrder,
    /// Number of samples that the walker takes
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Search")]
    pub samples: u32,
    /// Largest number of moves of the target
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u32).range(0..=64), help_heading = "Search")]
    pub moves: u32,
    /// Largest number of steps in a move [default: those of one round of the workload, up to 24]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Search")]
    pub steps: Option<u32>,
    /// What a step is
    #[arg(long, value_name = "STEP", default_value = "store", help_heading = "Search")]
    pub step: Step,
    /// Let the target move only between samples
    #[arg(long, conflicts_with = "tear", help_heading = "Search")]
    pub at_rest: bool,
    /// Let the target move between the words of a read, too
    #[arg(long, help_heading = "Search")]
    pub tear: bool,
    /// Keep the target still before and during accesses of this kind, to see which failures need a move there; repeatable
    #[arg(long, value_name = "ACCESS", value_parser = accesses(), help_heading = "Search")]
    pub still: Vec<AccessKind>,
    /// Number of random schedules
    #[arg(long, value_name = "N", default_value = "10000", help_heading = "Search")]
    pub schedules: u64,
    /// Only part K of N of an exhaustive search
    #[arg(long, value_name = "K/N", default_value = "1/1", help_heading = "Search")]
    pub shard: ShardArgument,
    /// End at the first failure
    #[arg(long, help_heading = "Search")]
    pub first: bool,
    /// Time limit [default: none, everything runs]
    #[arg(long, value_name = "TIME", value_parser = budget, help_heading = "Run")]
    pub budget: Option<Duration>,
    /// Number of targets that run at once, at most eight per core [default: one per core]
    #[arg(long, value_name = "N", value_parser = explore_jobs, help_heading = "Run")]
    pub jobs: Option<NonZeroUsize>,
    /// Save the simplest case of each kind of failure in this folder
    #[arg(short, long, value_name = "DIR", help_heading = "Run")]
    pub output: Option<PathBuf>,
    /// Write a bundle of the simplest case of each kind of failure to this folder
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub bundles: Option<PathBuf>,
    /// Let known failures fail the run too
    #[arg(long, help_heading = "Verdict")]
    pub strict: bool,
    /// Known failures [default: the list that comes with framediff]
    #[arg(long, value_name = "FILE", help_heading = "Verdict")]
    pub known: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}

impl Explore {
    /// Whether this many schedules are enough to show every answer of the cache that is possible.
    pub(super) fn is_large(&self, schedules: u64) -> bool {
        let is_whole = self.order == SearchOrder::Exhaustive && self.shard == Shard::WHOLE;
        is_whole || schedules >= MANY
    }
}

/// Arguments of `conform`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Conform {
    /// The builds under test.
    #[command(flatten)]
    pub source: BuildSource,
    /// Use only this run mode of each build [default: both]
    #[arg(long, value_name = "MODE", help_heading = "Builds")]
    pub jit: Option<Jit>,
    /// The walker to test
    #[arg(long, value_name = "WALKER", value_parser = walkers(), default_value = "own-cached", help_heading = "Walker")]
    pub walker: WalkerKind,
    /// The family of the programs; repeatable [default: all]
    #[arg(long, value_name = "NAME", help_heading = "Programs")]
    pub family: Vec<String>,
    /// Number of programs of each family
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Programs")]
    pub programs: u64,
    /// The seed of the first program and its schedules, decimal or 0x...; each further program adds one
    #[arg(long, value_name = "N", value_parser = seed, default_value = "0", help_heading = "Programs")]
    pub seed: u64,
    /// Number of random schedules for each program
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Programs")]
    pub schedules: u64,
    /// Time limit [default: none, everything runs]
    #[arg(long, value_name = "TIME", value_parser = budget, help_heading = "Run")]
    pub budget: Option<Duration>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}

/// A shard as written on the command line. Clap needs a type whose errors can be printed.
pub type ShardArgument = Shard;

/// In which order schedules come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum SearchOrder {
    /// All of them, the simplest first
    Exhaustive,
    /// Random, with most moves where the protocol is weakest
    Random,
    /// Probabilistic concurrency testing (PCT)
    Pct,
}

/// What a step of the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Step {
    /// One store to the current frame, the anchor or the sequence; needs hardware watchpoints
    Store,
    /// One such store, or one load of the anchor for a comparison
    Load,
    /// Everything up to the program's next gate
    Gate,
}

/// A case of the stepped lane and where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct OneCase {
    /// A saved case, a bundle, or a case on a line (framediff@...)
    #[arg(value_name = "CASE")]
    pub case: String,
    /// The builds on which the case runs.
    #[command(flatten)]
    pub source: BuildSource,
}

/// Arguments of `shrink`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Shrink {
    /// The case, and the builds on which it runs.
    #[command(flatten)]
    pub case: OneCase,
    /// Number of runs to reduce a schedule; three times as many to find one in a smaller workload
    #[arg(long, value_name = "N", default_value = "2000", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Run")]
    pub runs: u32,
    /// Number of smaller workloads to try
    #[arg(long, value_name = "N", default_value = "40", help_heading = "Run")]
    pub workloads: u32,
    /// Time limit; the smallest case found so far is the result
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = budget, help_heading = "Run")]
    pub budget: Duration,
    /// Save the smaller case in this folder
    #[arg(short, long, value_name = "DIR", help_heading = "Run")]
    pub output: Option<PathBuf>,
}

/// Arguments of `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Explain {
    /// The case, and the builds on which it runs.
    #[command(flatten)]
    pub case: OneCase,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
}

/// Arguments of `reproducer`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Reproducer {
    /// The case, and the builds on which it runs.
    #[command(flatten)]
    pub case: OneCase,
    /// The Python file to write; it must not exist
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: PathBuf,
    /// The build on which the file must pass, if not another build of the same version
    #[arg(long, value_name = "PYTHON", help_heading = "Builds")]
    pub baseline: Option<PathBuf>,
    /// Time limit of the file when it runs, and of the search for it here
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = budget, help_heading = "Run")]
    pub limit: Duration,
}
