//! Dispatches the command line to its verb.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::ColorChoice;

use crate::cli::arguments::{Cli, Verb};
use crate::cli::exit::Ending;
use crate::cli::interrupt::{INTERRUPTED, interrupted};
use crate::cli::output::{Failure, tell};
use crate::cli::{
    attach, bench, builds, check, compare, emit_unittest, findings, interrupt, merge, profile, prove, replays, report,
    shells, snapshots, threads,
};
#[cfg(target_arch = "x86_64")]
use crate::cli::{cases, conform, explore, mutants, reproducers, triage};

/// Runs the verb and returns the exit code.
#[must_use]
pub fn run_command(cli: Cli) -> ExitCode {
    match cli.color {
        // A user who wants none anywhere has them nowhere, whatever else the environment forces.
        ColorChoice::Auto if std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) => {}
        ColorChoice::Auto => console::set_colors_enabled(false),
        ColorChoice::Always => console::set_colors_enabled(true),
        ColorChoice::Never => console::set_colors_enabled(false),
    }
    let result = threads::limited(|| run(cli));
    match result {
        Ok(ending) => ending.code().into(),
        Err(_) if interrupted() => Ending::Interrupted.code().into(),
        Err(error) => {
            tell(&format!("framediff: {error}"));
            Ending::NotSetUp.code().into()
        }
    }
}

/// Reports a command line that is not run: it is wrong, or asks for the help or the version.
#[must_use]
pub fn not_run(error: &clap::Error) -> ExitCode {
    let controls = |argument: &OsString| argument.to_string_lossy().contains(char::is_control);
    if error.use_stderr() && std::env::args_os().any(|argument| controls(&argument)) {
        // Without clap's colours, which could not be told from those in the arguments.
        tell(error.to_string().trim_end());
    } else if let Err(why) = error.print().and_then(|()| std::io::stdout().flush()) {
        tell(&format!("framediff: cannot write to standard output: {why}"));
        return Ending::NotSetUp.code().into();
    }
    if error.use_stderr() { Ending::NotSetUp.code().into() } else { Ending::PASS.code().into() }
}

fn run(cli: Cli) -> Result<Ending, Failure> {
    interrupt::install()?;
    match cli.verb() {
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Builds(arguments) => builds::builds(&arguments),
        Verb::Attach(arguments) => attach::attach_to(&arguments),
        Verb::Snapshot(arguments) => snapshots::record(&arguments, &INTERRUPTED),
        Verb::Report(arguments) => report::report(&arguments),
        Verb::Replay(arguments) => replays::replay(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Explore(arguments) => explore::explore(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Shrink(arguments) => cases::shrink(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Explain(arguments) => cases::explain(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Reproducer(arguments) => reproducers::reproducer(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Conform(arguments) => conform::conform(&arguments, &INTERRUPTED),
        #[cfg(target_arch = "x86_64")]
        Verb::Mutants(arguments) => mutants::run(&arguments, &INTERRUPTED),
        #[cfg(not(target_arch = "x86_64"))]
        Verb::Mutants(_) => Err("mutants are made on x86-64 machines only".into()),
        #[cfg(not(target_arch = "x86_64"))]
        Verb::Conform(_) | Verb::Explore(_) | Verb::Shrink(_) | Verb::Explain(_) | Verb::Reproducer(_) => {
            Err("the stepped lane needs an x86-64 machine".into())
        }
        Verb::Bench(arguments) => bench::bench(&arguments, &INTERRUPTED),
        Verb::Profile(arguments) => profile::profile_builds(&arguments, &INTERRUPTED),
        Verb::Findings(arguments) => findings::findings(&arguments, &INTERRUPTED),
        Verb::Prove(arguments) => prove::prove(&arguments, &INTERRUPTED),
        Verb::Merge(arguments) => merge::merge(&arguments),
        Verb::Compare(arguments) => compare::compare(&arguments),
        #[cfg(target_arch = "x86_64")]
        Verb::Triage(arguments) => triage::triage(&arguments, &INTERRUPTED),
        Verb::EmitUnittest(arguments) => emit_unittest::emit(&arguments),
        Verb::Completions(arguments) => shells::completions(&arguments),
        Verb::Man(arguments) => shells::man(&arguments),
    }
}
