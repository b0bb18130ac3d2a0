//! `compare`: compares two reports.

use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print};
use crate::cli::shared_arguments::Format;
use crate::report::compare::compare as compared;
use crate::report::compare::document::ComparisonDocument;

const WIDTH: u16 = 100;

/// Arguments of `compare`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Compare {
    /// The earlier report, of `check`, `merge`, `explore` or `mutants` with --format json
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The later report, of the same verb
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// How the result is printed
    #[arg(long, value_name = "FORMAT", default_value = "human", help_heading = "Run")]
    pub format: Format,
}

pub(super) fn compare(arguments: &Compare) -> Result<Ending, Failure> {
    let document = ComparisonDocument::from(compared(&arguments.old, &arguments.new)?);
    match arguments.format {
        Format::Json => print(&(serde_json::to_string_pretty(&document)? + "\n"))?,
        Format::Human => print(&document.text(WIDTH))?,
    }
    Ok(Ending::Judged(document.verdict))
}
