//! The `framediff` command. All of it is in the library, so that tests can call it.

use std::process::ExitCode;

use clap::Parser;
use framediff::cli::arguments::Cli;
use framediff::cli::dispatch::{not_run, run_command};
use process::guard::was_guard;

fn main() -> ExitCode {
    if was_guard() {
        return ExitCode::SUCCESS;
    }
    match Cli::try_parse() {
        Ok(cli) => run_command(cli),
        Err(error) => not_run(&error),
    }
}
