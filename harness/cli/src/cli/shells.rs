//! `completions` and `man`: the command line for shells and for `man`, both made from the arguments.

use std::fs;
use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man as Page;

use crate::cli::arguments::Cli;
use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print};

/// Arguments of `completions`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Completions {
    /// The shell. For bash, this goes to ~/.local/share/bash-completion/completions/framediff
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Man {
    /// Write framediff.1, and a page for each verb, to this folder [default: framediff.1 to standard output]
    #[arg(short, long, value_name = "DIR", help_heading = "Run")]
    pub output: Option<PathBuf>,
}

pub(super) fn completions(arguments: &Completions) -> Result<Ending, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "framediff", &mut text);
    print(&String::from_utf8(text)?)?;
    Ok(Ending::PASS)
}

pub(super) fn man(arguments: &Man) -> Result<Ending, Failure> {
    let Some(folder) = &arguments.output else {
        let mut text = Vec::new();
        Page::new(Cli::command()).render(&mut text)?;
        print(&String::from_utf8(text)?)?;
        return Ok(Ending::PASS);
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|error| format!("cannot write the pages to {}: {error}", folder.display()))?;
    Ok(Ending::PASS)
}
