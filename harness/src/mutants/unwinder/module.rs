//! A build whose interpreter imports a patched `_remote_debugging`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thiserror::Error;

use super::{Findings, ModuleError, NotViable, OtherBytes, apply, find};
use crate::mutants::script::{quoted, write};
use crate::target::build::{Build, BuildError, ask, probe};

/// Writes where the module is, with what no terminal may change.
const SCRIPT: &str =
    "import os, sys, _remote_debugging; sys.stdout.buffer.write(os.fsencode(_remote_debugging.__file__))";
/// The switches that drivers are started with, so that the module is the one that they import.
const SWITCHES: [&str; 5] = ["-s", "-P", "-S", "-B", "-c"];

/// Why no copy is there to be run.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The interpreter does not tell where its module is.
    #[error("{} does not tell where its module _remote_debugging is: {why}", python.display())]
    NoModule {
        /// The interpreter.
        python: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no module that can be looked at.
    #[error("{}: {source}", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ModuleError,
    },
    /// The fault is not viable.
    #[error(transparent)]
    NotViable(#[from] NotViable),
    /// The patches are for another file.
    #[error(transparent)]
    OtherBytes(#[from] OtherBytes),
    /// The interpreter does not start with the copy.
    #[error("it does not start with the copy: {0}")]
    Probe(#[from] BuildError),
    /// It imports another module than the copy.
    #[error("the copy at {} was not imported, but {}", copy.display(), imported.display())]
    OtherModule {
        /// The copy.
        copy: PathBuf,
        /// What was imported.
        imported: PathBuf,
    },
}

/// The module of a build.
pub struct Module {
    python: PathBuf,
    path: PathBuf,
    bytes: Vec<u8>,
    findings: Findings,
}

impl Module {
    /// Finds the module of `build`, and what can be done to it.
    ///
    /// # Errors
    /// The interpreter has none, or none that can be looked at.
    pub fn of(build: &Build) -> Result<Self, CopyError> {
        let path = path(&build.python)?;
        let bytes = fs::read(&path).map_err(|source| CopyError::File { path: path.clone(), source })?;
        let findings = find(&bytes).map_err(|source| CopyError::Module { path: path.clone(), source })?;
        Ok(Self { python: build.python.clone(), path, bytes, findings })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What can be done to it.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// A copy with a fault, in a folder of its own within `parent`, which goes with what is returned.
    ///
    /// # Errors
    /// As [`Self::kept_with`].
    pub fn with(&self, fault: super::Fault, parent: &Path) -> Result<Patched, CopyError> {
        let folder =
            tempfile::tempdir_in(parent).map_err(|source| CopyError::File { path: parent.to_owned(), source })?;
        let build = self.write(fault, folder.path())?;
        Ok(Patched { build, _folder: Some(folder) })
    }

    /// A copy with a fault, in a folder that is made for it and stays.
    ///
    /// # Errors
    /// The fault is not viable, or the copy cannot be written or is not imported.
    pub fn kept_with(&self, fault: super::Fault, folder: &Path) -> Result<Patched, CopyError> {
        Ok(Patched { build: self.write(fault, folder)?, _folder: None })
    }

    fn write(&self, fault: super::Fault, folder: &Path) -> Result<Build, CopyError> {
        let patched = apply(&self.bytes, self.findings.patches(fault)?)?;
        let io = |path: &Path, source| CopyError::File { path: path.to_owned(), source };
        // Nothing else may be in the folder that is searched for modules first.
        let library = folder.join("library");
        fs::create_dir_all(&library).map_err(|source| io(&library, source))?;
        let copy = library.join(self.path.file_name().unwrap_or_default());
        fs::write(&copy, patched).map_err(|source| io(&copy, source))?;
        let script = folder.join("python");
        let text = [
            b"#!/bin/sh\nPYTHONPATH=".to_vec(),
            quoted(library.as_os_str()),
            b" exec ".to_vec(),
            quoted(self.python.as_os_str()),
            b" \"$@\"\n".to_vec(),
        ];
        write(&script, &text.concat()).map_err(|source| io(&script, source))?;
        let imported = path(&script)?;
        if imported != copy {
            return Err(CopyError::OtherModule { copy, imported });
        }
        Ok(probe(&script)?)
    }
}

/// A build with a patched module; one that is not kept is there until this is dropped.
pub struct Patched {
    /// The build. Its interpreter is the original's, and says so.
    pub build: Build,
    _folder: Option<TempDir>,
}

/// The file of the module that `python` imports.
fn path(python: &Path) -> Result<PathBuf, CopyError> {
    let none = |why: String| CopyError::NoModule { python: python.to_owned(), why };
    let arguments = [&SWITCHES[..], &[SCRIPT]].concat();
    let answer = ask(python, &arguments).map_err(|error| none(error.to_string()))?;
    Ok(PathBuf::from(OsString::from_vec(answer)))
}
