//! Arguments that several verbs share.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use model::run::known::KnownFailures;
use model::run::summary::Rules;
use model::workload::parameters::{LEAST_WIDE, MOST_DEEP, MOST_ROUNDS, MOST_WIDE};
use model::workload::{FrameSize, Names, Overrides};
use process::build::BuildOptions;

use crate::cli::output::Failure;
use crate::cli::values::{confidence, frame_size, names};

pub(super) const DEFAULT_CONFIDENCE: f64 = 0.9999;

/// Where builds come from.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Builds")]
pub struct BuildSource {
    /// A CPython to test; repeatable [default: every supported one on PATH, and those with a frame cache that uv
    /// or pyenv installed; else fetched builds]
    #[arg(long, value_name = "PATH")]
    pub python: Vec<PathBuf>,
    /// The header with the order of the offsets of the builds in --python: pycore_debug_offsets.h of their source
    /// [default: debug information, the checkout beside the build, or its include folder]
    #[arg(long, value_name = "FILE")]
    pub layout_header: Option<PathBuf>,
    /// An argument of the interpreters in --python when they run a program; repeatable: --python-arg=-X --python-arg=perf
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, requires = "python")]
    pub python_arg: Vec<String>,
    /// Where fetched builds are kept [default: the user's cache folder]
    #[arg(long, value_name = "DIR", env = "FRAMEDIFF_CACHE")]
    pub cache: Option<PathBuf>,
}

impl BuildSource {
    /// What the user said about the layouts of the builds.
    #[must_use]
    pub fn options(&self) -> BuildOptions {
        BuildOptions { header: self.layout_header.clone(), proved: Vec::new(), arguments: self.python_arg.clone() }
    }
}

/// Overrides of what the seed decides about a workload.
///
/// What no family can do is refused. What one family cannot do and another can is brought down to what it can, because one
/// option is for all families of a run; the help says which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Workload (default: decided by the seed)")]
pub struct Size {
    /// Depth of a branch in frames: 1 to 1400 in deep and recursion, at most 60 in generators and coroutines, at most 200 in
    /// the other families
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DEEP)))]
    pub depth: Option<u32>,
    /// Number of branches, threads or variants: 2 to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_WIDE)..=i64::from(MOST_WIDE)))]
    pub width: Option<u32>,
    /// Rounds of a leaf's loop, up to 1000000: with 0, calls and returns dominate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MOST_ROUNDS)))]
    pub speed: Option<u32>,
    /// Extra locals per frame, up to 1000: N or equal:N for all frames, unequal:N for 0 to N
    #[arg(long, value_name = "N", value_parser = frame_size)]
    pub frame_size: Option<FrameSize>,
    /// The kind of text in function names
    #[arg(long, value_name = "KIND", value_parser = names())]
    pub names: Option<Names>,
}

impl Size {
    /// The same values in the generator's form.
    #[must_use]
    pub fn overrides(self) -> Overrides {
        let Self { depth, width, speed, frame_size, names } = self;
        Overrides { depth, width, frame_size, speed, names }
    }
}

/// How samples become a verdict.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(next_help_heading = "Verdict")]
pub struct Judging {
    /// Let known failures fail the run too
    #[arg(long)]
    pub strict: bool,
    /// Known failures [default: the list that comes with framediff]
    #[arg(long, value_name = "FILE")]
    pub known: Option<PathBuf>,
    /// Confidence of all comparisons of cached with uncached walkers in the run
    #[arg(long, value_name = "P", default_value_t = DEFAULT_CONFIDENCE, value_parser = confidence)]
    pub confidence: f64,
}

impl Judging {
    /// The rules of the verdict, with the known failures from the file.
    pub(super) fn rules(&self) -> Result<Rules, Failure> {
        let known = known_failures(self.known.as_deref())?;
        Ok(Rules { known, strict: self.strict, confidence: self.confidence, sought: None })
    }
}

/// The known failures from a file, or the list that comes with framediff.
pub(super) fn known_failures(path: Option<&Path>) -> Result<KnownFailures, Failure> {
    Ok(match path {
        Some(path) => KnownFailures::load(path)?,
        None => KnownFailures::kept()?,
    })
}

/// The run mode of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Jit {
    /// Run with the JIT on
    On,
    /// Run with the JIT off
    Off,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Format {
    /// Text for people, in the width of the terminal.
    Human,
    /// One JSON document with a version field.
    Json,
}
