//! Searches for Python interpreters on `PATH` and where uv and pyenv install them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Build, BuildError, probe};

/// Suffixes that distributions add to a name: debug, free-threaded, or both.
const SUFFIXES: [&str; 5] = ["", "d", "-dbg", "t", "td"];

/// The minor versions of 3 that are searched for, newest first: from the first that can be walked to one that does not
/// exist yet.
const MINORS: std::ops::Range<u32> = 13..22;

/// Every Python on `PATH`, each installation once, newest version name first. A file that is not a supported CPython is
/// listed once, with the reason. An older `python3` next to a supported one is such a reason, not a failure.
#[must_use]
pub fn on_path() -> Vec<Result<Build, BuildError>> {
    let names = versions().chain(["python3".to_owned()]);
    let names = names.flat_map(|name| SUFFIXES.map(|suffix| format!("{name}{suffix}")));
    let names = names.chain(["python".to_owned()]);
    probed(names.flat_map(|name| which::which_all(name).into_iter().flatten()).collect())
}

/// Every CPython since 3.13 that uv or pyenv has installed, each installation once, newest version first.
#[must_use]
pub fn installed() -> Vec<Result<Build, BuildError>> {
    let file = |folder: PathBuf, name: &str| folder.join("bin").join(name);
    let of_version = |name: String| {
        let all = folders().into_iter().flat_map(installations);
        all.map(move |folder| file(folder, &name)).filter(|file| file.is_file())
    };
    probed(versions().flat_map(of_version).collect())
}

fn versions() -> impl Iterator<Item = String> {
    MINORS.rev().map(|minor| format!("python3.{minor}"))
}

fn probed(paths: Vec<PathBuf>) -> Vec<Result<Build, BuildError>> {
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

/// The folders in which uv and pyenv keep one folder for each installation. Their environment variables come first.
fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let uv = variable("UV_PYTHON_INSTALL_DIR").or_else(|| Some(dirs::data_dir()?.join("uv/python")));
    let pyenv = variable("PYENV_ROOT").or_else(|| Some(dirs::home_dir()?.join(".pyenv")));
    [uv, pyenv.map(|root| root.join("versions"))].into_iter().flatten().collect()
}

/// The folders inside, in the order of their names.
fn installations(folder: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut inside: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    inside.sort();
    inside
}
