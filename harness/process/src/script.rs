//! Scripts written to files, so that `ps` shows a file name instead of the script's text.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// Name prefix of folders that belong to a process of this program.
pub const PREFIX: &str = "framediff-run-";

/// Number of digits in the kernel's largest process id.
const LONGEST_PID: usize = 7;

/// Makes a new folder in `parent` that only this user may enter. Its name contains this process' id and always has the
/// same length, because the memory layout of an interpreter depends on the length of its arguments.
///
/// # Errors
/// The folder cannot be made.
pub fn private_folder(parent: &Path) -> io::Result<TempDir> {
    let pid = std::process::id().to_string();
    let prefix = format!("{PREFIX}{pid}-{:0<padding$}", "", padding = LONGEST_PID.saturating_sub(pid.len()));
    tempfile::Builder::new().prefix(&prefix).permissions(Permissions::from_mode(0o700)).tempdir_in(parent)
}

/// A script that is part of this program. Interpreters that run it at the same time share one file.
pub struct Script {
    name: &'static str,
    text: &'static str,
    file: Mutex<Weak<ScriptFile>>,
}

/// A script's file in a private folder. Dropping the last owner removes both.
pub struct ScriptFile {
    folder: TempDir,
    name: &'static str,
}

impl Script {
    /// A script with this file name and text. The file is not written yet.
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, file: Mutex::new(Weak::new()) }
    }

    /// The script's file, written now if nobody owns one. It lives until its last owner drops it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn file(&self) -> io::Result<Arc<ScriptFile>> {
        let mut kept = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = kept.upgrade() {
            return Ok(file);
        }
        let file = Arc::new(ScriptFile { folder: private_folder(&std::env::temp_dir())?, name: self.name });
        fs::write(file.path(), self.text)?;
        *kept = Arc::downgrade(&file);
        Ok(file)
    }
}

impl ScriptFile {
    /// The path of the script.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_contain_the_process_id_and_have_a_fixed_length() {
        let parent = tempfile::tempdir().unwrap();
        let folder = private_folder(parent.path()).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        let (pid, rest) = name.strip_prefix(PREFIX).unwrap().split_once('-').unwrap();
        assert_eq!(pid, std::process::id().to_string());
        assert_eq!(pid.len() + rest.len(), LONGEST_PID + 6);
    }

    #[test]
    fn a_script_is_written_once_and_removed_with_its_last_owner() {
        let script = Script::new("x.py", "pass\n");
        let (one, other) = (script.file().unwrap(), script.file().unwrap());
        let path = one.path();
        assert_eq!((&path, fs::read_to_string(&path).unwrap().as_str()), (&other.path(), "pass\n"));
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(one);
        assert!(path.exists());
        drop(other);
        assert!(!path.parent().unwrap().exists());
        assert!(script.file().unwrap().path().exists(), "and can be written again");
    }
}
