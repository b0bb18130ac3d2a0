//! Why a snapshot cannot be loaded or saved.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::file::{SIZE_LIMIT, VERSION};

/// What is wrong with the bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// It is something else.
    #[error("this is no snapshot: it does not start with \"framediff-snapshot\" and a version")]
    NotSnapshot,
    /// It was written in a format that came later than this program.
    #[error("this snapshot has format version {version}, known are 1 to {VERSION}: use a newer framediff")]
    Newer {
        /// Its format version.
        version: u64,
    },
    /// It ends too early.
    #[error("this snapshot is cut off: it has {have} of {need} bytes; copy or record it again")]
    Truncated {
        /// Bytes there.
        have: u64,
        /// Bytes that it says it has, or that the least snapshot has.
        need: u64,
    },
    /// More bytes follow.
    #[error("this snapshot is damaged: {more} bytes follow its end")]
    TooLong {
        /// How many.
        more: u64,
    },
    /// Its bytes are not those that were written.
    #[error("this snapshot is damaged: its SHA-256 is another than it says; copy or record it again")]
    Checksum,
    /// It is longer than any snapshot.
    #[error("this is no snapshot: it is longer than {} MiB", SIZE_LIMIT >> 20)]
    TooLarge,
    /// Its bytes are as they were written, but that was by somebody else.
    #[error("this snapshot was not written by framediff: {0}")]
    Foreign(String),
}

/// Why a snapshot cannot be loaded or saved.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("cannot read the snapshot {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can be read, but not used.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FormatError,
    },
    /// There is a file of that name.
    #[error("{} is there already: remove it, or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write the snapshot {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has more than the format takes.
    #[error("the snapshot cannot be saved: {0}; record fewer stops or a smaller workload")]
    TooMuch(String),
}
