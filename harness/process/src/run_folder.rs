//! The private folder for the files of a run, and the removal of the folders of runs that were killed.
//!
//! A run holds a lock on its folder. The kernel releases it when the process ends, however it ends, so a folder that can
//! be locked has no owner. Process ids say less: another PID namespace with the same folder has other ones.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use tempfile::TempDir;
use thiserror::Error;

/// Name prefix of these folders.
pub const PREFIX: &str = "framediff-run-";

/// Number of digits in the kernel's largest process id.
const LONGEST_PID: usize = 7;

/// Another run may take a new folder for an abandoned one before it is locked. That takes it microseconds, so it happens
/// at most once or twice.
const ATTEMPTS: u32 = 10;

/// A folder that only this user may enter. It is removed when this is dropped, or by a later run.
#[derive(Debug)]
pub struct RunFolder {
    // Removed before the lock is released.
    folder: TempDir,
    _lock: Option<File>,
}

/// Why there is no folder for temporary files.
#[derive(Debug, Error)]
#[error("cannot create a folder for temporary files in {}: {source}; {}", parent.display(), advice())]
pub struct RunFolderError {
    parent: PathBuf,
    source: io::Error,
}

fn advice() -> &'static str {
    if std::env::var_os("TMPDIR").is_some() {
        "TMPDIR names it: create it, or let TMPDIR name a folder that you may write to"
    } else {
        "let TMPDIR name a folder that you may write to"
    }
}

impl RunFolder {
    /// A new folder in the folder for temporary files.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new() -> Result<Self, RunFolderError> {
        Self::new_in(&temporary())
    }

    /// The same, after removing the folders that killed runs left behind.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn after_cleaning() -> Result<Self, RunFolderError> {
        let parent = temporary();
        clean(&parent);
        Self::new_in(&parent)
    }

    /// Its name contains this process' id and always has the same length, because the memory layout of an interpreter
    /// depends on the length of its arguments.
    fn new_in(parent: &Path) -> Result<Self, RunFolderError> {
        let pid = std::process::id().to_string();
        let prefix = format!("{PREFIX}{pid}-{:0<padding$}", "", padding = LONGEST_PID.saturating_sub(pid.len()));
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).permissions(Permissions::from_mode(0o700));
        let made = || -> io::Result<Self> {
            for _ in 0..ATTEMPTS {
                let folder = builder.tempdir_in(parent)?;
                // Without a lock (some network file systems have none) nobody else can lock it either.
                let lock = open(folder.path()).and_then(|lock| lock.lock().map(|()| lock)).ok();
                if lock.as_ref().is_none_or(|lock| is_at(lock, folder.path())) {
                    return Ok(Self { folder, _lock: lock });
                }
            }
            Err(io::Error::other("another process removes each new folder at once"))
        };
        made().map_err(|source| RunFolderError { parent: parent.to_owned(), source })
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The folder for temporary files: the one that TMPDIR names, or else the system's.
#[must_use]
pub fn temporary() -> PathBuf {
    let named = std::env::temp_dir();
    if named.as_os_str().is_empty() { PathBuf::from("/tmp") } else { named }
}

/// Removes the folders in `parent` whose owner has ended.
fn clean(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if is_name_of_run(&entry.file_name()) {
            remove_if_abandoned(&entry.path());
        }
    }
}

/// Removes the folder of a run unless its owner holds it.
pub(super) fn remove_if_abandoned(folder: &Path) {
    if let Ok(lock) = open(folder)
        && lock.try_lock().is_ok()
        && is_at(&lock, folder)
    {
        // Fails if the folder is another user's. The lock keeps its owner, if one is just starting, from using it.
        let _ = fs::remove_dir_all(folder);
    }
}

/// Whether the opened folder is still at this path.
fn is_at(folder: &File, path: &Path) -> bool {
    let same = || Some((folder.metadata().ok()?, fs::symlink_metadata(path).ok()?));
    same().is_some_and(|(one, other)| (one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Opens a folder. Somebody else's pipe or link of that name is none.
fn open(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(folder)
}

fn is_name_of_run(name: &OsStr) -> bool {
    let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
    rest.is_some_and(|(pid, _)| pid.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_contain_the_process_id_and_have_a_fixed_length() {
        let parent = tempfile::tempdir().unwrap();
        let folder = RunFolder::new_in(parent.path()).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        let (pid, rest) = name.strip_prefix(PREFIX).unwrap().split_once('-').unwrap();
        assert_eq!(pid, std::process::id().to_string());
        assert_eq!(pid.len() + rest.len(), LONGEST_PID + 6);
    }

    #[test]
    fn only_folders_that_nobody_holds_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        // Held by a process whose id does not exist here, as seen from another PID namespace.
        let held = parent.path().join("framediff-run-4194305-held");
        let [dead, other] = ["framediff-run-1-dead", "framediff-run-of-mine"].map(|name| parent.path().join(name));
        for folder in [&held, &dead, &other] {
            fs::create_dir_all(folder.join("inside")).unwrap();
        }
        let lock = open(&held).unwrap();
        lock.lock().unwrap();
        let own = RunFolder::new_in(parent.path()).unwrap();
        clean(parent.path());
        assert!(own.path().exists() && held.join("inside").exists() && other.exists());
        assert!(!dead.exists());
        drop(lock);
        clean(parent.path());
        assert!(!held.exists() && own.path().exists());
    }

    #[test]
    fn a_missing_parent_is_named() {
        let error = RunFolder::new_in(Path::new("/no/such/folder")).unwrap_err().to_string();
        assert!(error.contains("/no/such/folder") && error.contains("TMPDIR"), "{error}");
    }
}
