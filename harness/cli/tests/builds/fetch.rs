//! Tests what is fetched, and what happens if it cannot be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use framewalk::layout::CacheFields;
use process::build::{
    Archive, Build, FetchError, FetchProgress, Silent, cache_folder, fetch, fetch_from, fetched, probe,
};

use crate::common;

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn both() -> [Build; 2] {
    let [release, debug] = common::fetched() else { panic!("two interpreters are fetched") };
    [probe(release).unwrap(), probe(debug).unwrap()]
}

#[test]
fn release_and_debug_of_3_15_are_fetched_with_the_whole_frame_cache_and_a_jit() {
    let builds = both();
    assert_eq!(builds.each_ref().map(|build| build.debug), [false, true]);
    for build in &builds {
        assert_eq!((build.version.minor(), build.free_threaded, build.jit_available), ((3, 15), false, true));
        assert_eq!(build.usable().unwrap().frame_cache(), CacheFields::AnchorAndSequence);
        assert!(build.image.file_name().unwrap().to_string_lossy().contains("python"), "{}", build.image.display());
    }
}

#[test]
fn fetched_builds_can_start_themselves() {
    let child = "import subprocess, sys; print(subprocess.check_output([sys.executable, '-I', '-c', 'import sys; \
                 print(sys.version)'], text=True) == sys.version + chr(10))";
    for build in both() {
        assert_eq!(output(Command::new(&build.python).args(["-I", "-c", child])), "True");
    }
}

#[test]
fn fetched_builds_have_their_extension_modules() {
    for build in both() {
        let script = "import _remote_debugging, _ctypes, _ssl, _json; print(_ssl.OPENSSL_VERSION)";
        assert!(output(Command::new(&build.python).args(["-I", "-c", script])).starts_with("OpenSSL"));
    }
}

#[test]
fn the_variable_switches_the_jit() {
    for build in both() {
        for (value, on) in [("0", "False"), ("1", "True")] {
            let mut command = Command::new(&build.python);
            command.env("PYTHON_JIT", value).args(["-c", "import sys; print(sys._jit.is_enabled())"]);
            assert_eq!(output(&mut command), on);
        }
    }
}

#[test]
fn fetched_builds_run_through_symlinks_and_from_folders_with_spaces() {
    let [release, _] = both();
    let folder = tempfile::tempdir().unwrap();
    let spaced = folder.path().join("a folder");
    std::fs::create_dir(&spaced).unwrap();
    let root = release.python.ancestors().nth(3).unwrap();
    // A link instead of a copy: the launcher only sees the other path.
    std::os::unix::fs::symlink(root, spaced.join("root")).unwrap();
    std::os::unix::fs::symlink(&release.python, spaced.join("python")).unwrap();
    let version =
        |command: &mut Command| output(command.args(["-I", "-c", "import sys, encodings; print(sys.hexversion)"]));
    let expected = release.version.0.to_string();
    assert_eq!(version(&mut Command::new(spaced.join("root/usr/bin/python3.15"))), expected);
    assert_eq!(version(&mut Command::new(spaced.join("python"))), expected);
    assert_eq!(version(Command::new("./python").current_dir(&spaced)), expected);
    assert_eq!(version(Command::new("usr/bin/python3.15").current_dir(root)), expected);
    assert_eq!(version(Command::new("python3.15").env("PATH", root.join("usr/bin"))), expected);
}

#[test]
fn a_second_fetch_fetches_nothing() {
    let first = common::fetched();
    let start = Instant::now();
    let again = fetch(&cache_folder(None).unwrap(), &mut Silent).unwrap();
    assert_eq!(again, first);
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
}

/// An archive at a port on which nobody listens.
fn unreachable() -> Archive {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Archive { uri: format!("http://127.0.0.1:{port}/debian"), signed_by: None }
}

#[test]
fn without_network_the_error_names_the_archive_and_the_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_from(&unreachable(), folder.path(), &mut Silent).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("http://127.0.0.1:") && text.contains("--python"), "{text}");
    assert_eq!(fetched(folder.path()), None);
}

/// A user who interrupts at once.
struct Impatient;

impl FetchProgress for Impatient {
    fn step(&mut self, _: &str) {}
    fn bytes(&mut self, _: u64, _: u64) {}
    fn interrupted(&self) -> bool {
        true
    }
}

#[test]
fn an_interrupted_fetch_reports_it_and_leaves_no_complete_build() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_from(&unreachable(), folder.path(), &mut Impatient).unwrap_err();
    assert!(matches!(error, FetchError::Interrupted), "{error}");
    assert_eq!(fetched(folder.path()), None);
}

#[test]
fn a_cache_folder_that_cannot_be_created_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = fetch_from(&unreachable(), &file.path().join("below"), &mut Silent).unwrap_err();
    assert!(
        error.to_string().contains(file.path().to_str().unwrap()) && error.to_string().contains("--cache"),
        "{error}"
    );
}

#[test]
fn a_folder_name_that_the_loader_cannot_handle_is_refused_before_fetching() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_from(&unreachable(), &folder.path().join("a:b"), &mut Silent).unwrap_err();
    assert!(matches!(error, FetchError::Name { .. }), "{error}");
}

/// The variable that passes the full folder to [`inside_a_full_disk`].
const FULL: &str = "FRAMEDIFF_TEST_FULL_DISK";

/// Fetches into a file system of `size`, in its own mount namespace, and returns what the user would read.
fn fetch_into(size: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = "mount -t tmpfs -o size=\"$1\" none \"$2\" && exec \"$0\" --exact \"$3\" --ignored --nocapture";
    command.args(["--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap()).arg(size).arg(folder.path());
    command.arg(common::test_name(module_path!(), "inside_a_full_disk"));
    output(command.env(FULL, folder.path()))
}

#[test]
#[ignore = "started by the tests of a full disk, in a mount namespace"]
fn inside_a_full_disk() {
    let folder = std::env::var_os(FULL).expect("started by another test");
    println!("{}", fetch(Path::new(&folder), &mut Silent).unwrap_err());
}

#[test]
fn a_disk_too_small_for_the_index_is_named_with_its_free_bytes() {
    let text = fetch_into("8m");
    assert!(text.contains("the disk is full: /") && text.contains("bytes free") && text.contains("--cache"), "{text}");
}

#[test]
fn a_disk_too_small_for_the_packages_is_named_before_they_are_fetched() {
    let text = fetch_into("150m");
    assert!(text.contains("the disk is full: /") && text.contains("bytes free") && text.contains("--cache"), "{text}");
}
