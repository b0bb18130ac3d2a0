//! The cache folder for fetched builds.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use thiserror::Error;

use super::complete_folder;

/// The environment variable that names the cache folder. A flag takes precedence.
pub const CACHE_VARIABLE: &str = "FRAMEDIFF_CACHE";

/// Why no cache folder could be determined.
#[derive(Debug, Error)]
pub enum CacheFolderError {
    /// There is no flag, no variable and no home folder.
    #[error("there is no cache folder because the user has no home folder; set {CACHE_VARIABLE} or pass --cache")]
    NoHome,
    /// The path is relative and the current folder is gone.
    #[error("the path of the cache folder {} is relative, but the current folder is unknown: {source}; pass an \
        absolute path with --cache", path.display())]
    Relative {
        /// The path as given.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// Root would run programs that other users can replace.
    #[error(
        "another user can write to {} (owner {owner}, mode {mode:03o}), and root would run what is there: run as that user, \
         take these rights away, or name another folder with --cache", path.display()
    )]
    OthersWrite {
        /// The folder or file.
        path: PathBuf,
        /// The id of the user who owns it.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
}

/// The flag's folder, else the variable's, else the user's cache folder.
///
/// # Errors
/// None of the three names a folder, or this is root and another user may write there.
pub fn cache_folder(flag: Option<&Path>) -> Result<PathBuf, CacheFolderError> {
    let cache = choose(flag, std::env::var_os(CACHE_VARIABLE), dirs::cache_dir())?;
    if geteuid().is_root() {
        own(&cache)?;
    }
    Ok(cache)
}

/// Checks that only root may write to the cache and to what is run from it.
fn own(cache: &Path) -> Result<(), CacheFolderError> {
    let complete = complete_folder(cache);
    let inside = ["", "usr", "usr/bin", "usr/lib", "usr/lib64"].map(|folder| complete.join(folder));
    let programs = fs::read_dir(complete.join("usr/bin")).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in [cache.to_owned()].into_iter().chain(inside).chain(programs) {
        // What does not exist yet is made by this process.
        let Ok(there) = fs::metadata(&path) else { continue };
        let (owner, mode) = (there.uid(), there.mode() & 0o777);
        if !is_only_of_root(owner, there.gid(), mode) {
            return Err(CacheFolderError::OthersWrite { path, owner, mode });
        }
    }
    Ok(())
}

/// Root's group has no other members.
fn is_only_of_root(owner: u32, group: u32, mode: u32) -> bool {
    owner == 0 && mode & 0o002 == 0 && (mode & 0o020 == 0 || group == 0)
}

fn choose(flag: Option<&Path>, variable: Option<OsString>, user: Option<PathBuf>) -> Result<PathBuf, CacheFolderError> {
    let named = flag.map(Path::to_path_buf).or_else(|| variable.filter(|value| !value.is_empty()).map(PathBuf::from));
    let path = match named {
        Some(path) => path,
        None => user.ok_or(CacheFolderError::NoHome)?.join("framediff"),
    };
    std::path::absolute(&path).map_err(|source| CacheFolderError::Relative { path, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_flag_overrides_the_variable_and_the_variable_the_home_folder() {
        let user = || Some(PathBuf::from("/someone/.cache"));
        let chosen = |flag, variable: Option<&str>, user| choose(flag, variable.map(OsString::from), user).ok();
        assert_eq!(chosen(Some(Path::new("/f")), Some("/v"), user()), Some(PathBuf::from("/f")));
        assert_eq!(chosen(None, Some("/v"), user()), Some(PathBuf::from("/v")));
        assert_eq!(chosen(None, Some(""), user()), Some(PathBuf::from("/someone/.cache/framediff")));
        assert_eq!(chosen(None, None, None), None);
    }

    #[test]
    fn root_uses_no_cache_that_others_may_write() {
        assert!(is_only_of_root(0, 0, 0o775) && is_only_of_root(0, 7, 0o755));
        assert!(!is_only_of_root(7, 0, 0o700) && !is_only_of_root(0, 7, 0o770) && !is_only_of_root(0, 0, 0o777));
        let cache = tempfile::tempdir().unwrap();
        let folder = complete_folder(cache.path()).join("usr/bin");
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(own(cache.path()).is_ok(), geteuid().is_root());
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = own(cache.path()).unwrap_err().to_string();
        assert!(error.contains("and root would run what is there"), "{error}");
    }

    #[test]
    fn a_relative_folder_becomes_absolute() {
        assert!(choose(Some(Path::new("here")), None, None).unwrap().is_absolute());
    }
}
