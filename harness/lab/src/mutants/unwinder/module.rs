//! Builds whose interpreter imports a patched `_remote_debugging`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use process::build::Build;
use thiserror::Error;

use super::{Findings, ModuleError, NotViable, OtherBytes, apply, find};
use crate::mutants::replaced::{self, ReplaceError, Replaced, module_of};

/// Why a patched copy could not be made.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file that could not be read or written.
        path: PathBuf,
        /// The error of the read.
        source: io::Error,
    },
    /// The module cannot be analysed.
    #[error("{}: {source}", path.display())]
    Module {
        /// The file that could not be read or written.
        path: PathBuf,
        /// Why the analysis failed.
        source: ModuleError,
    },
    /// The fault is not viable.
    #[error(transparent)]
    NotViable(#[from] NotViable),
    /// The patches belong to another file.
    #[error(transparent)]
    OtherBytes(#[from] OtherBytes),
    /// The copy is not imported.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// A build's `_remote_debugging` module.
pub struct Module {
    python: PathBuf,
    path: PathBuf,
    bytes: Vec<u8>,
    findings: Findings,
}

impl Module {
    /// Finds the module of `build` and the patches that are possible for it.
    ///
    /// # Errors
    /// The interpreter has no such module, or the module cannot be analysed.
    pub fn of(build: &Build) -> Result<Self, CopyError> {
        let path = module_of(&build.python)?;
        let bytes = fs::read(&path).map_err(|source| CopyError::File { path: path.clone(), source })?;
        let findings = find(&bytes).map_err(|source| CopyError::Module { path: path.clone(), source })?;
        Ok(Self { python: build.python.clone(), path, bytes, findings })
    }

    /// The file of the original module.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The patches that are possible for it.
    #[must_use]
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// Makes a build with a fault in the module. If `folder` is given, the build is made there and stays. Otherwise it
    /// is made in a folder inside `parent`, which is removed when the returned value is dropped.
    ///
    /// # Errors
    /// The fault is not viable, or the copy cannot be written or is not imported.
    pub fn with(
        &self,
        fault: super::UnwinderFault,
        folder: Option<&Path>,
        parent: &Path,
    ) -> Result<Replaced, CopyError> {
        let bytes = apply(&self.bytes, self.findings.patches(fault)?)?;
        let file = self.path.file_name().unwrap_or_default();
        let copy = replaced::ReplacedModule { python: &self.python, file, bytes: &bytes };
        Ok(copy.installed(folder, parent)?)
    }
}
