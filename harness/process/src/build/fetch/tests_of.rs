//! Fetches CPython's own tests in exactly the version of the fetched interpreters.

use std::path::{Path, PathBuf};

use framewalk::layout::VersionHex;

use super::super::FetchProgress;
use super::apt::Apt;
use super::{
    Archive, COMPLETE, FetchError, PACKAGES, create, error, fetched, lock, publish, remove, unpack, unpacking,
};

/// The package with the tests. It depends on the interpreter, which was fetched already.
const PACKAGE: &str = "libpython3.15-testsuite";

/// Name of the complete folder.
const TESTS: &str = "debian-3.15-tests";

/// The path inside it of the files that the package `test` lacks in the interpreter's own library.
const FOLDER: &str = "usr/lib/python3.15/test";

/// Fetches the tests of CPython `version` into `cache`, unless they are there, and returns the folder with the files of
/// the package `test`. Only the tests of the interpreters fetched by [`super::fetch`] are available.
///
/// # Errors
/// `cache` has no interpreters or ones of another version, the archive has moved on to another version, or an error of
/// [`super::fetch`].
pub fn fetch_tests(version: VersionHex, cache: &Path, progress: &mut dyn FetchProgress) -> Result<PathBuf, FetchError> {
    let wanted = wanted(version, cache)?;
    match present(cache, &wanted) {
        Some(folder) => Ok(folder),
        None => fetch_tests_from(&Archive::of_this_machine()?, version, cache, progress),
    }
}

/// [`fetch_tests`] from the given archive.
///
/// # Errors
/// As [`fetch_tests`].
pub fn fetch_tests_from(
    archive: &Archive,
    version: VersionHex,
    cache: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<PathBuf, FetchError> {
    let wanted = wanted(version, cache)?;
    if let Some(folder) = present(cache, &wanted) {
        return Ok(folder);
    }
    let result = locked(archive, &wanted, cache, progress);
    progress.finish();
    result.map_err(|error| error.or_full_disk(cache))
}

/// The package version of the interpreters in `cache`, if they are CPython `version`.
fn wanted(version: VersionHex, cache: &Path) -> Result<String, FetchError> {
    let [package, _] = PACKAGES;
    let have = fetched(cache).and_then(|_| unpack::version(&cache.join(COMPLETE), package));
    // In "3.15.2-1", the part before the hyphen is CPython's own version.
    let of_this = |have: &String| have.rsplit_once('-').is_some_and(|(upstream, _)| upstream == version.to_string());
    match have {
        Some(have) if of_this(&have) => Ok(have),
        have => Err(FetchError::TestsOfAnother { version: version.to_string(), cache: cache.to_path_buf(), have }),
    }
}

/// The folder with the tests, if it exists in this version.
fn present(cache: &Path, wanted: &str) -> Option<PathBuf> {
    let root = cache.join(TESTS);
    let folder = root.join(FOLDER);
    (unpack::version(&root, PACKAGE)? == wanted && folder.is_dir()).then_some(folder)
}

fn locked(
    archive: &Archive,
    wanted: &str,
    cache: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<PathBuf, FetchError> {
    let _lock = lock::take(&cache.join("fetch.lock"), progress)?;
    // Another process may have fetched while this one waited for the lock.
    if let Some(folder) = present(cache, wanted) {
        return Ok(folder);
    }
    let fetching = cache.join("fetching");
    create(&fetching)?;
    let apt = Apt::new(&fetching, archive)?;
    progress.step(&format!("Reading the package index of {}", archive.uri));
    apt.update(progress)?;
    let package = apt.plan_one(PACKAGE, wanted, progress)?.map_err(|detail| FetchError::TestsNotOffered {
        uri: archive.uri.clone(),
        version: wanted.to_owned(),
        detail,
        folder: cache.join(COMPLETE),
    })?;
    error::need_space_for_tests(cache, package.size)?;
    progress.step(&format!("Fetching CPython's tests ({PACKAGE} {wanted}) from {}", archive.uri));
    apt.download_one(PACKAGE, wanted, package.size, progress)?;

    let unpacking = unpacking(cache, TESTS)?;
    progress.step("Checking and unpacking");
    let files = [(&package, apt.file(&package))];
    unpack::unpack(&files, &unpacking, progress)?;
    unpack::write_manifest(&files, archive, &unpacking)?;
    let complete = publish(&unpacking, cache, TESTS)?;
    remove(&fetching)?;
    present(cache, wanted).ok_or(FetchError::Vanished { folder: complete })
}
