//! The Pythons on PATH.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;

use super::{Build, BuildError, probe};

/// What to look for, the newest first.
const NAMES: [&str; 4] = ["python3.15", "python3.14", "python3.13", "python3"];

/// What distributions append to a name: free-threaded, debug, both.
const SUFFIXES: [&str; 5] = ["", "d", "-dbg", "t", "td"];

/// Every Python that PATH names, each installation once, in order of version names; what is not a supported CPython
/// with the reason, each file once. An older `python3` next to a supported one is such a reason, not a failure.
#[must_use]
pub fn on_path() -> Vec<Result<Build, BuildError>> {
    let names = NAMES.iter().flat_map(|name| SUFFIXES.map(|suffix| format!("{name}{suffix}")));
    let names = names.chain(["python".to_owned()]);
    let paths: Vec<_> = names.flat_map(|name| which::which_all(name).into_iter().flatten()).collect();
    // All names may lead to one file that starts another version for each, so files alike are told only by the answer.
    let probed: Vec<_> = paths.par_iter().map(|path| probe(path)).collect();
    let mut seen = HashSet::new();
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    probed
        .into_iter()
        .filter(|found| match found {
            Ok(build) => seen.insert((true, real(&build.executable))),
            Err(error) => seen.insert((false, real(error.path()))),
        })
        .collect()
}
