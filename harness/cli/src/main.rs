//! The `framediff` command.

use std::process::ExitCode;

use clap::Parser;
use framediff::cli::arguments::Cli;
use framediff::cli::verbs::run_command;

fn main() -> ExitCode {
    run_command(Cli::parse())
}
