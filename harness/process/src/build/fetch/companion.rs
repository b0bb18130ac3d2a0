//! Fetches packages that go with the fetched interpreters, in exactly their version: CPython's tests and headers.

use std::path::{Path, PathBuf};

use framewalk::layout::VersionHex;

use super::super::FetchProgress;
use super::apt::Apt;
use super::{
    Archive, COMPLETE, FetchError, PACKAGES, create, error, fetched, lock, publish, remove, unpack, unpacking,
};

/// A package that goes with the interpreters. It depends on them, and they were fetched already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companion {
    /// The files that the package `test` lacks in the interpreter's own library.
    Tests,
    /// The headers, internal ones included.
    Headers,
}

impl Companion {
    /// What it is in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Headers => "headers",
        }
    }

    /// Debian's package.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Tests => "libpython3.15-testsuite",
            Self::Headers => "libpython3.15-dev",
        }
    }

    /// Name of the complete folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Tests => "debian-3.15-tests",
            Self::Headers => "debian-3.15-headers",
        }
    }

    /// The path inside it of what is wanted.
    fn inside(self) -> &'static str {
        match self {
            Self::Tests => "usr/lib/python3.15/test",
            Self::Headers => "usr/include",
        }
    }
}

/// Fetches a companion of CPython `version` into `cache`, unless it is there, and returns its folder: the files of the
/// package `test`, or the folder of include folders. Only companions of the interpreters fetched by [`super::fetch`] are
/// available.
///
/// # Errors
/// `cache` has no interpreters or ones of another version, the archive has moved on to another version, or an error of
/// [`super::fetch`].
pub fn fetch_companion(
    companion: Companion,
    version: VersionHex,
    cache: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<PathBuf, FetchError> {
    let wanted = wanted(companion, version, cache)?;
    match present(companion, cache, &wanted) {
        Some(folder) => Ok(folder),
        None => fetch_companion_from(&Archive::of_this_machine()?, companion, version, cache, progress),
    }
}

/// [`fetch_companion`] from the given archive.
///
/// # Errors
/// As [`fetch_companion`].
pub fn fetch_companion_from(
    archive: &Archive,
    companion: Companion,
    version: VersionHex,
    cache: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<PathBuf, FetchError> {
    let wanted = wanted(companion, version, cache)?;
    let result = locked(archive, companion, &wanted, cache, progress);
    progress.finish();
    result.map_err(|error| error.or_full_disk(cache))
}

/// The package version of the interpreters in `cache`, if they are CPython `version`.
fn wanted(companion: Companion, version: VersionHex, cache: &Path) -> Result<String, FetchError> {
    let [package, _] = PACKAGES;
    let have = fetched(cache).and_then(|_| unpack::version(&cache.join(COMPLETE), package));
    // In "3.15.2-1", the part before the hyphen is CPython's own version.
    let of_this = |have: &String| have.rsplit_once('-').is_some_and(|(upstream, _)| upstream == version.to_string());
    match have {
        Some(have) if of_this(&have) => Ok(have),
        have => {
            let (version, cache) = (version.to_string(), cache.to_path_buf());
            Err(FetchError::CompanionOfAnother { companion, version, cache, have })
        }
    }
}

/// The companion's folder, if it exists in this version.
fn present(companion: Companion, cache: &Path, wanted: &str) -> Option<PathBuf> {
    let root = cache.join(companion.folder());
    let folder = root.join(companion.inside());
    (unpack::version(&root, companion.package())? == wanted && folder.is_dir()).then_some(folder)
}

fn locked(
    archive: &Archive,
    companion: Companion,
    wanted: &str,
    cache: &Path,
    progress: &mut dyn FetchProgress,
) -> Result<PathBuf, FetchError> {
    let _lock = lock::take(&cache.join("fetch.lock"), progress)?;
    // Another process may have fetched while this one waited for the lock.
    if let Some(folder) = present(companion, cache, wanted) {
        return Ok(folder);
    }
    let fetching = cache.join("fetching");
    create(&fetching)?;
    let apt = Apt::new(&fetching, archive)?;
    progress.step(&format!("Reading the package index of {}", archive.uri));
    apt.update(progress)?;
    let package =
        apt.plan_one(companion.package(), wanted, progress)?.map_err(|detail| FetchError::CompanionNotOffered {
            companion,
            uri: archive.uri.clone(),
            version: wanted.to_owned(),
            detail,
            folder: cache.join(COMPLETE),
        })?;
    error::need_space_for_companion(cache, package.size)?;
    progress.step(&format!(
        "Fetching CPython's {} ({} {wanted}) from {}",
        companion.name(),
        companion.package(),
        archive.uri
    ));
    apt.download_one(companion.package(), wanted, package.size, progress)?;

    let unpacking = unpacking(cache, companion.folder())?;
    progress.step("Checking and unpacking");
    let files = [(&package, apt.file(&package))];
    unpack::unpack(&files, &unpacking, progress)?;
    unpack::write_manifest(&files, archive, &unpacking)?;
    let complete = publish(&unpacking, cache, companion.folder())?;
    remove(&fetching)?;
    present(companion, cache, wanted).ok_or(FetchError::Vanished { folder: complete })
}
