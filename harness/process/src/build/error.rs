//! Why a file cannot be a build under test.

use std::path::{Path, PathBuf};

use framewalk::layout::version::KNOWN;
use framewalk::layout::{LayoutError, VersionHex};
use thiserror::Error;

use super::calibrate::CalibrationError;
use super::order::OrderError;
use crate::runtime::RuntimeError;

/// Why the layout of a build is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutRefusal {
    /// The table of offsets cannot be used.
    #[error(transparent)]
    Table(#[from] LayoutError),
    /// The order of its words was not found.
    #[error(transparent)]
    Order(Box<OrderError>),
    /// The process runs no interpreter that can be started, so the order cannot be proved.
    #[error(
        "the offsets of CPython {0} must be proved on a process of its own, but the program of this one is no \
         interpreter: it embeds CPython; attach to an interpreter of the same build"
    )]
    NotAlone(VersionHex),
    /// The offsets do not fit in the order that was found.
    #[error(
        "with the order from {order}, {source}; the order probably belongs to another version: name the header of this \
         build's source with --layout-header"
    )]
    Unfit {
        /// The order's source.
        order: String,
        /// What does not fit.
        source: LayoutError,
    },
    /// The order was not proved on a live process.
    #[error("with the order from {order}, {source}")]
    Calibration {
        /// The order's source.
        order: String,
        /// What was wrong.
        source: CalibrationError,
    },
}

impl From<OrderError> for LayoutRefusal {
    fn from(error: OrderError) -> Self {
        Self::Order(Box::new(error))
    }
}

/// Why a process of a build cannot be walked.
#[derive(Debug, Error)]
pub enum LocateError {
    /// `_PyRuntime` was not found.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The layout of the build is not known, or its table cannot be read in the process.
    #[error(transparent)]
    Layout(#[from] LayoutRefusal),
    /// The process has other offsets than the build.
    #[error(
        "process {pid} runs another build than the CPython {version} that was selected: the interpreter was replaced \
         meanwhile, or it starts another one; start again"
    )]
    OtherBuild {
        /// The process.
        pid: i32,
        /// The version of the build.
        version: String,
    },
}

/// Why a file is not a usable build. `path` is always the path as given.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The file does not exist.
    #[error("{}: there is no such file, or the interpreter in its first line is missing; \
        {}", path.display(), named(.near))]
    NotFound {
        /// The path as given.
        path: PathBuf,
        /// An existing file that may have been meant.
        near: Option<PathBuf>,
    },
    /// It is a folder, for example a build folder.
    #[error("{} is a folder; {}", path.display(), named(.inside))]
    Folder {
        /// The path as given.
        path: PathBuf,
        /// The interpreter inside the folder, if there is one.
        inside: Option<PathBuf>,
    },
    /// The kernel refuses to run it.
    #[error("{} cannot be run: {source}; name an executable CPython", path.display())]
    Start {
        /// The path as given.
        path: PathBuf,
        /// The error of starting it.
        source: std::io::Error,
    },
    /// It runs, but does not answer like a Python.
    #[error("{} does not behave like Python 3: {evidence}", path.display())]
    NotPython {
        /// The path as given.
        path: PathBuf,
        /// Its answer or how it ended.
        evidence: String,
    },
    /// It does not answer in time.
    #[error("{} did not answer within {seconds} s and was killed; name a CPython that starts", path.display())]
    Deadline {
        /// The path as given.
        path: PathBuf,
        /// The time limit in seconds.
        seconds: f32,
    },
    /// It is another Python implementation.
    #[error("{} is {implementation}: only CPython can be tested", path.display())]
    NotCPython {
        /// The path as given.
        path: PathBuf,
        /// The implementation's name: `sys.implementation.name`.
        implementation: String,
    },
    /// The version is older than `_Py_DebugOffsets`.
    #[error("{} is CPython {version}: every version since {} is supported", path.display(), KNOWN[0])]
    TooOld {
        /// The path as given.
        path: PathBuf,
        /// The version that the interpreter reports.
        version: VersionHex,
    },
    /// None of its mapped files has the `.PyRuntime` section.
    #[error(
        "{} is CPython {version}, but none of its mapped files has a `.PyRuntime` section: the section headers were \
         stripped or the file was packed; use an unmodified build", path.display()
    )]
    NoRuntimeSection {
        /// The path as given.
        path: PathBuf,
        /// The version that the interpreter reports.
        version: VersionHex,
    },
    /// The image that was found belongs to another build.
    #[error(
        "{} is CPython {version}, but {} contains the runtime of another build ({found}); it may have just been \
         replaced: try again",
        path.display(), image.display()
    )]
    OtherImage {
        /// The path as given.
        path: PathBuf,
        /// The version that the interpreter reports.
        version: VersionHex,
        /// The file with the section.
        image: PathBuf,
        /// The version in the section.
        found: VersionHex,
    },
    /// Walkers cannot read this build.
    #[error("{}: {source}", path.display())]
    Layout {
        /// The path as given.
        path: PathBuf,
        /// Why its layout was rejected.
        source: Box<LayoutRefusal>,
    },
}

/// The next step for the user. Names `candidate` if there is one.
fn named(candidate: &Option<PathBuf>) -> String {
    match candidate {
        Some(path) => format!("did you mean {}?", path.display()),
        None => "check the path; in a build folder the interpreter is `./python`, after `make`".to_owned(),
    }
}

impl BuildError {
    /// The path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::NotFound { path, .. }
            | Self::Folder { path, .. }
            | Self::Start { path, .. }
            | Self::NotPython { path, .. }
            | Self::Deadline { path, .. }
            | Self::NotCPython { path, .. }
            | Self::TooOld { path, .. }
            | Self::NoRuntimeSection { path, .. }
            | Self::OtherImage { path, .. }
            | Self::Layout { path, .. } => path,
        }
    }
}
