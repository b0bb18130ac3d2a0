//! Why a case cannot be loaded or saved.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::format::{FORMAT, SIZE_LIMIT, STEPPED, VERSION};
use super::stepped::BadStepped;

/// Why a case cannot be loaded or saved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaseError {
    /// The file or its folder cannot be used.
    #[error("cannot {action} the case {}: {why}", path.display())]
    System {
        /// What was tried: "read" or "write".
        action: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// The error of the system.
        why: String,
    },
    /// The file can be read, but not used.
    #[error("{}: {error}", path.display())]
    InFile {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with its content.
        error: Box<CaseError>,
    },
    /// The file is larger than any case.
    #[error("this is not a case: it is larger than {} MiB", SIZE_LIMIT >> 20)]
    TooLarge,
    /// The file is not valid JSON.
    #[error("this is not JSON, or the file was cut short: {0}")]
    NotJson(String),
    /// The file is JSON, but not a case.
    #[error("this is JSON, but not a case: it does not contain \"format\": \"{FORMAT}\"")]
    NoCase,
    /// A field around the case is missing or has a wrong value.
    #[error("this case is damaged: {0}")]
    Damaged(String),
    /// The version of the case is not known.
    #[error(
        "this case has version {0}, but this framediff reads 1 to {VERSION}: use the framediff that saved it, or a newer one"
    )]
    UnknownVersion(u64),
    /// The kind of the case is not known.
    #[error(
        "this is a case of kind {0:?}, but this framediff knows only {STEPPED}: use the framediff that saved it, or a newer one"
    )]
    UnknownKind(String),
    /// The case is of another kind than requested.
    #[error(
        "this case is of another kind: cases of fuzz targets and of the stepped lane are both run by `framediff replay`"
    )]
    OtherKind,
    /// The case is a stepped case that cannot be used.
    #[error("this case of the stepped lane cannot be used: {0}")]
    BadStepped(#[from] BadStepped),
    /// The fuzz target is not known.
    #[error("this case is for the fuzz target {name:?}; known are {known}")]
    UnknownTarget {
        /// The name in the file, shortened.
        name: String,
        /// The names of all known targets.
        known: String,
    },
    /// The case does not match the target's case type.
    #[error("this case does not fit the fuzz target {target}, whose cases may have changed since: {why}")]
    DoesNotFit {
        /// Name of the target.
        target: &'static str,
        /// What does not match.
        why: String,
    },
    /// The case cannot be written as JSON.
    #[error("a case of {target} cannot be written as JSON: {why}")]
    NotWritable {
        /// Name of the fuzz target, or of the lane.
        target: &'static str,
        /// The error of the serialization.
        why: String,
    },
}

impl CaseError {
    pub(super) fn system(action: &'static str, path: &Path, why: &std::io::Error) -> Self {
        Self::System { action, path: path.to_path_buf(), why: why.to_string() }
    }
}
