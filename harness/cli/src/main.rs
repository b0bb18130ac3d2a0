//! The `framediff` command. All of it is in the library, so that tests can call it.

use std::process::ExitCode;

use clap::Parser;
use framediff::cli::arguments::Cli;
use framediff::cli::dispatch::run_command;

fn main() -> ExitCode {
    run_command(Cli::parse())
}
