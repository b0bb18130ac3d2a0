//! CPython's shipped sampling profiler, `python -m profiling.sampling`, run as a user calls it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use std::{env, io};

use model::workload::grammar::WORKLOAD_FILE;
use thiserror::Error;

use crate::build::BuildVariant;
use crate::build::run::{RunError, run_with_input};
use crate::deadline::CalledOff;
use crate::gate::GO;
use crate::own_stops;

/// How much of each output stream is kept, in bytes. The profiler prints a few lines; `replay` prints its progress.
const OUTPUT: u64 = 4 << 20;

/// The file that is the standard input of profiler and program. The program waits for its byte.
const INPUT: &str = "input";

/// Writes the tables of a `pstats` file as JSON: file, line, function, own and cumulative samples.
const TABLES: &str = "import json, marshal, sys
tables = marshal.load(open(sys.argv[1], 'rb'))
print(json.dumps([[*key, *row[:2]] for key, row in tables.items() if len(key) == 3]))";

/// Why the profiler has no result.
#[derive(Debug, Error)]
pub enum ProfilingError {
    /// A file for the profiler could not be written or read.
    #[error("cannot use {}: {source}; free some space there, or set TMPDIR to another folder", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The interpreter could not be started.
    #[error("cannot start {}: {source}", python.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The profiler did not end. It was killed together with its target.
    #[error("`{command}` had not ended after {seconds} s and was killed")]
    Hangs {
        /// The command, from `profiling.sampling` on.
        command: String,
        /// How long it ran, in seconds.
        seconds: u64,
    },
    /// The system or the build does not let the profiler work.
    #[error("the profiler cannot be used: {said}: {next}")]
    Refused {
        /// The end of what it wrote to standard error.
        said: String,
        /// What to do about it.
        next: &'static str,
    },
    /// The user interrupted the run, or its budget is spent. The profiler was killed together with its target.
    #[error(transparent)]
    CalledOff(#[from] CalledOff),
}

/// What the profiler left when it ended by itself.
#[derive(Clone, Debug)]
pub struct ProfilerRun {
    /// How it ended.
    pub status: ExitStatus,
    /// What it and its target wrote to standard output.
    pub stdout: String,
    /// What they wrote to standard error.
    pub stderr: String,
}

/// The profiler of a build, in a folder with a free-running program.
#[derive(Debug)]
pub struct ShippedProfiler<'a> {
    variant: &'a BuildVariant,
    folder: &'a Path,
}

impl<'a> ShippedProfiler<'a> {
    /// Writes the program `source` to `folder`, in which the profiler will run.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn new(variant: &'a BuildVariant, folder: &'a Path, source: &str) -> Result<Self, ProfilingError> {
        for (name, content) in [(WORKLOAD_FILE, source.as_bytes()), (INPUT, &[GO][..])] {
            let path = folder.join(name);
            fs::write(&path, content).map_err(|source| ProfilingError::File { path, source })?;
        }
        Ok(Self { variant, folder })
    }

    /// Runs `python -m profiling.sampling` with these arguments until it ends, for `patience` at most. No process
    /// outlives the call.
    ///
    /// # Errors
    /// It cannot be started or does not end, or the run is over.
    pub fn run(&self, arguments: &[&str], patience: Duration) -> Result<ProfilerRun, ProfilingError> {
        self.python(&[&["-m", "profiling.sampling"], arguments].concat(), patience)
    }

    /// The tables of a `pstats` file in the folder, which has a form of Python's own, as JSON.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn tables(&self, file: &str, patience: Duration) -> Result<ProfilerRun, ProfilingError> {
        self.python(&["-c", TABLES, file], patience)
    }

    /// The content of a file that the profiler wrote to the folder.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn file(&self, name: &str) -> Result<Vec<u8>, ProfilingError> {
        let path = self.folder.join(name);
        fs::read(&path).map_err(|source| ProfilingError::File { path, source })
    }

    /// Writes a file for the profiler to the folder.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), ProfilingError> {
        let path = self.folder.join(name);
        fs::write(&path, content).map_err(|source| ProfilingError::File { path, source })
    }

    fn python(&self, arguments: &[&str], patience: Duration) -> Result<ProfilerRun, ProfilingError> {
        let build = &self.variant.build;
        let input = self.folder.join(INPUT);
        let file = File::open(&input).map_err(|source| ProfilingError::File { path: input, source })?;
        // The command's folder is another one, so a relative path would be searched there.
        let mut command = self.variant.command_at(&std::path::absolute(&build.python).unwrap_or(build.python.clone()));
        let (jit, _) = self.variant.jit.variable();
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PYTHON")) {
            if name != jit {
                command.env_remove(name);
            }
        }
        // The locale decides how the profiler writes numbers.
        command.env("LC_ALL", "C").env("PYTHONUTF8", "1").env("NO_COLOR", "1");
        // The profiler starts its target without these arguments, as it does for every user.
        command.args(&build.arguments).args(arguments).current_dir(self.folder).stdin(Stdio::from(file));
        let mark = own_stops::marker(self.folder);
        command.env(mark.name, mark.value);
        let output = run_with_input(&mut command, patience, OUTPUT).map_err(|error| match error {
            RunError::Start(source) | RunError::Wait(source) => {
                ProfilingError::Start { python: build.python.clone(), source }
            }
            RunError::Deadline => {
                let command = arguments.iter().copied().skip(1).collect::<Vec<_>>().join(" ");
                ProfilingError::Hangs { command, seconds: patience.as_secs() }
            }
            RunError::CalledOff(why) => why.into(),
        })?;
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(ProfilerRun { status: output.status, stdout, stderr })
    }
}
