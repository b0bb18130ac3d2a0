//! Why a file cannot be a build under test.

use std::path::{Path, PathBuf};

use framewalk::layout::version::known;
use framewalk::layout::{LayoutError, VersionHex};
use thiserror::Error;

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
    #[error("{} is CPython {version}: supported versions are {}", path.display(), known("and"))]
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
        source: LayoutError,
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
