//! Builds whose interpreter imports another `_remote_debugging` than its own: from a folder that stands in `PYTHONPATH`, which an
//! interpreter searches before its own library.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use process::build::{Build, BuildError, ask, probe};
use tempfile::TempDir;
use thiserror::Error;

use super::script::{quoted, write};

/// Writes where the module is, with what no terminal may change.
const SCRIPT: &str =
    "import os, sys, _remote_debugging; sys.stdout.buffer.write(os.fsencode(_remote_debugging.__file__))";
/// The switches that drivers are started with, so that the module is the one that they import.
pub(super) const SWITCHES: [&str; 5] = ["-s", "-P", "-S", "-B", "-c"];

/// Why there is no such build.
#[derive(Debug, Error)]
pub enum ReplaceError {
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
    /// The interpreter does not start with the other module.
    #[error("it does not start with the other module: {0}")]
    Probe(#[from] BuildError),
    /// It imports another one still.
    #[error("the module at {} was not imported, but {}", meant.display(), imported.display())]
    OtherModule {
        /// The one that is meant.
        meant: PathBuf,
        /// What was imported.
        imported: PathBuf,
    },
}

/// The file of the module that `python` imports.
///
/// # Errors
/// It has none, or does not run.
pub fn module_of(python: &Path) -> Result<PathBuf, ReplaceError> {
    let none = |why: String| ReplaceError::NoModule { python: python.to_owned(), why };
    let arguments = [&SWITCHES[..], &[SCRIPT]].concat();
    let answer = ask(python, &arguments).map_err(|error| none(error.to_string()))?;
    Ok(PathBuf::from(OsString::from_vec(answer)))
}

/// A module to be imported in place of a build's own.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// The interpreter.
    pub python: &'a Path,
    /// The name of the module's file.
    pub file: &'a OsStr,
    /// What is in it.
    pub bytes: &'a [u8],
}

impl Module<'_> {
    /// The build with this module, in `folder`, which stays; without one in a folder within `parent`, which goes with what
    /// is returned.
    ///
    /// # Errors
    /// It cannot be written, or is not imported.
    pub fn installed(&self, folder: Option<&Path>, parent: &Path) -> Result<Replaced, ReplaceError> {
        if let Some(folder) = folder {
            return Ok(Replaced { build: self.install(folder)?, _folder: None });
        }
        let folder =
            tempfile::tempdir_in(parent).map_err(|source| ReplaceError::File { path: parent.to_owned(), source })?;
        Ok(Replaced { build: self.install(folder.path())?, _folder: Some(folder) })
    }

    fn install(&self, folder: &Path) -> Result<Build, ReplaceError> {
        let io = |path: &Path, source| ReplaceError::File { path: path.to_owned(), source };
        // Nothing else may be in the folder that is searched for modules first.
        let library = folder.join("library");
        fs::create_dir_all(&library).map_err(|source| io(&library, source))?;
        let meant = library.join(self.file);
        fs::write(&meant, self.bytes).map_err(|source| io(&meant, source))?;
        let script = folder.join("python");
        let text = [
            b"#!/bin/sh\nPYTHONPATH=".to_vec(),
            quoted(library.as_os_str()),
            b" exec ".to_vec(),
            quoted(self.python.as_os_str()),
            b" \"$@\"\n".to_vec(),
        ];
        write(&script, &text.concat()).map_err(|source| io(&script, source))?;
        let imported = module_of(&script)?;
        if imported != meant {
            return Err(ReplaceError::OtherModule { meant, imported });
        }
        Ok(probe(&script)?)
    }
}

/// A build with another module; one that is not kept is there until this is dropped.
pub struct Replaced {
    /// The build. Its interpreter is the original's, and says so.
    pub build: Build,
    _folder: Option<TempDir>,
}
