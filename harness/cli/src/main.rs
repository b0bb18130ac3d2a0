//! The `framediff` command. All of it is in the library, so that tests can call it.

use std::process::ExitCode;

use framediff::cli::defaults;
use framediff::cli::dispatch::run_command;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    run_command(defaults::parse(&words).unwrap_or_else(|error| error.exit()))
}
