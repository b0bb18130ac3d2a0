//! CPython's own tests: what happens if they fail, die or hang.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use framewalk::layout::VersionHex;
use lab::peers::cpython_tests::{Finish, PeerError, Suite, TestOutcome, Which, run};
use nix::sys::signal::Signal;
use process::build::{
    Archive, Build, Companion, FetchError, Silent, cache_folder, fetch_companion, fetch_companion_from, probe,
};
use process::target::ChildEnd;
use tempfile::TempDir;

use crate::common;

/// A deadline that is only reached by a hang.
fn late() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

fn cpythons_own(build: &Build) -> Suite {
    Suite::of(build, &cache_folder(None).unwrap(), &mut Silent).unwrap_or_else(|error| panic!("{error}"))
}

/// A suite whose tests of the frame cache have this body.
fn suite(body: &str) -> (TempDir, Suite) {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "import os, signal, subprocess, sys, time, unittest\nclass TestFrameCaching(unittest.TestCase):\n{body}"
    );
    std::fs::write(folder.path().join("test_external_inspection.py"), text).unwrap();
    let suite = Suite::Folder(folder.path().to_path_buf());
    (folder, suite)
}

fn outcome_of(body: &str) -> Result<TestOutcome, PeerError> {
    let (_folder, suite) = suite(body);
    run(&common::release(), None, &suite, Which::FrameCaching, late(), &|| false)
}

/// A suite with a test that starts a process and then hangs. The file holds the process id.
fn hanging() -> (TempDir, Suite, PathBuf) {
    let (folder, suite) = suite("");
    let file = folder.path().join("pid");
    let body = format!(
        "    def test_a(self): pass\n    def test_b(self):\n        \
         child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n        \
         open({0:?} + '.part', 'w').write(str(child.pid))\n        os.rename({0:?} + '.part', {0:?})\n        \
         time.sleep(1000)\n",
        file.display().to_string()
    );
    let path = folder.path().join("test_external_inspection.py");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text + &body).unwrap();
    (folder, suite, file)
}

fn assert_gone(file: &Path) {
    let pid = std::fs::read_to_string(file).expect("the test had begun").parse().unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while !matches!(common::command::state(pid), None | Some('Z' | 'X')) {
        assert!(Instant::now() < until, "{pid} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn cpythons_own_tests_of_the_cache_pass() {
    for build in [common::release(), common::debug()] {
        let suite = cpythons_own(&build);
        let outcome = run(&build, Some(false), &suite, Which::FrameCaching, late(), &|| false).unwrap();
        assert!(outcome.is_clean(), "{outcome:?}");
        assert!(outcome.ran > 0 && outcome.passed.len() == outcome.ran, "{outcome:?}");
        let name = "test.test_external_inspection.TestFrameCaching.test_cache_hit_same_stack";
        assert!(outcome.passed.contains(name), "{outcome:?}");
        assert!(outcome.broke(std::slice::from_ref(&outcome)).is_empty());
    }
}

#[test]
fn failures_and_errors_are_distinguished_and_explained() {
    let outcome = outcome_of(
        "    def test_a(self): print('noise')\n    def test_b(self): self.assertEqual(1, 2)\n    \
             def test_c(self): raise KeyError('k')\n    @unittest.skip('why')\n    def test_d(self): pass\n    \
             def test_e(self):\n        for i in range(3):\n            with self.subTest(i=i): self.assertEqual(i, 1)\n",
    )
    .unwrap();
    let names = |failures: &[lab::peers::cpython_tests::TestFailure]| {
        failures.iter().map(|failure| failure.test.rsplit_once('.').unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&outcome.failed), ["test_b", "test_e", "test_e"]);
    assert!(outcome.failed[0].text.contains("1 != 2"), "{outcome:?}");
    assert_eq!(names(&outcome.errored), ["test_c"]);
    assert_eq!((outcome.ran, outcome.passed.len(), outcome.skipped), (4, 1, 1));
    assert_eq!(outcome.finish, Finish::Complete);
    assert!(!outcome.is_clean());
}

#[test]
fn a_died_test_process_is_not_a_test_failure() {
    let outcome = outcome_of(
        "    def test_a(self): pass\n    def test_b(self):\n        print('last words', flush=True)\n        \
             os.kill(os.getpid(), signal.SIGSEGV)\n    def test_c(self): pass\n",
    )
    .unwrap();
    let Finish::Died { end, during, stderr } = &outcome.finish else { panic!("{outcome:?}") };
    assert_eq!(*end, ChildEnd::Killed(Signal::SIGSEGV));
    assert!(during.as_ref().is_some_and(|test| test.ends_with(".test_b")), "{outcome:?}");
    assert!(stderr.contains("last words"), "{outcome:?}");
    assert_eq!((outcome.ran, outcome.failed.len(), outcome.errored.len()), (1, 0, 0));
}

#[test]
fn an_early_exit_counts_as_a_death() {
    let outcome = outcome_of("    def test_a(self): os._exit(0)\n").unwrap();
    assert!(matches!(outcome.finish, Finish::Died { end: ChildEnd::Exited(0), .. }), "{outcome:?}");
}

#[test]
fn a_hanging_test_is_killed_at_the_deadline_with_all_its_processes() {
    let (_folder, suite, file) = hanging();
    let began = Instant::now();
    // The deadline must leave enough time for the tests to start, however busy the machine is.
    let mut time = Duration::from_secs(2);
    let outcome = loop {
        let outcome =
            run(&common::release(), None, &suite, Which::FrameCaching, Instant::now() + time, &|| false).unwrap();
        if file.exists() || time > Duration::from_secs(60) {
            break outcome;
        }
        time *= 2;
    };
    assert!(began.elapsed() < Duration::from_secs(150));
    assert!(
        matches!(&outcome.finish, Finish::TimedOut { during: Some(test) } if test.ends_with(".test_b")),
        "{outcome:?}"
    );
    assert_eq!(outcome.ran, 1);
    assert_gone(&file);
}

#[test]
fn an_interrupted_run_leaves_no_processes() {
    let (_folder, suite, file) = hanging();
    let begun = || file.exists();
    let error = run(&common::release(), None, &suite, Which::FrameCaching, late(), &begun).unwrap_err();
    assert!(matches!(error, PeerError::Interrupted), "{error}");
    assert_gone(&file);
}

/// The variable that passes the suite's folder to the test below.
const SUITE: &str = "FRAMEDIFF_TEST_SUITE";

#[test]
fn a_killed_harness_leaves_no_processes() {
    let (folder, _suite, file) = hanging();
    let mut harness = common::test_alone(module_path!(), "inside_a_harness_that_is_killed");
    harness.arg("--ignored").env(SUITE, folder.path());
    let mut harness = harness.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = late();
    while !file.exists() {
        assert!(Instant::now() < until && harness.try_wait().unwrap().is_none(), "it did not begin");
        std::thread::yield_now();
    }
    harness.kill().unwrap();
    harness.wait().unwrap();
    assert_gone(&file);
}

#[test]
#[ignore = "started by another test, which kills it"]
fn inside_a_harness_that_is_killed() {
    let suite = Suite::Folder(std::env::var_os(SUITE).expect("started by another test").into());
    let _ = run(&common::release(), None, &suite, Which::FrameCaching, late(), &|| false);
}

#[test]
fn nothing_to_run_is_an_error() {
    let error = outcome_of("    def test_a(self): self.skipTest('no permission')\n").unwrap_err();
    assert!(error.to_string().contains("no permission"), "{error}");
    let error = outcome_of("    pass\n").unwrap_err();
    assert!(matches!(error, PeerError::NothingRan { skipped: 0, .. }), "{error}");
    let error = outcome_of("    broken\n").unwrap_err();
    assert!(matches!(error, PeerError::NotLoaded { .. }) && error.to_string().contains("broken"), "{error}");
}

/// An archive that nobody serves.
fn dead() -> Archive {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Archive { uri: format!("http://127.0.0.1:{port}/debian"), signed_by: None }
}

/// A cache folder that holds interpreters of this version, as far as the code that fetches tests can see.
fn cache_with(version: &str) -> TempDir {
    let cache = tempfile::tempdir().unwrap();
    let root = cache.path().join("debian-3.15");
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    for python in ["python3.15", "python3.15-dbg"] {
        std::fs::write(root.join("usr/bin").join(python), "").unwrap();
    }
    let manifest = format!(
        r#"{{"format": 1, "archive": "a", "packages": [{{"name": "python3.15", "version": "{version}", "sha256": ""}}]}}"#
    );
    std::fs::write(root.join("manifest.json"), manifest).unwrap();
    cache
}

#[test]
fn tests_are_fetched_once() {
    let cache = cache_folder(None).unwrap();
    let version = probe(&common::fetched()[0]).unwrap().version;
    let folder = fetch_companion(Companion::Tests, version, &cache, &mut Silent).unwrap();
    assert!(folder.join("test_external_inspection.py").is_file());
    assert_eq!(fetch_companion_from(&dead(), Companion::Tests, version, &cache, &mut Silent).unwrap(), folder);
}

#[test]
fn tests_of_another_version_are_not_fetched() {
    let cache = cache_with("3.15.2-1");
    let error = fetch_companion_from(&dead(), Companion::Tests, VersionHex(0x030f_03f0), cache.path(), &mut Silent)
        .unwrap_err();
    assert!(matches!(error, FetchError::CompanionOfAnother { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("3.15.3") && text.contains("3.15.2-1") && text.contains("libpython3.15-testsuite"), "{text}");
}

#[test]
fn a_version_missing_from_the_archive_is_named_with_the_next_step() {
    let cache = cache_with("3.15.2-0.0");
    let archive = Archive::of_this_machine().unwrap();
    let error = fetch_companion_from(&archive, Companion::Tests, VersionHex(0x030f_02f0), cache.path(), &mut Silent)
        .unwrap_err();
    assert!(matches!(error, FetchError::CompanionNotOffered { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("3.15.2-0.0") && text.contains("Remove"), "{text}");
}

#[test]
fn a_failed_fetch_of_tests_leaves_no_complete_folder() {
    let cache = cache_with("3.15.2-1");
    let error = fetch_companion_from(&dead(), Companion::Tests, VersionHex(0x030f_02f0), cache.path(), &mut Silent)
        .unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error}");
    assert!(!cache.path().join("debian-3.15-tests").exists());
}

#[test]
fn a_build_without_tests_is_reported() {
    let build = common::release();
    let folder = tempfile::tempdir().unwrap();
    let error = run(&build, None, &Suite::Own, Which::FrameCaching, late(), &|| false).err();
    // Debian's builds come without tests of their own. A build that the user names may have them.
    if let Some(error) = error {
        assert!(matches!(error, PeerError::NotLoaded { .. }), "{error}");
        let error = Suite::of(&build, folder.path(), &mut Silent).unwrap_err().to_string();
        assert!(error.contains("libpython3.15-testsuite") && error.contains("none yet"), "{error}");
    }
}
