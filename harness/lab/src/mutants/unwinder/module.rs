//! A build whose interpreter imports a patched `_remote_debugging`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use process::build::Build;
use thiserror::Error;

use super::{Findings, ModuleError, NotViable, OtherBytes, apply, find};
use crate::mutants::replaced::{self, ReplaceError, Replaced, module_of};

/// Why no copy is there to be run.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The file cannot be read.
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
    /// The copy is not imported.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
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
        let path = module_of(&build.python)?;
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

    /// A copy with a fault, in `folder`, which stays; without one in a folder within `parent`, which goes with what is
    /// returned.
    ///
    /// # Errors
    /// The fault is not viable, or the copy cannot be written or is not imported.
    pub fn with(&self, fault: super::Fault, folder: Option<&Path>, parent: &Path) -> Result<Replaced, CopyError> {
        let bytes = apply(&self.bytes, self.findings.patches(fault)?)?;
        let file = self.path.file_name().unwrap_or_default();
        let copy = replaced::Module { python: &self.python, file, bytes: &bytes };
        Ok(copy.installed(folder, parent)?)
    }
}
