//! The temporary folder of a run, and the cleanup after runs that were killed.

use std::path::Path;
use std::{fs, io};

use process::script::{PREFIX, private_folder};
use tempfile::TempDir;

/// A new folder in `parent` for this run, removed when the run ends. Also removes the folders of earlier runs that
/// were killed before they could do so.
///
/// # Errors
/// The folder cannot be created.
pub(super) fn for_run(parent: &Path) -> io::Result<TempDir> {
    for entry in fs::read_dir(parent)?.flatten() {
        if entry.file_name().to_str().is_some_and(is_abandoned) {
            // Fails if the folder is another user's, or another run has just removed it.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    private_folder(parent)
}

/// Creates the folder for results and checks that files can be created in it, before any work is done.
///
/// # Errors
/// The folder cannot be created or written to. The message names it.
pub(super) fn for_results(folder: &Path) -> Result<(), String> {
    let tried = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    tried.map(drop).map_err(|error| format!("cannot write into {}: {error}", folder.display()))
}

/// Whether a folder with this name belongs to a process that no longer exists.
fn is_abandoned(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
    let owner = owner.and_then(|pid| pid.parse::<u32>().ok());
    owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_ended_runs_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let mine = for_run(parent.path()).unwrap();
        // This is above the kernel's largest process id.
        let dead = parent.path().join("framediff-run-4194305-abc");
        let other = parent.path().join("framediff-run-of-mine");
        for folder in [&dead, &other] {
            fs::create_dir_all(folder.join("inside")).unwrap();
        }
        let next = for_run(parent.path()).unwrap();
        assert!(mine.path().exists() && next.path().exists() && other.exists());
        assert!(!dead.exists());
    }
}
