//! Stand-ins for CPython's unwinder: a module in Python that wraps the build's own and gets one thing wrong on purpose
//! (`pyscripts/stand_in.py`). They need no machine code, so they fit any version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use model::lane::Lane;
use process::build::{Build, ask};
use serde::Deserialize;
use thiserror::Error;

use super::replaced::{Module, ReplaceError, Replaced, SWITCHES, module_of};

const TEXT: &str = include_str!("../../../../pyscripts/stand_in.py");
/// The file that is imported in place of the extension module.
const FILE: &str = "_remote_debugging.py";

/// Why there is no stand-in.
#[derive(Debug, Error)]
pub enum StandInError {
    /// The interpreter does not tell which there are.
    #[error("{} does not list the stand-ins for its unwinder: {why}", python.display())]
    NoList {
        /// The interpreter.
        python: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It needs something of the interpreter that is not known, or that `check` does otherwise.
    #[error("{0}")]
    NotViable(String),
    /// It cannot be put in the place of the module.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// A fault of `pyscripts/stand_in.py`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StandIn {
    name: String,
    /// Where it must be seen: in the stopped or the stepped lane by the numbers of the action, in the live lane in the time
    /// that a default run has for it.
    pub lane: Lane,
    /// What it gets wrong.
    pub description: String,
    /// The fault of the past that it is.
    pub issue: Option<String>,
    /// Why nothing can show it.
    pub missing: Option<String>,
}

impl StandIn {
    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(&self) -> String {
        format!("stand-in/{}", self.name)
    }
}

/// The module of a build, and what can stand in for it.
pub struct StandIns {
    python: PathBuf,
    module: PathBuf,
    /// All of them.
    pub faults: Vec<StandIn>,
}

impl StandIns {
    /// Those for the module of `build`.
    ///
    /// # Errors
    /// The interpreter has no such module, or does not run.
    pub fn of(build: &Build) -> Result<Self, StandInError> {
        let python = build.python.clone();
        let no_list = |why: String| StandInError::NoList { python: python.clone(), why };
        let arguments = [&SWITCHES[..], &[TEXT]].concat();
        let listed = ask(&python, &arguments).map_err(|error| no_list(error.to_string()))?;
        let faults = serde_json::from_slice(&listed).map_err(|error| no_list(error.to_string()))?;
        let module = module_of(&python)?;
        Ok(Self { python, module, faults })
    }

    /// The build with a fault, in `folder`, which stays; without one in a folder within `parent`, which goes with what is
    /// returned.
    ///
    /// # Errors
    /// It cannot be used with this build, cannot be written, or is not imported.
    pub fn with(&self, fault: &StandIn, folder: Option<&Path>, parent: &Path) -> Result<Replaced, StandInError> {
        if let Some(why) = &fault.missing {
            return Err(StandInError::NotViable(why.clone()));
        }
        // A string of JSON is one of Python.
        let word = |text: &str| serde_json::Value::from(text).to_string();
        let module = word(&self.module.to_string_lossy());
        let text = format!("{TEXT}\n\nstand_in(globals(), {}, {module})\n", word(&fault.name));
        let stand_in = Module { python: &self.python, file: OsStr::new(FILE), bytes: text.as_bytes() };
        Ok(stand_in.installed(folder, parent)?)
    }
}
