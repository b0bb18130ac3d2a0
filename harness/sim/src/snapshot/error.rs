//! Why a snapshot cannot be loaded or saved.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{SIZE_LIMIT, VERSION};

/// Why the bytes of a file are not a usable snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotFormatError {
    /// The file is not a snapshot.
    #[error("this is not a snapshot: it does not start with \"framediff-snapshot\" and a version")]
    NotSnapshot,
    /// The format version is newer than this program supports.
    #[error(
        "this snapshot has format version {version}, but this framediff reads 1 to {VERSION}: use a newer framediff"
    )]
    Newer {
        /// Format version of the file.
        version: u64,
    },
    /// The file is truncated.
    #[error("this snapshot is truncated: it has {have} of {need} bytes; copy or record it again")]
    Truncated {
        /// Length of the file in bytes.
        have: u64,
        /// Length in its header, or of the shortest snapshot, in bytes.
        need: u64,
    },
    /// Extra bytes follow the snapshot.
    #[error("this snapshot is damaged: it has {more} bytes after its end")]
    TooLong {
        /// Number of extra bytes.
        more: u64,
    },
    /// The checksum does not match.
    #[error("this snapshot is damaged: its SHA-256 does not match; copy or record it again")]
    Checksum,
    /// The file is larger than any snapshot.
    #[error("this is not a snapshot: it is larger than {} MiB", SIZE_LIMIT >> 20)]
    TooLarge,
    /// The file is intact, but framediff would not have written it.
    #[error("this snapshot was not written by framediff: {0}")]
    Foreign(String),
}

/// Why a snapshot cannot be loaded or saved.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The file cannot be read.
    #[error("cannot read the snapshot {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The file can be read, but not used.
    #[error("{}: {source}", path.display())]
    Format {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with its content.
        source: SnapshotFormatError,
    },
    /// The file already exists.
    #[error("{} already exists: remove it, or choose another name", path.display())]
    Exists {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write the snapshot {}: {source}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The snapshot exceeds a limit of the format.
    #[error("the snapshot cannot be saved: {0}; record fewer stops or a smaller workload")]
    TooMuch(String),
}
