//! Tests which builds are found and selected, with real interpreters and a PATH made by each test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use framewalk::layout::{COOKIE, LayoutError};
use model::jit_mode::JitMode;
use process::build::{BuildError, BuildOptions, LayoutRefusal, Origin, SelectError, Silent, listing, probe, select};
use tempfile::TempDir;

use crate::common;

/// A script that answers the probe with `answer`.
fn fake(folder: &TempDir, name: &str, answer: &serde_json::Value) -> PathBuf {
    let path = folder.path().join(name);
    common::executable::write_executable(&path, format!("#!/bin/sh\necho '{answer}'\n").as_bytes());
    path
}

/// Prefix of the lines that [`inside_another_path`] prints.
const MARK: &str = "selected: ";
/// The variable that passes the cache folder to [`inside_another_path`].
const CACHE: &str = "FRAMEDIFF_TEST_CACHE";

/// What a run without `--python` would select if PATH were `path`: the rows, then skipped builds, then notes or an
/// error.
fn selected(path: &Path, cache: &Path) -> Vec<String> {
    selected_with(path, Path::new("/nonexistent"), cache)
}

/// [`selected`], if pyenv keeps its installations in `pyenv`.
fn selected_with(path: &Path, pyenv: &Path, cache: &Path) -> Vec<String> {
    let mut command = common::test_alone(module_path!(), "inside_another_path");
    command.args(["--ignored", "--nocapture"]).env("PATH", path).env(CACHE, cache);
    command.env("UV_PYTHON_INSTALL_DIR", "/nonexistent").env("PYENV_ROOT", pyenv);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| line.strip_prefix(MARK)).map(str::to_owned).collect()
}

#[test]
#[ignore = "started by the tests of PATH, which is a whole process's"]
fn inside_another_path() {
    let cache = PathBuf::from(std::env::var_os(CACHE).expect("started by another test"));
    println!();
    match select(&[], &BuildOptions::default(), &cache, &mut Silent) {
        Ok(selection) => {
            selection.rows.iter().for_each(|row| println!("{MARK}{}", row.name));
            selection.skipped.iter().for_each(|error| println!("{MARK}skipped {error}"));
            selection.notes.iter().for_each(|note| println!("{MARK}note {note}"));
        }
        Err(error) => println!("{MARK}error {}", error.to_string().replace('\n', " ")),
    }
}

/// The folder of fetched builds.
fn cache() -> PathBuf {
    common::fetched();
    process::build::cache_folder(None).unwrap()
}

#[test]
fn one_build_on_path_is_listed_once_in_both_run_modes() {
    let folder = tempfile::tempdir().unwrap();
    let release = common::release();
    for name in ["python3.15", "python3", "python"] {
        symlink(&release.python, folder.path().join(name)).unwrap();
    }
    let version = release.version;
    assert_eq!(selected(folder.path(), &cache()), [format!("{version} release"), format!("{version} release JIT")]);
}

#[test]
fn a_build_that_pyenv_installed_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("versions/3.15.2/bin");
    fs::create_dir_all(&bin).unwrap();
    symlink(common::release().python, bin.join("python3.15")).unwrap();
    let (nothing, version) = (tempfile::tempdir().unwrap(), common::release().version);
    let rows = selected_with(nothing.path(), folder.path(), &cache());
    assert_eq!(rows, [format!("{version} release"), format!("{version} release JIT")]);
}

#[test]
fn without_3_15_on_path_the_fetched_build_is_used_and_the_reasons_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    fake(
        &folder,
        "python3",
        &serde_json::json!({
            "implementation": "cpython", "hexversion": 0x030b_07f0, "executable": "/x", "debug": false,
            "free_threaded": false, "jit_available": false, "mapped": [],
        }),
    );
    fake(&folder, "python3.14", &serde_json::json!("pyenv: python3.14: command not found"));
    let lines = selected(folder.path(), &cache());
    let [rows @ .., shim, old, note] = lines.as_slice() else { panic!("{lines:?}") };
    let ends = ["release", "release JIT", "debug", "debug JIT"];
    assert!(rows.len() == 4 && rows.iter().zip(ends).all(|(row, end)| row.ends_with(end)), "{rows:?}");
    assert!(shim.starts_with("skipped ") && shim.contains("does not behave like Python 3"), "{shim}");
    assert!(old.starts_with("skipped ") && old.contains("CPython 3.11.7"), "{old}");
    assert!(note.contains("no CPython 3.15 on PATH") && note.contains("fetched earlier"), "{note}");
}

#[test]
fn without_3_15_and_apt_the_error_names_the_missing_tool_and_the_next_step() {
    let (path, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let lines = selected(path.path(), cache.path());
    let [error] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(error.contains("apt-get") && error.contains("--python"), "{error}");
}

#[test]
fn exactly_the_requested_builds_are_tested() {
    let debug = common::debug();
    let selection =
        select(std::slice::from_ref(&debug.python), &BuildOptions::default(), Path::new("/nonexistent"), &mut Silent)
            .unwrap();
    let modes: Vec<_> = selection.rows.iter().map(|row| row.jit).collect();
    assert_eq!(modes, [JitMode::Off, JitMode::On]);
    assert!(selection.skipped.is_empty() && selection.notes.is_empty());
    for (row, on) in selection.rows.iter().zip(["False", "True"]) {
        let output = row.command().args(["-c", "import sys; print(sys._jit.is_enabled())"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), on, "{}", row.name);
    }
}

#[test]
fn one_bad_requested_build_is_fatal() {
    let release = common::release();
    let pythons = [release.python, PathBuf::from("/bin/true")];
    let error = select(&pythons, &BuildOptions::default(), Path::new("/nonexistent"), &mut Silent).unwrap_err();
    assert!(matches!(error, SelectError::Build(BuildError::NotPython { .. })), "{error}");
}

#[test]
fn a_free_threaded_build_is_listed_but_not_tested() {
    let release = common::release();
    let folder = tempfile::tempdir().unwrap();
    // The image of the release build, with only the free-threaded word changed.
    let mut bytes = fs::read(&release.image).unwrap();
    let version = u64::from(release.version.0).to_le_bytes();
    let start = [COOKIE, version].concat();
    let at = bytes.windows(start.len()).position(|window| window == start).unwrap() + start.len();
    bytes[at] = 1;
    let image = folder.path().join("python3.15t-image");
    fs::write(&image, bytes).unwrap();
    let python = fake(
        &folder,
        "python3.15t",
        &serde_json::json!({
            "implementation": "cpython", "hexversion": release.version.0, "executable": "/x", "debug": false,
            "free_threaded": true, "jit_available": false, "mapped": [image],
        }),
    );
    let error = probe(&python).unwrap().usable().unwrap_err();
    assert!(
        matches!(&error, BuildError::Layout { source, .. } if matches!(**source, LayoutRefusal::Table(LayoutError::FreeThreaded(_)))),
        "{error}"
    );
    let listed = &listing(&[python], &BuildOptions::default(), Path::new("/nonexistent"))[0];
    assert_eq!((listed.origin, listed.kind.clone()), (Origin::Given, Some("free-threaded".to_owned())));
    assert!(listed.refused.as_ref().is_some_and(|reason| reason.contains("free-threaded")), "{listed:?}");
}

#[test]
fn an_image_of_another_version_is_refused() {
    let release = common::release();
    let folder = tempfile::tempdir().unwrap();
    let python = fake(
        &folder,
        "python3.15",
        &serde_json::json!({
            "implementation": "cpython", "hexversion": 0x030f_7ff0, "executable": "/x", "debug": false,
            "free_threaded": false, "jit_available": false, "mapped": [release.image],
        }),
    );
    let error = probe(&python).unwrap_err();
    assert!(matches!(error, BuildError::OtherImage { .. }), "{error}");
}
