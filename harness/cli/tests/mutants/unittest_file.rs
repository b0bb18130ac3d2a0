//! Tests the generated `unittest` file: it passes on released interpreters and fails on mutants.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use framediff::cli::exit;
use lab::mutants::stand_in::StandIns;
use lab::mutants::unwinder::UnwinderFault;
use lab::mutants::unwinder::module::Module;

use crate::common;
use crate::common::command::outcome;

/// Longer than any of these takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Writes the file into `folder`.
fn emitted(folder: &Path) {
    let file = folder.join("test_frame_cache.py");
    let outcome = outcome(["emit-unittest", "-o", file.to_str().unwrap()], PATIENCE);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
}

/// Runs these tests of the file in `folder` with `python -m unittest`. Returns whether they passed, and the output.
fn runs(python: &Path, folder: &Path, tests: &[&str]) -> (bool, String) {
    let output = Command::new(python).args(["-B", "-m", "unittest"]).args(tests).current_dir(folder).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_unittest_file_passes_on_released_interpreters() {
    let folder = tempfile::tempdir().unwrap();
    emitted(folder.path());
    for build in [common::release(), common::debug()] {
        let (passed, text) = runs(&build.python, folder.path(), &["test_frame_cache"]);
        assert!(passed, "{text}");
        let ran = text.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok());
        assert!(ran.is_some_and(|ran: u32| ran >= 20) && !text.contains("skipped"), "{text}");
    }
}

#[test]
fn the_unittest_file_fails_on_an_interpreter_that_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    emitted(folder.path());
    let build = common::release();
    let (python, keep) = (build.python.to_str().unwrap(), folder.path().to_str().unwrap());
    let name = "sequence-kept@everywhere";
    let fixed = ["mutants", "--python", python, "--jit", "off", "--control", "0", "--budget", "1s"];
    // This test does not ask whether the hunt is long enough to kill the mutant.
    let made = outcome([&fixed[..], &["--mutant", name, "--keep", keep]].concat(), PATIENCE);
    let mutant = folder.path().join("3.15.2-release").join(name).join("python");
    assert!(mutant.is_file(), "{made:?}");
    let (passed, text) = runs(&mutant, folder.path(), &["test_frame_cache.TestAlternating"]);
    assert!(!passed && text.contains("the mark was on a cached frame"), "{text}");
}

#[test]
fn the_unittest_file_fails_on_an_unwinder_without_a_check() {
    let folder = tempfile::tempdir().unwrap();
    emitted(folder.path());
    let build = common::release();
    let module = Module::of(&build).unwrap();
    for fault in [UnwinderFault::NoSequenceCheckOnFullHit, UnwinderFault::NoSequenceCheckOnPartialHit] {
        let patched = module.with(fault, None, folder.path()).unwrap();
        assert_fails(&patched.build.python, folder.path(), "TestAlternating", fault.name());
    }
    let stand_ins = StandIns::of(&build).unwrap();
    // The other stand-ins are only wrong while the target moves.
    for (name, tests) in [
        ("stand-in/partial-hits-become-misses", "TestAlternating"),
        ("stand-in/stored-leaf-not-compared", "TestAlternating"),
        ("stand-in/anchor-not-written", "TestAlternating"),
        ("stand-in/anchor-written-null", "TestAlternating"),
        ("stand-in/leaf-reused-on-full-hit", "TestAlternating"),
        ("stand-in/current-frame-not-compared", "TestByHand"),
        ("stand-in/reads-frame-by-frame", "TestByHand"),
    ] {
        let fault = stand_ins.faults.iter().find(|fault| fault.name() == name).unwrap();
        let replaced = stand_ins.with(fault, None, folder.path()).unwrap();
        assert_fails(&replaced.build.python, folder.path(), tests, name);
    }
}

/// Asserts that these tests of the file in `folder` fail because of their own assertions.
fn assert_fails(python: &Path, folder: &Path, tests: &str, name: &str) {
    let (passed, text) = runs(python, folder, &[&format!("test_frame_cache.{tests}")]);
    assert!(!passed && text.contains("AssertionError"), "{name}: {text}");
    assert!(
        !text.contains("Error: ") || text.matches("Error: ").count() == text.matches("AssertionError: ").count(),
        "{text}"
    );
}
