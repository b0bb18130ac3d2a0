//! The arguments of `triage`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::shared_arguments::BuildSource;
use crate::cli::values::budget;

/// Arguments of `triage`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Triage {
    /// A folder with everything that the runs of one night wrote: JSON reports, also of shards, bundles and saved cases
    #[arg(value_name = "NIGHT")]
    pub night: PathBuf,
    /// The folder of the night before
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub before: Option<PathBuf>,
    /// Write an issue's text, a reproducer and the smallest case of each new failure into this folder, and all cases
    /// that are worth replaying the next night
    #[arg(short, long, value_name = "DIR", help_heading = "Run")]
    pub output: Option<PathBuf>,
    /// Time limit to shrink a failure, and to find a reproducer for it
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = budget, help_heading = "Run")]
    pub limit: Duration,
    /// Known failures [default: the list that comes with framediff]
    #[arg(long, value_name = "FILE", help_heading = "Verdict")]
    pub known: Option<PathBuf>,
    /// The builds on which failures are shrunk; without the build of a failure, it is reported as it was seen.
    #[command(flatten)]
    pub source: BuildSource,
}
