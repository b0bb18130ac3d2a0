//! CPython's shipped sampling profiler, `python -m profiling.sampling`, run as a user calls it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use model::workload::grammar::WORKLOAD_FILE;
use thiserror::Error;

use crate::build::BuildVariant;
use crate::gate::GO;
use crate::python_run::{PythonRun, PythonRunError, run_python};

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
    /// The system or the build does not let the profiler work.
    #[error("the profiler cannot be used: {said}: {next}")]
    Refused {
        /// The end of what it wrote to standard error.
        said: String,
        /// What to do about it.
        next: &'static str,
    },
    /// The interpreter could not be started, or did not end.
    #[error(transparent)]
    Python(#[from] PythonRunError),
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
    pub fn run(&self, arguments: &[&str], patience: Duration) -> Result<PythonRun, ProfilingError> {
        self.python(&[&["-m", "profiling.sampling"], arguments].concat(), patience)
    }

    /// The tables of a `pstats` file in the folder, which has a form of Python's own, as JSON.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn tables(&self, file: &str, patience: Duration) -> Result<PythonRun, ProfilingError> {
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

    fn python(&self, arguments: &[&str], patience: Duration) -> Result<PythonRun, ProfilingError> {
        let input = self.folder.join(INPUT);
        let file = File::open(&input).map_err(|source| ProfilingError::File { path: input, source })?;
        Ok(run_python(self.variant, arguments, self.folder, Stdio::from(file), patience)?)
    }
}
