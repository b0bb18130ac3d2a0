//! Runs Python code on a build as a user would, until it ends.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{env, io};

use thiserror::Error;

use crate::build::BuildVariant;
use crate::build::run::{RunError, run_with_input};
use crate::deadline::CalledOff;
use crate::own_stops;

/// How much of each output stream is kept, in bytes. Scripts print a few lines; the shipped profiler prints its progress.
const OUTPUT: u64 = 4 << 20;

/// Why Python code has no result.
#[derive(Debug, Error)]
pub enum PythonRunError {
    /// The interpreter could not be started.
    #[error("cannot start {}: {source}", python.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// It did not end. It was killed together with its children.
    #[error("`{command}` had not ended after {seconds} s and was killed")]
    Hangs {
        /// The command, without the first argument.
        command: String,
        /// How long it ran, in seconds.
        seconds: u64,
    },
    /// The user interrupted the run, or its budget is spent. The script was killed together with its children.
    #[error(transparent)]
    CalledOff(#[from] CalledOff),
}

/// What a script left when it ended by itself.
#[derive(Clone, Debug)]
pub struct PythonRun {
    /// How it ended.
    pub status: ExitStatus,
    /// What it and its children wrote to standard output.
    pub stdout: String,
    /// What they wrote to standard error.
    pub stderr: String,
}

/// Runs the build with these arguments in `folder`, for `patience` at most. The settings of the user's own Python do not
/// count. No process outlives the call.
///
/// # Errors
/// It cannot be started or does not end, or the run is over.
pub fn run_python(
    variant: &BuildVariant,
    arguments: &[&str],
    folder: &Path,
    input: Stdio,
    patience: Duration,
) -> Result<PythonRun, PythonRunError> {
    let build = &variant.build;
    // The command's folder is another one, so a relative path would be searched there.
    let mut command = variant.command_at(&std::path::absolute(&build.python).unwrap_or(build.python.clone()));
    let (jit, _) = variant.jit.variable();
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PYTHON")) {
        if name != jit {
            command.env_remove(name);
        }
    }
    // The locale decides how numbers are written.
    command.env("LC_ALL", "C").env("PYTHONUTF8", "1").env("NO_COLOR", "1");
    // A script that starts another interpreter does not hand these arguments on, as with every user.
    command.args(&build.arguments).args(arguments).current_dir(folder).stdin(input);
    let mark = own_stops::marker(folder);
    command.env(mark.name, mark.value);
    let output = run_with_input(&mut command, patience, OUTPUT).map_err(|error| match error {
        RunError::Start(source) | RunError::Wait(source) => {
            PythonRunError::Start { python: build.python.clone(), source }
        }
        RunError::Deadline => {
            let command = arguments.iter().copied().skip(1).collect::<Vec<_>>().join(" ");
            PythonRunError::Hangs { command, seconds: patience.as_secs() }
        }
        RunError::CalledOff(why) => why.into(),
    })?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(PythonRun { status: output.status, stdout, stderr })
}
