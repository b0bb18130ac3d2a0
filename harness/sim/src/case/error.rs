//! Why a case cannot be loaded or saved.

use std::path::{Path, PathBuf};

pub(super) use framewalk::printable::excerpt;
use thiserror::Error;

use super::envelope::{FORMAT, SIZE_LIMIT, STEPPED, VERSION};
use super::stepped::BadStepped;

/// Why a case cannot be loaded or saved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaseError {
    /// The file or its folder cannot be used.
    #[error("cannot {action} the case {}: {why}", path.display())]
    System {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The file can be read, but not used.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: Box<CaseError>,
    },
    /// It is longer than any case.
    #[error("this is no case: it is longer than {} MiB", SIZE_LIMIT >> 20)]
    TooLarge,
    /// It cannot be parsed.
    #[error("this is no JSON, or only a part of it: {0}")]
    NotJson(String),
    /// It is some other JSON.
    #[error("this is JSON, but no case: it does not say \"format\": \"{FORMAT}\"")]
    NoCase,
    /// What stands around the case is not as it must be.
    #[error("this case is damaged: {0}")]
    Damaged(String),
    /// A version that is not known.
    #[error("this case has version {0}, known are 1 to {VERSION}: use the framediff that saved it, or a newer one")]
    UnknownVersion(u64),
    /// A kind of case that is not known.
    #[error("this is a case of the kind {0:?}, known are {STEPPED}: use the framediff that saved it, or a newer one")]
    UnknownKind(String),
    /// It is a case, but not one of those that were asked for.
    #[error(
        "this case is of another kind: cases of fuzz targets and of the stepped lane are both run by `framediff replay`"
    )]
    OtherKind,
    /// It is a case of the stepped lane that cannot be used.
    #[error("this case of the stepped lane cannot be used: {0}")]
    BadStepped(#[from] BadStepped),
    /// A target that is not known.
    #[error("this case is for the fuzz target {name:?}; known are {known}")]
    UnknownTarget {
        /// The name in the file, shortened.
        name: String,
        /// All that are known.
        known: String,
    },
    /// The case is none of the target.
    #[error("this case does not fit the fuzz target {target}, whose cases may have changed since: {why}")]
    DoesNotFit {
        /// The target.
        target: &'static str,
        /// What does not fit.
        why: String,
    },
    /// The case cannot be written as JSON.
    #[error("a case of {target} cannot be written as JSON: {why}")]
    NotWritable {
        /// The fuzz target, or the lane.
        target: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl CaseError {
    pub(super) fn system(action: &'static str, path: &Path, why: &std::io::Error) -> Self {
        Self::System { action, path: path.to_path_buf(), why: why.to_string() }
    }
}
