//! Stand-ins for CPython's unwinder: a module in Python that wraps the build's own and gets one thing wrong on purpose
//! (`pyscripts/stand_in.py`). They need no machine code, so they fit any version.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use model::lane::Lane;
use process::build::{Build, ask};
use serde::Deserialize;
use thiserror::Error;

use super::replaced::{ReplaceError, Replaced, ReplacedModule, SWITCHES, module_of};

const TEXT: &str = include_str!("../../pyscripts/stand_in.py");
/// The name of the file that is imported in place of the extension module.
const FILE: &str = "_remote_debugging.py";

/// Why a stand-in could not be made.
#[derive(Debug, Error)]
pub enum StandInError {
    /// The interpreter does not list the stand-ins.
    #[error("cannot list the stand-ins for the unwinder of {}: {why}", python.display())]
    NoList {
        /// The interpreter that was to list its stand-ins.
        python: PathBuf,
        /// The error of asking it.
        why: String,
    },
    /// The fault cannot show, because `check` never uses the unwinder in the way it needs.
    #[error("{0}")]
    NotViable(String),
    /// It cannot replace the module.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// A fault of `pyscripts/stand_in.py`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StandIn {
    name: String,
    /// The lane that must find it: stopped or stepped with the numbers of the action, or live within the time that a
    /// default run gives to that lane.
    pub lane: Lane,
    /// What it gets wrong.
    pub description: String,
    /// The past fault that it reproduces.
    pub issue: Option<String>,
    /// If the fault cannot show in `check`, the reason.
    pub missing: Option<String>,
}

impl StandIn {
    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(&self) -> String {
        format!("stand-in/{}", self.name)
    }
}

/// A build's module and its possible stand-ins.
pub struct StandIns {
    python: PathBuf,
    module: PathBuf,
    /// The stand-ins that the interpreter lists, viable or not.
    pub faults: Vec<StandIn>,
}

impl StandIns {
    /// The stand-ins for the module of `build`.
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

    /// Makes a build with a fault. If `folder` is given, the build is made there and stays. Otherwise it is made in a
    /// folder inside `parent`, which is removed when the returned value is dropped.
    ///
    /// # Errors
    /// The stand-in cannot be used with this build, cannot be written, or is not imported.
    pub fn with(&self, fault: &StandIn, folder: Option<&Path>, parent: &Path) -> Result<Replaced, StandInError> {
        if let Some(why) = &fault.missing {
            return Err(StandInError::NotViable(why.clone()));
        }
        // A JSON string is also a Python string literal.
        let word = |text: &str| serde_json::Value::from(text).to_string();
        let module = word(&self.module.to_string_lossy());
        let text = format!("{TEXT}\n\nstand_in(globals(), {}, {module})\n", word(&fault.name));
        let stand_in = ReplacedModule { python: &self.python, file: OsStr::new(FILE), bytes: text.as_bytes() };
        Ok(stand_in.installed(folder, parent)?)
    }
}
