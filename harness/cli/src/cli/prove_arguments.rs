//! The arguments of `prove`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use framewalk::weakening::Weakening;
use sim::prove::options::{MemoryOrder, Reads, SoughtStack};
use sim::variation::Variation;

use crate::cli::report_arguments::Reports;
use crate::cli::shared_arguments::Format;
use crate::cli::values::{all_weakenings, named, simulated_workloads, variations};

/// Arguments of `prove`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Prove {
    /// The walker to test
    #[arg(long, value_name = "WALKER", default_value = "own-reference", help_heading = "Walker")]
    pub walker: ProvedWalker,
    /// Leave this check out of the walker; repeatable
    #[arg(long, value_name = "NAME", value_parser = all_weakenings(), help_heading = "Walker")]
    pub weaken: Vec<Weakening>,
    /// What the simulated interpreter runs; repeatable [default: everything]
    #[arg(long, value_name = "NAME", value_parser = simulated_workloads(), help_heading = "Interpreter")]
    pub workload: Vec<&'static str>,
    /// Let the interpreter differ from CPython 3.15.2 in this; repeatable
    #[arg(long, value_name = "NAME", value_parser = variations(), help_heading = "Interpreter")]
    pub vary: Vec<Variation>,
    /// When the walker sees the interpreter's stores, and the interpreter the walker's
    #[arg(long, value_name = "ORDER", value_parser = named::<MemoryOrder>(), default_value = "sc", help_heading = "Interpreter")]
    pub memory: MemoryOrder,
    /// Let another profiler anchor a thread's current frame at any moment; with a number, at most that often
    #[arg(long, value_name = "TIMES", num_args = 0..=1, require_equals = true, value_parser = clap::value_parser!(u8).range(1..=100), help_heading = "Interpreter")]
    pub other_profiler: Option<Option<u8>>,
    /// Number of samples that the walker takes
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Search")]
    pub samples: u32,
    /// What counts as wrong
    #[arg(long, value_name = "CLAUSE", value_parser = named::<SoughtStack>(), default_value = "not-there", help_heading = "Search")]
    pub clause: SoughtStack,
    /// What the interpreter may move between
    #[arg(long, value_name = "READS", value_parser = named::<Reads>(), default_value = "words", help_heading = "Search")]
    pub reads: Reads,
    /// Give up after this number of states
    #[arg(long, value_name = "N", default_value = "20000000000", help_heading = "Search")]
    pub states: u64,
    /// Save a counterexample as a case in this folder
    #[arg(short, long, value_name = "DIR", help_heading = "Search")]
    pub output: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Where else it is reported.
    #[command(flatten)]
    pub reports: Reports,
}

/// The walkers that can be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum ProvedWalker {
    /// The walker that verifies each of its stacks
    OwnReference,
    /// The cached walker, by the protocol of CPython 3.15
    OwnCached,
    /// The reference walker as first designed: anchor first, without the later checks
    AnchorFirst,
}
