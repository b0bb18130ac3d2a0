//! Reading reports that were written as JSON, by whatever framediff or by something else.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::report::json::{Document, VERSION};
use crate::report::text::clean;

/// A longer file is no report, in bytes.
const SIZE_LIMIT: u64 = 256 << 20;

/// A file that is no report that can be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read the report {}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is longer than any report.
    #[error("{} is no report: it is longer than {} MiB", path.display(), SIZE_LIMIT >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be parsed.
    #[error("{} is no JSON, or only a part of it: {why}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is some other JSON.
    #[error("{} is JSON, but no report of {wanted}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is read here.
        wanted: &'static str,
    },
    /// Another form.
    #[error("{}: this report has version {version}, known is {VERSION}: use the framediff that wrote it, or write it anew", path.display())]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// It says that it is a report, but is not as one must be.
    #[error("{}: this report is damaged, or of another framediff ({by}): {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which framediff it says it is of.
        by: String,
        /// What is wrong.
        why: String,
    },
}

/// A report as it stands in its file.
pub(super) enum Report {
    /// Of `check` and `merge`.
    Check(Box<Document>),
    /// Of another verb; what is in it is not yet looked at.
    Other(Value),
}

/// Reads a report of `check` or `merge`.
///
/// # Errors
/// See [`LoadError`].
pub fn load_check(path: &Path) -> Result<Document, LoadError> {
    match load(path)? {
        Report::Check(document) => Ok(*document),
        Report::Other(_) => {
            Err(LoadError::Foreign { path: path.to_owned(), wanted: "`framediff check --format json`" })
        }
    }
}

/// Reads a report.
pub(super) fn load(path: &Path) -> Result<Report, LoadError> {
    let path_of = || path.to_path_buf();
    let system = |source| LoadError::System { path: path_of(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(system)?.take(SIZE_LIMIT + 1).read_to_end(&mut bytes).map_err(system)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(LoadError::TooLarge { path: path_of() });
    }
    let text = |error: serde_json::Error| clean(&error.to_string());
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| LoadError::NotJson { path: path_of(), why: text(error) })?;
    // `framediff` names the version of the program: nothing but `check` and `merge` writes it at the top.
    let Some(by) = value.get("framediff").and_then(Value::as_str).map(clean) else { return Ok(Report::Other(value)) };
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(LoadError::OtherVersion { path: path_of(), version }),
        None => return Err(LoadError::Damaged { path: path_of(), by, why: "it has no version".into() }),
    }
    match serde_json::from_value(value) {
        Ok(document) => Ok(Report::Check(Box::new(document))),
        Err(error) => Err(LoadError::Damaged { path: path_of(), by, why: text(error) }),
    }
}
