//! Which builds a run tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use framewalk::layout::FrameCache;
use thiserror::Error;

use super::{Build, BuildError, FetchError, Progress, Row, fetch, fetched, on_path, probe, rows};

/// What a run tests.
#[derive(Debug)]
pub struct Selection {
    /// The builds, in the order of the tables.
    pub builds: Vec<Arc<Build>>,
    /// Each build in each of its run modes.
    pub rows: Vec<Row>,
    /// What was found but is not tested, and why.
    pub skipped: Vec<BuildError>,
    /// What the user should know about the choice.
    pub notes: Vec<String>,
}

/// Why there is nothing to test.
#[derive(Debug, Error)]
pub enum SelectError {
    /// A build that was asked for cannot be tested.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No build of 3.15 is there and none can be had.
    #[error("no CPython 3.15 was given, is on PATH or in {}, and fetching one failed:\n{source}", cache.display())]
    Fetch {
        /// The cache folder.
        cache: PathBuf,
        /// Why.
        source: FetchError,
    },
}

/// Exactly `pythons` if any are given. Otherwise all that is supported on PATH; and if none of that has the frame
/// cache, which is what a run is about, also what was fetched into `cache`, which is fetched now if it is not there.
///
/// # Errors
/// Fails if one of `pythons` cannot be tested, or nothing with the frame cache can be had.
pub fn select(pythons: &[PathBuf], cache: &Path, progress: &mut dyn Progress) -> Result<Selection, SelectError> {
    let mut builds = Vec::new();
    let (mut skipped, mut notes) = (Vec::new(), Vec::new());
    for python in pythons {
        builds.push(usable(probe(python))?);
    }
    if pythons.is_empty() {
        for found in on_path() {
            match usable(found) {
                Ok(build) => builds.push(build),
                Err(error) => skipped.push(error),
            }
        }
        if !builds.iter().any(|build| build.frame_cache() != FrameCache::Absent) {
            let had = fetched(cache).is_some();
            let paths =
                fetch(cache, progress).map_err(|source| SelectError::Fetch { cache: cache.to_path_buf(), source })?;
            let origin = if had { "fetched earlier" } else { "fetched just now" };
            notes.push(format!("no CPython 3.15 on PATH: using Debian's, {origin} into {}", cache.display()));
            let mut cached = Vec::new();
            for path in paths {
                cached.push(usable(probe(&path))?);
            }
            builds = cached.into_iter().chain(builds).collect();
        }
    }
    notes.extend(builds.iter().flat_map(of_sanitizers));
    let builds: Vec<_> = builds.into_iter().map(Arc::new).collect();
    Ok(Selection { rows: rows(&builds), builds, skipped, notes })
}

/// What differs when a build with sanitizers is tested.
pub(super) fn of_sanitizers(build: &Build) -> Vec<String> {
    let name = format!("{} {}", build.version, build.kind());
    build.sanitizers.iter().map(|sanitizer| format!("{name}: {sanitizer}: {}", sanitizer.advice())).collect()
}

/// A build that walkers can read.
fn usable(build: Result<Build, BuildError>) -> Result<Build, BuildError> {
    let build = build?;
    build.usable()?;
    Ok(build)
}
