//! Scripts of ours as files, so that `ps` shows what an interpreter runs, and not the text of it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// The start of the name of a folder that belongs to a process of this program.
pub const PREFIX: &str = "framediff-run-";

/// The digits of the kernel's largest process id.
const LONGEST_PID: usize = 7;

/// A fresh folder in `parent` that only this user may enter, named for this process. Its name is always of the same length:
/// where things lie in an interpreter's memory depends on how long its arguments are.
///
/// # Errors
/// It cannot be made.
pub fn private_folder(parent: &Path) -> io::Result<TempDir> {
    let pid = std::process::id().to_string();
    let prefix = format!("{PREFIX}{pid}-{:0<padding$}", "", padding = LONGEST_PID.saturating_sub(pid.len()));
    tempfile::Builder::new().prefix(&prefix).permissions(Permissions::from_mode(0o700)).tempdir_in(parent)
}

/// A script of ours. It is written once for all interpreters that run it at the same time.
pub struct Script {
    name: &'static str,
    text: &'static str,
    file: Mutex<Weak<ScriptFile>>,
}

/// A script in a private folder. Dropping the last owner removes both.
pub struct ScriptFile {
    folder: TempDir,
    name: &'static str,
}

impl Script {
    /// A script of this name and text, which has no file yet.
    pub const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text, file: Mutex::new(Weak::new()) }
    }

    /// The script's file, which lives as long as somebody holds it.
    ///
    /// # Errors
    /// It cannot be written.
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
    /// Where the script is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_says_whose_it_is_and_its_name_is_as_long_as_any() {
        let parent = tempfile::tempdir().unwrap();
        let folder = private_folder(parent.path()).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap();
        let (pid, rest) = name.strip_prefix(PREFIX).unwrap().split_once('-').unwrap();
        assert_eq!(pid, std::process::id().to_string());
        assert_eq!(pid.len() + rest.len(), LONGEST_PID + 6);
    }

    #[test]
    fn a_script_is_written_once_and_goes_with_its_last_owner() {
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
