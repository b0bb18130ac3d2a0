//! Scripts written to files, so that `ps` shows a file name instead of the script's text.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{fs, io};

use crate::run_folder::RunFolder;

/// A script that is part of this program. Interpreters that run it at the same time share one file.
pub struct Script {
    name: &'static str,
    text: &'static str,
    file: Mutex<Weak<ScriptFile>>,
}

/// A script's file in a private folder. Dropping the last owner removes both.
pub struct ScriptFile {
    folder: RunFolder,
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
        let file = Arc::new(ScriptFile { folder: RunFolder::new().map_err(io::Error::other)?, name: self.name });
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

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
