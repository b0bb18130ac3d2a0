//! The interpreters for the tests: those named by two variables, otherwise Debian's, fetched once into the user's
//! cache folder.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "tests; each program uses what it needs")]

pub(crate) mod command;
pub(crate) mod executable;
pub(crate) mod loader;
#[path = "../../../sim/tests/without_interpreter/stores/mod.rs"]
pub(crate) mod stores;
pub(crate) mod target;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use process::build::{Build, Silent, cache_folder, fetch, probe};

/// A release build of CPython 3.15 with the frame cache.
pub(crate) fn release() -> Build {
    build("FRAMEDIFF_TEST_PYTHON", 0)
}

/// A debug build of CPython 3.15 with the frame cache.
pub(crate) fn debug() -> Build {
    build("FRAMEDIFF_TEST_PYTHON_DEBUG", 1)
}

/// The fetched interpreters, release first.
pub(crate) fn fetched() -> &'static [PathBuf] {
    static FETCHED: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FETCHED.get_or_init(|| {
        let cache = cache_folder(None).unwrap_or_else(|error| panic!("{error}"));
        fetch(&cache, &mut Silent).unwrap_or_else(|error| panic!("{error}"))
    })
}

fn build(variable: &str, index: usize) -> Build {
    let path = std::env::var_os(variable).map_or_else(|| fetched()[index].clone(), PathBuf::from);
    let build = probe(&path).unwrap_or_else(|error| panic!("{error}"));
    build.usable().unwrap_or_else(|error| panic!("{error}"));
    build
}

/// A command that runs this test program again, with only the test `name` of the module at `module_path`.
pub(crate) fn test_alone(module_path: &str, name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--exact").arg(test_name(module_path, name));
    command
}

/// The command-line name of the test `name` in the module at `module_path`. It does not contain the program's name.
pub(crate) fn test_name(module_path: &str, name: &str) -> String {
    let (_, module) = module_path.split_once("::").unwrap();
    format!("{module}::{name}")
}
