//! Searches `PATH` for Python interpreters.

use std::collections::HashSet;
use std::path::Path;

use framewalk::layout::version::KNOWN;
use rayon::prelude::*;

use super::{Build, BuildError, probe};

/// Suffixes that distributions add to a name: debug, free-threaded, or both.
const SUFFIXES: [&str; 5] = ["", "d", "-dbg", "t", "td"];

/// Every Python on `PATH`, each installation once, newest version name first. A file that is not a supported CPython is
/// listed once, with the reason. An older `python3` next to a supported one is such a reason, not a failure.
#[must_use]
pub fn on_path() -> Vec<Result<Build, BuildError>> {
    let versions = KNOWN.iter().rev().map(|version| format!("python{version}")).chain(["python3".to_owned()]);
    let names = versions.flat_map(|name| SUFFIXES.map(|suffix| format!("{name}{suffix}")));
    let names = names.chain(["python".to_owned()]);
    let paths: Vec<_> = names.flat_map(|name| which::which_all(name).into_iter().flatten()).collect();
    // One launcher file may start another version for each of its names, so only the answers identify the
    // installations.
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
