//! The list that `framediff builds` prints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use framewalk::layout::CacheFields;
use serde::Serialize;

use super::{Build, BuildError, BuildOptions, Sanitizer, fetched, installed, on_path, probe, probe_with};

/// How a build got into the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Named by a flag.
    Given,
    /// It was found on PATH.
    Path,
    /// uv or pyenv installed it.
    Installed,
    /// Fetched into the cache folder.
    Fetched,
}

/// One line of the list: a build, or a file that is not one. Unknown fields are `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The file that would be executed.
    pub path: PathBuf,
    /// How it got into the list.
    pub origin: Origin,
    /// CPython's version; `None` if the file is not a usable interpreter.
    pub version: Option<String>,
    /// "release", "debug", "free-threaded" or "free-threaded debug", followed by sanitizers if any.
    pub kind: Option<String>,
    /// The sanitizers it was compiled with.
    pub sanitizers: BTreeSet<Sanitizer>,
    /// Whether it has a JIT that can be turned on.
    pub jit_available: Option<bool>,
    /// The form of its frame cache.
    pub frame_cache: Option<CacheFields>,
    /// Where the order of its offsets was found, and how many of its words were proved on a live process.
    pub layout: Option<String>,
    /// Why it cannot be tested.
    pub refused: Option<String>,
}

impl Listed {
    fn new(origin: Origin, found: &Result<Build, BuildError>) -> Self {
        let build = found.as_ref().ok();
        let version = match found {
            Ok(build) => Some(build.version),
            Err(BuildError::TooOld { version, .. } | BuildError::NoRuntimeSection { version, .. }) => Some(*version),
            Err(_) => None,
        };
        Self {
            path: match found {
                Ok(build) => build.python.clone(),
                Err(error) => error.path().to_path_buf(),
            },
            origin,
            version: build.map(Build::full_version).or(version.map(|version| version.to_string())),
            kind: build.map(Build::kind),
            sanitizers: build.map(|build| build.sanitizers.clone()).unwrap_or_default(),
            jit_available: build.map(|build| build.jit_available),
            frame_cache: build.map(Build::frame_cache).or(version.map(CacheFields::of_version)),
            layout: build.and_then(|build| build.layout.as_ref().ok()).map(ToString::to_string),
            refused: match found {
                Ok(build) => build.usable().err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            },
        }
    }
}

/// All builds: `pythons`, then those on PATH or installed by uv or pyenv, then those fetched into `cache`. Fetches nothing.
/// `options` are about the layouts of `pythons`.
#[must_use]
pub fn listing(pythons: &[PathBuf], options: &BuildOptions, cache: &Path) -> Vec<Listed> {
    let given = pythons.iter().map(|path| Listed::new(Origin::Given, &probe_with(path, options)));
    let found = on_path().into_iter().map(|found| Listed::new(Origin::Path, &found));
    let found = found.chain(installed().into_iter().map(|found| Listed::new(Origin::Installed, &found)));
    let fetched = fetched(cache).into_iter().flatten().map(|path| Listed::new(Origin::Fetched, &probe(&path)));
    given.chain(found).chain(fetched).collect()
}
