//! The `framediff` command. All of it is in the library, so that tests can call it.

use std::process::ExitCode;

use framediff::cli::defaults;
use framediff::cli::dispatch::{not_run, run_command};
use process::guard::was_guard;

fn main() -> ExitCode {
    if was_guard() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = std::env::args_os().collect();
    match defaults::parse(&words) {
        Ok(cli) => run_command(cli),
        Err(error) => not_run(&error),
    }
}
