//! The `framediff` command.

use std::process::ExitCode;

use clap::Parser;
use framediff::cli::arguments::Cli;
use framediff::cli::dispatch::run_command;

fn main() -> ExitCode {
    run_command(Cli::parse())
}
