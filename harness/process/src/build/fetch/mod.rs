//! Fetches Debian's CPython 3.15, release and debug, with everything it needs to run, including its C library and
//! loader.
//!
//! ```text
//! CACHE/fetch.lock              held while fetching
//! CACHE/fetching/               apt's state: the index, complete and partial packages; an interrupted run leaves it
//! CACHE/debian-3.15.unpacking/  packages being unpacked
//! CACHE/debian-3.15/            complete: appears by a rename and never changes afterwards
//! CACHE/debian-3.15-tests/      CPython's own tests, if they were requested; made in the same way
//! CACHE/debian-3.15-headers/    its headers, likewise
//! ```
//! The machine's own apt does the work with the machine's proxies, keys and mirror. It keeps its state in the cache, so
//! it needs no privileges and changes nothing in the system.

mod apt;
mod archive;
mod companion;
mod error;
mod lock;
mod unpack;

use std::fs;
use std::path::{Path, PathBuf};

pub use archive::Archive;
pub use companion::{Companion, fetch_companion, fetch_companion_from};
pub use error::FetchError;

use self::apt::Apt;
use super::FetchProgress;

/// The packages to request. Dependencies add the rest.
const PACKAGES: [&str; 2] = ["python3.15", "python3.15-dbg"];

/// Name of the complete folder.
const COMPLETE: &str = "debian-3.15";

/// The interpreters in the complete folder.
const PYTHONS: [&str; 2] = ["usr/bin/python3.15", "usr/bin/python3.15-dbg"];

/// The interpreters fetched into `cache` earlier, release build first, or `None` if no fetch is complete or a file is
/// damaged.
#[must_use]
pub fn fetched(cache: &Path) -> Option<Vec<PathBuf>> {
    let root = complete_folder(cache);
    let complete = unpack::check_complete(&root).is_some_and(|checked| checked.is_ok());
    let pythons: Vec<_> = PYTHONS.iter().map(|python| root.join(python)).collect();
    (complete && pythons.iter().all(|python| python.is_file())).then_some(pythons)
}

/// The folder of the fetched interpreters.
#[must_use]
pub fn complete_folder(cache: &Path) -> PathBuf {
    cache.join(COMPLETE)
}

/// Fetches Debian's release and debug builds of 3.15 into `cache`, unless they are there, and returns both
/// interpreters. Files left by an interrupted run are reused.
///
/// # Errors
/// There is no apt, archive, network or space, or `progress` is interrupted. The next run continues from there.
pub fn fetch(cache: &Path, progress: &mut dyn FetchProgress) -> Result<Vec<PathBuf>, FetchError> {
    match fetched(cache) {
        Some(pythons) => Ok(pythons),
        None => fetch_from(&Archive::of_this_machine()?, cache, progress),
    }
}

/// [`fetch`] from the given archive.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_from(
    archive: &Archive,
    cache: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<Vec<PathBuf>, FetchError> {
    if let Some(pythons) = fetched(cache) {
        return Ok(pythons);
    }
    let result = locked(archive, cache, progress);
    progress.finish();
    // If the disk is full, report that instead of its consequences.
    result.map_err(|error| error.or_full_disk(cache))
}

fn locked(archive: &Archive, cache: &Path, progress: &mut dyn FetchProgress) -> Result<Vec<PathBuf>, FetchError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(FetchError::Machine { have: std::env::consts::ARCH });
    }
    create(cache)?;
    let _lock = lock::take(&cache.join("fetch.lock"), progress)?;
    // Another process may have fetched while this one waited for the lock.
    if let Some(pythons) = fetched(cache) {
        return Ok(pythons);
    }

    if let Some(Err(damage)) = unpack::check_complete(&complete_folder(cache)) {
        progress.step(&format!("The build fetched earlier is damaged ({damage}), so it is fetched again"));
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

/// Makes an empty folder for unpacking what will become the folder `name`.
fn unpacking(cache: &Path, name: &str) -> Result<PathBuf, FetchError> {
    let folder = cache.join(format!("{name}.unpacking"));
    remove(&folder)?;
    create(&folder)?;
    Ok(folder)
}

/// Renames the unpacked folder to the complete folder `name`.
fn publish(unpacking: &Path, cache: &Path, name: &str) -> Result<PathBuf, FetchError> {
    let complete = cache.join(name);
    // A folder without a manifest or of another version cannot be trusted and blocks the rename.
    remove(&complete)?;
    fs::rename(unpacking, &complete).map_err(FetchError::folder(&complete))?;
    Ok(complete)
}

/// Creates a folder and its parents.
fn create(folder: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(folder).map_err(FetchError::folder(folder))
}

/// Removes a folder and its contents, if it exists.
fn remove(folder: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(FetchError::folder(folder)(error)),
        _ => Ok(()),
    }
}
