//! The folder of a run, and what runs that were killed left behind.

use std::path::Path;
use std::{fs, io};

use process::script::{PREFIX, private_folder};
use tempfile::TempDir;

/// A fresh folder for this run in `parent`. It goes with the run; the folders of runs that were killed before they
/// could remove theirs go now.
///
/// # Errors
/// The folder cannot be made.
pub(super) fn for_run(parent: &Path) -> io::Result<TempDir> {
    for entry in fs::read_dir(parent)?.flatten() {
        if entry.file_name().to_str().is_some_and(is_abandoned) {
            // Another user's, or removed by another run just now.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    private_folder(parent)
}

/// Makes the folder in which results will be saved, and tries whether a file can be made there: before the work.
///
/// # Errors
/// It cannot be made or written to; the message names it.
pub(super) fn for_results(folder: &Path) -> Result<(), String> {
    let tried = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    tried.map(drop).map_err(|error| format!("nothing can be written into {}: {error}", folder.display()))
}

/// Whether a folder of this name belongs to a process that is no more.
fn is_abandoned(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
    let owner = owner.and_then(|pid| pid.parse::<u32>().ok());
    owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folders_of_ended_runs_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let mine = for_run(parent.path()).unwrap();
        // Above the kernel's largest process id.
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
