//! The Pythons on PATH.

use std::collections::HashSet;
use std::path::PathBuf;

use rayon::prelude::*;

use super::{Build, BuildError, probe};

/// Minor versions to look for by name, newest first.
const MINORS: [&str; 3] = ["3.15", "3.14", "3.13"];

/// What distributions append to a name: free-threaded, debug, both.
const SUFFIXES: [&str; 5] = ["", "d", "-dbg", "t", "td"];

/// Every Python that PATH names, each file and each installation once, in order of version names; what is not a
/// supported CPython with the reason. An older `python3` next to a supported one is such a reason, not a failure.
#[must_use]
pub fn on_path() -> Vec<Result<Build, BuildError>> {
    let probed: Vec<_> = candidates().par_iter().map(|path| probe(path)).collect();
    let mut seen = HashSet::new();
    probed
        .into_iter()
        .filter(|found| match found {
            Ok(build) => seen.insert(build.executable.canonicalize().unwrap_or_else(|_| build.executable.clone())),
            Err(_) => true,
        })
        .collect()
}

/// The names that exist, each real file once.
fn candidates() -> Vec<PathBuf> {
    let versioned = MINORS.iter().flat_map(|minor| SUFFIXES.map(|suffix| format!("python{minor}{suffix}")));
    let names = versioned.chain(["python3", "python"].map(str::to_owned));
    let mut seen = HashSet::new();
    names
        .flat_map(|name| which::which_all(name).into_iter().flatten())
        .filter(|path| path.canonicalize().is_ok_and(|real| seen.insert(real)))
        .collect()
}
