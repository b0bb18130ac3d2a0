//! The cache folder for fetched builds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use thiserror::Error;

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
}

/// The flag's folder, else the variable's, else the user's cache folder.
///
/// # Errors
/// None of the three names a folder. The disk is not touched.
pub fn cache_folder(flag: Option<&Path>) -> Result<PathBuf, CacheFolderError> {
    choose(flag, std::env::var_os(CACHE_VARIABLE), dirs::cache_dir())
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
    fn a_relative_folder_becomes_absolute() {
        assert!(choose(Some(Path::new("here")), None, None).unwrap().is_absolute());
    }
}
