//! The folder for results.

use std::fs;
use std::path::Path;

/// Creates the folder for results and checks that files can be created in it, before any work is done.
///
/// # Errors
/// The folder cannot be created or written to. The message names it.
pub(super) fn for_results(folder: &Path) -> Result<(), String> {
    let tried = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    tried.map(drop).map_err(|error| format!("cannot write into {}: {error}", folder.display()))
}
