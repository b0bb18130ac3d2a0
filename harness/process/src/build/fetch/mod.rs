//! Fetching Debian's CPython 3.15, release and debug, with everything it needs to run: its own C library and loader.
//!
//! ```text
//! CACHE/fetch.lock              held while fetching
//! CACHE/fetching/               apt's state: the index, packages complete and partial; what an interrupted run left
//! CACHE/debian-3.15.unpacking/  packages being unpacked
//! CACHE/debian-3.15/            complete: appears by a rename, never changes after
//! CACHE/debian-3.15-tests/      CPython's own tests, once they are asked for; made likewise
//! ```
//! The machine's own apt does the work with its own proxies, keys and mirror, but with a state of its own, so that no
//! privilege is needed and nothing of the system is touched.

mod apt;
mod archive;
mod error;
mod lock;
mod tests_of;
mod unpack;

use std::fs;
use std::path::{Path, PathBuf};

pub use archive::Archive;
pub use error::FetchError;
pub use tests_of::{fetch_tests, fetch_tests_from};

use self::apt::Apt;
use super::Progress;

/// What is asked of the archive; the rest follows from dependencies.
const PACKAGES: [&str; 2] = ["python3.15", "python3.15-dbg"];

/// The complete folder.
const COMPLETE: &str = "debian-3.15";

/// The interpreters in it.
const PYTHONS: [&str; 2] = ["usr/bin/python3.15", "usr/bin/python3.15-dbg"];

/// What was fetched into `cache` earlier, release first; nothing if there is no complete fetch.
#[must_use]
pub fn fetched(cache: &Path) -> Option<Vec<PathBuf>> {
    let root = cache.join(COMPLETE);
    // The manifest is written last before the rename.
    let complete = root.join(unpack::MANIFEST).is_file();
    let pythons: Vec<_> = PYTHONS.iter().map(|python| root.join(python)).collect();
    (complete && pythons.iter().all(|python| python.is_file())).then_some(pythons)
}

/// Fetches Debian's release and debug build of 3.15 into `cache`, unless they are there, and returns both interpreters.
/// What an interrupted run left is used.
///
/// # Errors
/// Fails without apt, archive, network or space, or when `progress` is interrupted; the next run carries on.
pub fn fetch(cache: &Path, progress: &mut dyn Progress) -> Result<Vec<PathBuf>, FetchError> {
    match fetched(cache) {
        Some(pythons) => Ok(pythons),
        None => fetch_from(&Archive::of_this_machine()?, cache, progress),
    }
}

/// [`fetch`] from an archive of the caller's choice.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_from(archive: &Archive, cache: &Path, progress: &mut dyn Progress) -> Result<Vec<PathBuf>, FetchError> {
    if let Some(pythons) = fetched(cache) {
        return Ok(pythons);
    }
    let result = locked(archive, cache, progress);
    progress.finish();
    // Whatever failed, a full disk is the cause to name.
    result.map_err(|error| error.or_full_disk(cache))
}

fn locked(archive: &Archive, cache: &Path, progress: &mut dyn Progress) -> Result<Vec<PathBuf>, FetchError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(FetchError::Machine { have: std::env::consts::ARCH });
    }
    create(cache)?;
    let _lock = lock::take(&cache.join("fetch.lock"), progress)?;
    // Another harness may have fetched while this one waited.
    if let Some(pythons) = fetched(cache) {
        return Ok(pythons);
    }

    let fetching = cache.join("fetching");
    let apt = Apt::new(&fetching, archive)?;
    progress.step(&format!("Reading the package index of {}", archive.uri));
    apt.update(progress)?;
    let packages = apt.plan(&PACKAGES, progress)?;
    let total = packages.iter().map(|package| package.size).sum();
    let there = packages.iter().map(|package| apt.size_of_fetched(package)).sum();
    error::need_space(cache, total, there)?;
    progress.step(&format!("Fetching CPython 3.15 from {} ({} packages)", archive.uri, packages.len()));
    apt.download(&PACKAGES, there, total, progress)?;

    let unpacking = unpacking(cache, COMPLETE)?;
    progress.step("Checking and unpacking");
    let files: Vec<_> = packages.iter().map(|package| (package, apt.file(package))).collect();
    unpack::unpack(&files, &unpacking, progress)?;
    unpack::launchers(&unpacking)?;
    unpack::write_manifest(&files, archive, &unpacking)?;
    for python in PYTHONS {
        super::probe(&unpacking.join(python)).map_err(|source| FetchError::Unusable { source: Box::new(source) })?;
    }

    let complete = publish(&unpacking, cache, COMPLETE)?;
    remove(&fetching)?;
    fetched(cache).ok_or(FetchError::Vanished { folder: complete })
}

/// An empty folder to unpack what is to become the folder `name`.
fn unpacking(cache: &Path, name: &str) -> Result<PathBuf, FetchError> {
    let folder = cache.join(format!("{name}.unpacking"));
    remove(&folder)?;
    create(&folder)?;
    Ok(folder)
}

/// Makes what was unpacked the complete folder `name`.
fn publish(unpacking: &Path, cache: &Path, name: &str) -> Result<PathBuf, FetchError> {
    let complete = cache.join(name);
    // A folder without manifest or of another version: not ours to trust, and in the way of the rename.
    remove(&complete)?;
    fs::rename(unpacking, &complete).map_err(FetchError::folder(&complete))?;
    Ok(complete)
}

/// Creates a folder and those above it.
fn create(folder: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(folder).map_err(FetchError::folder(folder))
}

/// Removes a folder with all that is in it, if it is there.
fn remove(folder: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FetchError::folder(folder)(error)),
        _ => Ok(()),
    }
}
