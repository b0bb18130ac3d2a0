//! Builds whose interpreter imports a replacement for its own `_remote_debugging`. The replacement is in a folder in
//! `PYTHONPATH`, which an interpreter searches before its own library.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use process::build::{Build, BuildError, ask, probe};
use tempfile::TempDir;
use thiserror::Error;

use super::script::{quoted, write};

/// Prints the module's path as bytes.
const SCRIPT: &str =
    "import os, sys, _remote_debugging; sys.stdout.buffer.write(os.fsencode(_remote_debugging.__file__))";
/// The switches with which drivers are started, so that the same module is found.
pub(super) const SWITCHES: [&str; 5] = ["-s", "-P", "-S", "-B", "-c"];

/// Why a build with a replaced module could not be made.
#[derive(Debug, Error)]
pub enum ReplaceError {
    /// The interpreter does not report the path of its module.
    #[error("cannot find the module _remote_debugging of {}: {why}", python.display())]
    NoModule {
        /// The interpreter that was asked for its module.
        python: PathBuf,
        /// The error of asking it.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file that could not be written.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The interpreter does not start with the replaced module.
    #[error("it does not start with the replaced module: {0}")]
    Probe(#[from] BuildError),
    /// The interpreter still imports another module.
    #[error("the module at {} was not imported, but {}", meant.display(), imported.display())]
    OtherModule {
        /// The module that should have been imported.
        meant: PathBuf,
        /// The module that was imported instead.
        imported: PathBuf,
    },
}

/// The file of the `_remote_debugging` module that `python` imports.
///
/// # Errors
/// There is no such module, or the interpreter does not run.
pub fn module_of(python: &Path) -> Result<PathBuf, ReplaceError> {
    let none = |why: String| ReplaceError::NoModule { python: python.to_owned(), why };
    let arguments = [&SWITCHES[..], &[SCRIPT]].concat();
    let answer = ask(python, &arguments).map_err(|error| none(error.to_string()))?;
    Ok(PathBuf::from(OsString::from_vec(answer)))
}

/// A replacement for a build's own module.
#[derive(Clone, Copy, Debug)]
pub struct ReplacedModule<'a> {
    /// The interpreter that imports the module.
    pub python: &'a Path,
    /// The file name of the module.
    pub file: &'a OsStr,
    /// The contents of the module.
    pub bytes: &'a [u8],
}

impl ReplacedModule<'_> {
    /// Makes the build with this module. If `folder` is given, the build is made there and stays. Otherwise it is made
    /// in a folder inside `parent`, which is removed when the returned value is dropped.
    ///
    /// # Errors
    /// The module cannot be written, or is not imported.
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

/// A build with a replaced module. Unless its folder was named, it is removed on drop.
pub struct Replaced {
    /// The build. Its interpreter is the original one and reports itself as such.
    pub build: Build,
    _folder: Option<TempDir>,
}
