//! Errors of a fetch.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::super::BuildError;
use super::Companion;

/// Why a fetch failed. Files it had fetched by then stay in the folder for the next run.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The packages are for a different processor.
    #[error(
        "CPython can be fetched only for x86_64, but this machine is {have}: run on x86_64, or pass --python with your \
         own CPython 3.15"
    )]
    Machine {
        /// The processor architecture of this machine.
        have: &'static str,
    },
    /// A program that fetching needs cannot be run.
    #[error(
        "cannot run `{tool}` ({source}), which is needed to fetch: install it (Debian and its derivatives have it), or \
         pass --python with your own CPython 3.15"
    )]
    Tool {
        /// The program that could not be run: `apt-get`, `dpkg-deb` or `tar`.
        tool: &'static str,
        /// The error of the launch.
        source: io::Error,
    },
    /// apt's settings name no Debian archive.
    #[error(
        "apt's settings have no Debian archive with the section main: add one to /etc/apt/sources.list.d, or pass \
         --python with your own CPython 3.15"
    )]
    NoArchive,
    /// The cache folder's name contains a character that apt or the loader cannot handle.
    #[error(
        "the path of the cache folder {folder:?} contains a character that apt or the loader cannot handle (: ; \" or \
         a control character, or invalid UTF-8): choose another folder with --cache"
    )]
    Name {
        /// The cache folder that was chosen.
        folder: PathBuf,
    },
    /// A file or folder of the cache cannot be used.
    #[error("cannot use {}: {source}; choose another folder with --cache", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// There is not enough space on the disk.
    #[error("the disk is full: {} has {free} bytes free, but fetching needs about {need} more; free some space, or \
        choose another folder with --cache", folder.display())]
    DiskFull {
        /// The cache folder that was chosen.
        folder: PathBuf,
        /// Free space in bytes.
        free: u64,
        /// Approximate space still needed, in bytes.
        need: u64,
    },
    /// apt could not download something.
    #[error(
        "cannot fetch {what} from {uri}: {detail}\nCheck the network and apt's proxy settings, and run again, or pass \
         --python with your own CPython 3.15"
    )]
    Network {
        /// What was being downloaded.
        what: &'static str,
        /// The URI of the Debian archive.
        uri: String,
        /// The errors and warnings of apt, on one line.
        detail: String,
    },
    /// The archive does not have the packages.
    #[error(
        "{uri} does not offer CPython 3.15: {detail}\nUse another mirror in apt's settings, or pass --python with your \
         own CPython 3.15"
    )]
    NotOffered {
        /// The URI of the Debian archive.
        uri: String,
        /// The errors and warnings of apt, on one line.
        detail: String,
    },
    /// A package's digest differs from the signed index.
    #[error("{} has SHA-256 {found}, but the signed index says {expected}: the file was removed; run \
        again", file.display())]
    Digest {
        /// The package file in the cache folder.
        file: PathBuf,
        /// The digest in the index.
        expected: String,
        /// The digest of the file.
        found: String,
    },
    /// A package cannot be unpacked.
    #[error("cannot unpack {}: {detail}; run again", file.display())]
    Unpack {
        /// The package file in the cache folder.
        file: PathBuf,
        /// The message of the program that failed.
        detail: String,
    },
    /// The unpacked interpreter does not run.
    #[error(
        "the fetched CPython is not usable: {source}\nIs the cache folder on a file system mounted noexec? Choose \
         another with --cache, or pass --python with your own CPython 3.15"
    )]
    Unusable {
        /// The error of probing it.
        source: Box<BuildError>,
    },
    /// No interpreter of this version was fetched, so its companions are not available.
    #[error(
        "CPython {version} comes without its {what}, and {what} are fetched only for the CPython in {}{}: install the \
         {what} that belong to it (Debian's are in the package {}), or test the CPython that framediff fetches",
        cache.display(), fetched(.have), companion.package(), what = companion.name()
    )]
    CompanionOfAnother {
        /// What was requested.
        companion: Companion,
        /// The version for which it was requested.
        version: String,
        /// The cache folder, whose interpreter is the only one with fetched companions.
        cache: PathBuf,
        /// The package version of the interpreters in the folder, if there are any.
        have: Option<String>,
    },
    /// The archive no longer has the companion of this version.
    #[error(
        "{uri} does not offer the {} of the fetched CPython {version}: {detail}\nRemove {} and run again to fetch \
         both again, or unpack {} {version} from elsewhere (Debian keeps old versions in its snapshot archive); for \
         tests, name the folder of their test_external_inspection.py with --peer-tests",
        companion.name(), folder.display(), companion.package()
    )]
    CompanionNotOffered {
        /// What was requested.
        companion: Companion,
        /// The URI of the Debian archive.
        uri: String,
        /// The package version of the fetched interpreters.
        version: String,
        /// The errors and warnings of apt, on one line.
        detail: String,
        /// The folder of the fetched interpreters.
        folder: PathBuf,
    },
    /// The fetched folder was removed meanwhile.
    #[error("{} was removed while fetching into it; run again", folder.display())]
    Vanished {
        /// The folder that was removed by another process.
        folder: PathBuf,
    },
    /// The user interrupted the fetch.
    #[error("interrupted; the next run continues with what was fetched so far")]
    Interrupted,
}

fn fetched(have: &Option<String>) -> String {
    have.as_ref().map_or_else(|| " (none yet)".to_owned(), |version| format!(" ({version})"))
}

/// With less free space than this, in bytes, the disk counts as full.
const FULL: u64 = 1 << 20;

/// Estimated unpacked size per byte of package file, without the excluded paths. Measured: 1.5.
const UNPACKED: u64 = 2;

impl FetchError {
    /// Makes an error of the file system an error for `path`.
    pub(super) fn folder(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Folder { path, source }
    }

    /// [`FetchError::DiskFull`] if a full disk is the cause, else the same error.
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
        // A rule of thumb: without an index, the real size is not known.
        if said || free < FULL { Self::DiskFull { folder: folder.to_path_buf(), free, need: 400 << 20 } } else { self }
    }
}

/// Fails early if there is not enough space. `total` is the size of all packages and `there` the part already fetched.
pub(super) fn need_space(folder: &Path, total: u64, there: u64) -> Result<(), FetchError> {
    let need = total.saturating_sub(there) + UNPACKED * total;
    match free(folder) {
        Some(free) if free < need => Err(FetchError::DiskFull { folder: folder.to_path_buf(), free, need }),
        _ => Ok(()),
    }
}

/// Fails early if there is not enough space for the unpacked tests. They are text, seven times as large as their
/// package.
pub(super) fn need_space_for_companion(folder: &Path, size: u64) -> Result<(), FetchError> {
    let need = size.saturating_mul(9);
    match free(folder) {
        Some(free) if free < need => Err(FetchError::DiskFull { folder: folder.to_path_buf(), free, need }),
        _ => Ok(()),
    }
}

/// Bytes that this user can still write in the folder.
fn free(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let about = nix::sys::statvfs::statvfs(there).ok()?;
    Some(about.blocks_available().saturating_mul(about.fragment_size()))
}
