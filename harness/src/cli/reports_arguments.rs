//! What can be said to the verbs that work on reports.

use std::path::PathBuf;

use clap::Args;

use crate::cli::arguments::Format;

/// Arguments of `merge`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Merge {
    /// Reports of `check --shard K/N --format json`
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Known failures [default: the list that comes with framediff]
    #[arg(long, value_name = "FILE", help_heading = "Verdict")]
    pub known: Option<PathBuf>,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
    /// Write the merged report to this file as JSON, too
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: Option<PathBuf>,
}

/// Arguments of `compare`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Compare {
    /// The earlier report, of `check`, `merge` or `explore` with --format json
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The later report, of the same verb
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
}
