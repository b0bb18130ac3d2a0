//! What keeps a file from being a build under test.

use std::path::{Path, PathBuf};

use framewalk::layout::{LayoutError, VersionHex};
use thiserror::Error;

/// Why a file is not a build under test.
#[derive(Debug, Error)]
pub enum BuildError {
    /// Nothing there.
    #[error("{}: there is no such file, or the interpreter its first line names is missing; {}", path.display(), named(.near))]
    NotFound {
        /// As given.
        path: PathBuf,
        /// What may have been meant.
        near: Option<PathBuf>,
    },
    /// A folder, such as that of a build.
    #[error("{} is a folder; {}", path.display(), named(.inside))]
    Folder {
        /// As given.
        path: PathBuf,
        /// The interpreter in it.
        inside: Option<PathBuf>,
    },
    /// The kernel does not run it.
    #[error("{} cannot be run: {source}; name an executable CPython", path.display())]
    Start {
        /// As given.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// It runs, but not as a Python does.
    #[error("{} does not answer as a Python 3 would: {evidence}", path.display())]
    NotPython {
        /// As given.
        path: PathBuf,
        /// What it did instead.
        evidence: String,
    },
    /// It does not answer.
    #[error("{} did not answer within {seconds} s and was killed; name a CPython that starts", path.display())]
    Deadline {
        /// As given.
        path: PathBuf,
        /// How long it had.
        seconds: f32,
    },
    /// Another implementation.
    #[error("{} is {implementation}: only CPython has the frames that are tested here", path.display())]
    NotCPython {
        /// As given.
        path: PathBuf,
        /// `sys.implementation.name`.
        implementation: String,
    },
    /// Before `_Py_DebugOffsets`.
    #[error("{} is CPython {version}: supported are 3.13 and 3.14 (without frame cache) and 3.15", path.display())]
    TooOld {
        /// As given.
        path: PathBuf,
        /// Its version.
        version: VersionHex,
    },
    /// No image with the section.
    #[error(
        "{} is CPython {version}, but no file it maps has a section `.PyRuntime`: section headers were stripped \
         or the file was packed; use an unmodified build", path.display()
    )]
    NoRuntimeSection {
        /// As given.
        path: PathBuf,
        /// Its version.
        version: VersionHex,
    },
    /// The image found is not the interpreter's.
    #[error(
        "{} is CPython {version}, but {} holds the runtime of another build ({found}); was it replaced just now? Try again",
        path.display(), image.display()
    )]
    OtherImage {
        /// As given.
        path: PathBuf,
        /// What the interpreter says.
        version: VersionHex,
        /// Where the section was found.
        image: PathBuf,
        /// What the section says.
        found: VersionHex,
    },
    /// Walkers cannot read it.
    #[error("{}: {source}", path.display())]
    Layout {
        /// As given.
        path: PathBuf,
        /// Why not.
        source: LayoutError,
    },
}

/// The next step, where there may be something to be named.
fn named(candidate: &Option<PathBuf>) -> String {
    match candidate {
        Some(path) => format!("did you mean {}?", path.display()),
        None => "check the path; in a build folder the interpreter is `./python`, once `make` has ended".to_owned(),
    }
}

impl BuildError {
    /// The file that is meant.
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
