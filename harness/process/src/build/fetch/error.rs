//! Why a fetch failed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::super::BuildError;

/// Why a fetch failed. What it had by then stays in the folder for the next run.
#[derive(Debug, Error)]
pub enum FetchError {
    /// Not the processor that the packages are for.
    #[error(
        "CPython can be fetched for x86_64 only, this machine is {have}: run on x86_64, or pass --python with a CPython 3.15 of your own"
    )]
    Machine {
        /// The processor.
        have: &'static str,
    },
    /// A program is missing.
    #[error(
        "cannot run `{tool}` ({source}), which fetching needs: install it (Debian and its kin have it), or pass --python with a CPython 3.15 of your own"
    )]
    Tool {
        /// Its name.
        tool: &'static str,
        /// Why it does not run.
        source: io::Error,
    },
    /// apt serves something else.
    #[error(
        "apt's settings name no archive of Debian's section main: add one to /etc/apt/sources.list.d, or pass --python with a CPython 3.15 of your own"
    )]
    NoArchive,
    /// The folder's name cannot be passed on.
    #[error(
        "the cache folder {folder:?} has a character in its name (one of : ; \" or a control character, or no UTF-8) \
             that apt or the loader cannot take: choose another with --cache"
    )]
    Name {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be used.
    #[error("cannot use {}: {source}; choose another folder with --cache", path.display())]
    Folder {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No space left.
    #[error("the disk is full: {} has {free} bytes free and fetching needs about {need} more; \
             make room or choose another folder with --cache", folder.display())]
    DiskFull {
        /// The cache folder.
        folder: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes still needed, about.
        need: u64,
    },
    /// apt could not get something.
    #[error(
        "cannot fetch {what} from {uri}: {detail}\nCheck the network and apt's proxy settings, and run again, or pass --python with a CPython 3.15 of your own"
    )]
    Network {
        /// What it was.
        what: &'static str,
        /// The archive.
        uri: String,
        /// apt's own words.
        detail: String,
    },
    /// The archive does not have the packages.
    #[error(
        "{uri} does not offer CPython 3.15: {detail}\nUse another mirror in apt's settings, or pass --python with a CPython 3.15 of your own"
    )]
    NotOffered {
        /// The archive.
        uri: String,
        /// apt's own words.
        detail: String,
    },
    /// A package is not what the signed index says.
    #[error("{} has SHA-256 {found}, the signed index says {expected}: it was removed; run again", file.display())]
    Digest {
        /// The package.
        file: PathBuf,
        /// By the index.
        expected: String,
        /// Of the file.
        found: String,
    },
    /// A package cannot be unpacked.
    #[error("cannot unpack {}: {detail}; run again", file.display())]
    Unpack {
        /// The package.
        file: PathBuf,
        /// The program's own words.
        detail: String,
    },
    /// What was unpacked does not run.
    #[error(
        "what was fetched is no usable CPython: {source}\nIs the cache folder on a file system mounted noexec? Choose another with --cache, or pass --python with a CPython 3.15 of your own"
    )]
    Unusable {
        /// What is wrong with it.
        source: Box<BuildError>,
    },
    /// No interpreter was fetched whose tests these could be.
    #[error(
        "CPython {version} has no tests of its own, and tests are fetched only for the CPython in {}{}: \
             install the tests that belong to it (Debian's are in the package libpython3.15-testsuite), or test what framediff fetches",
        cache.display(), fetched(.have)
    )]
    TestsOfAnother {
        /// The version whose tests are wanted.
        version: String,
        /// The cache folder.
        cache: PathBuf,
        /// The package's version of the interpreters there, if there are any.
        have: Option<String>,
    },
    /// The archive has moved on.
    #[error(
        "{uri} does not offer the tests of the fetched CPython {version}: {detail}\nRemove {} and run again, which fetches both anew, \
             or unpack libpython3.15-testsuite {version} from elsewhere (Debian keeps old versions in its snapshot archive) and name the folder of its test_external_inspection.py with --peer-tests",
        folder.display()
    )]
    TestsNotOffered {
        /// The archive.
        uri: String,
        /// The package's version of the fetched interpreters.
        version: String,
        /// apt's own words.
        detail: String,
        /// The folder of the fetched interpreters.
        folder: PathBuf,
    },
    /// Somebody removed it.
    #[error("{} vanished while it was fetched; run again", folder.display())]
    Vanished {
        /// The folder.
        folder: PathBuf,
    },
    /// The user wants to stop.
    #[error("interrupted; the next run carries on with what was fetched")]
    Interrupted,
}

fn fetched(have: &Option<String>) -> String {
    have.as_ref().map_or_else(|| " (none yet)".to_owned(), |version| format!(" ({version})"))
}

/// Less than this is no room to work.
const FULL: u64 = 1 << 20;

/// Unpacked packages, without what is left out, per byte of their files: 1.5 measured.
const UNPACKED: u64 = 2;

impl FetchError {
    /// Wraps an error of the file system.
    pub(super) fn folder(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Folder { path, source }
    }

    /// The same failure, or the full disk that caused it.
    pub(super) fn or_full_disk(self, folder: &Path) -> Self {
        let words = match &self {
            Self::Folder { source, .. } => {
                if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                    "No space left"
                } else {
                    ""
                }
            }
            Self::Network { detail, .. } | Self::Unpack { detail, .. } | Self::NotOffered { detail, .. } => detail,
            _ => return self,
        };
        let free = free(folder).unwrap_or(u64::MAX);
        let said =
            ["No space left", "enough free space", "Disk quota exceeded"].iter().any(|phrase| words.contains(phrase));
        // The amount is a rule of thumb here: without an index nothing better is known.
        if said || free < FULL { Self::DiskFull { folder: folder.to_path_buf(), free, need: 400 << 20 } } else { self }
    }
}

/// Fails early if what is to come cannot fit.
pub(super) fn need_space(folder: &Path, total: u64, there: u64) -> Result<(), FetchError> {
    let need = total.saturating_sub(there) + UNPACKED * total;
    match free(folder) {
        Some(free) if free < need => Err(FetchError::DiskFull { folder: folder.to_path_buf(), free, need }),
        _ => Ok(()),
    }
}

/// Fails early if the unpacked tests cannot fit: they are text, and seven times as large as their package.
pub(super) fn need_space_for_tests(folder: &Path, size: u64) -> Result<(), FetchError> {
    let need = size.saturating_mul(9);
    match free(folder) {
        Some(free) if free < need => Err(FetchError::DiskFull { folder: folder.to_path_buf(), free, need }),
        _ => Ok(()),
    }
}

/// Bytes that this user can still write there.
fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let about = nix::sys::statvfs::statvfs(there).ok()?;
    Some(about.blocks_available().saturating_mul(about.fragment_size()))
}
