//! `emit-unittest`: writes a test file for CPython's own tree.

use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print, write};
use crate::report::unittest_file::unittest_file;

/// Arguments of `emit-unittest`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct EmitUnittest {
    /// The file to write; an existing one is replaced [default: standard output]
    #[arg(short, long, value_name = "FILE", help_heading = "Run")]
    pub output: Option<PathBuf>,
}

pub(super) fn emit(arguments: &EmitUnittest) -> Result<Ending, Failure> {
    let text = unittest_file();
    match &arguments.output {
        None => print(&text)?,
        Some(path) => write(path, &text)?,
    }
    Ok(Ending::PASS)
}
