//! Decides which builds a run tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewalk::layout::CacheFields;
use thiserror::Error;

use super::{
    Build, BuildError, BuildOptions, BuildVariant, FetchError, FetchProgress, complete_folder, fetch, fetched,
    installed, on_path, probe, probe_with, rows,
};

/// The builds a run tests, and the ones it leaves out.
#[derive(Debug)]
pub struct BuildSelection {
    /// The builds, in the order of the tables.
    pub builds: Vec<Arc<Build>>,
    /// Each build in each of its run modes.
    pub rows: Vec<BuildVariant>,
    /// Builds that were found but are not tested, with the reason.
    pub skipped: Vec<BuildError>,
    /// Messages for the user about the choice.
    pub notes: Vec<String>,
}

/// Why nothing could be selected.
#[derive(Debug, Error)]
pub enum SelectError {
    /// A build that the user named cannot be tested.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A fetched build does not run, although its files have their sizes.
    #[error("{source}\nIt was fetched: remove the folder {}, and it is fetched again", folder.display())]
    Damaged {
        /// The folder of the fetched builds.
        folder: PathBuf,
        /// Why it cannot be tested.
        source: BuildError,
    },
    /// There is no build of 3.15, and fetching one failed.
    #[error("no CPython 3.15 was given with --python, none is on PATH, installed by uv or pyenv, or in {}, and \
        fetching one failed:\n{source}", cache.display())]
    Fetch {
        /// The cache folder that was searched for fetched builds.
        cache: PathBuf,
        /// Why the fetch failed.
        source: Box<FetchError>,
    },
}

/// Selects exactly `pythons` if any are given, else all supported builds on `PATH` and the builds with a frame cache that
/// uv and pyenv installed. If none of those has a frame cache, the builds in `cache` are added; they are fetched first if
/// they are missing. `options` are about `pythons`.
///
/// # Errors
/// One of `pythons` cannot be tested, or no build with a frame cache is available.
pub fn select(
    pythons: &[PathBuf],
    options: &BuildOptions,
    cache: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<BuildSelection, SelectError> {
    let mut builds = Vec::new();
    let (mut skipped, mut notes) = (Vec::new(), Vec::new());
    for python in pythons {
        builds.push(usable(probe_with(python, options))?);
    }
    if pythons.is_empty() {
        for found in on_path() {
            match usable(found) {
                Ok(build) => builds.push(build),
                Err(error) => skipped.push(error),
            }
        }
        // Versions without a frame cache are tested where the user's PATH names them.
        let is_new = |build: &Build| builds.iter().all(|other: &Build| other.executable != build.executable);
        let newer: Vec<Build> = installed()
            .into_iter()
            .filter_map(|found| usable(found).ok())
            .filter(|build| build.frame_cache() != CacheFields::Absent && is_new(build))
            .collect();
        builds.extend(newer);
        if !builds.iter().any(|build| build.frame_cache() != CacheFields::Absent) {
            let had = fetched(cache).is_some();
            let failed = |source| SelectError::Fetch { cache: cache.to_path_buf(), source: Box::new(source) };
            let paths = fetch(cache, progress).map_err(failed)?;
            let origin = if had { "fetched earlier" } else { "fetched just now" };
            notes.push(format!(
                "no CPython 3.15 on PATH or installed by uv or pyenv: using Debian's, {origin} into {}",
                cache.display()
            ));
            let mut cached = Vec::new();
            for path in paths {
                let damaged = |source| SelectError::Damaged { folder: complete_folder(cache), source };
                cached.push(usable(probe(&path)).map_err(damaged)?);
            }
            builds = cached.into_iter().chain(builds).collect();
        }
    }
    notes.extend(builds.iter().flat_map(of_sanitizers));
    notes.extend(builds.iter().filter_map(of_layout));
    let builds: Vec<_> = builds.into_iter().map(Arc::new).collect();
    Ok(BuildSelection { rows: rows(&builds), builds, skipped, notes })
}

/// The note on a layout that had to be proved.
fn of_layout(build: &Build) -> Option<String> {
    Some(format!("{} {}: {}", build.full_version(), build.kind(), build.proof()?))
}

/// Notes on how testing a build with sanitizers differs.
pub(super) fn of_sanitizers(build: &Build) -> Vec<String> {
    let name = format!("{} {}", build.version, build.kind());
    build.sanitizers.iter().map(|sanitizer| format!("{name}: {sanitizer}: {}", sanitizer.advice())).collect()
}

/// Rejects builds that walkers cannot read.
fn usable(build: Result<Build, BuildError>) -> Result<Build, BuildError> {
    let build = build?;
    build.usable()?;
    Ok(build)
}
