//! The generated `unittest` file: it passes on released interpreters, and fails on mutants.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::command::outcome;
use framediff::cli::exit;
use framediff::mutants::unwinder::Fault;
use framediff::mutants::unwinder::module::Module;

/// Longer than any of these takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// Writes the file into `folder`.
fn emitted(folder: &Path) {
    let file = folder.join("test_frame_cache.py");
    let outcome = outcome(["emit-unittest", "-o", file.to_str().unwrap()], PATIENCE);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
}

/// Whether `python -m unittest` passes these tests of the file in `folder`, and what it wrote.
fn runs(python: &Path, folder: &Path, tests: &[&str]) -> (bool, String) {
    let output = Command::new(python).args(["-B", "-m", "unittest"]).args(tests).current_dir(folder).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn it_passes_on_released_interpreters() {
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
fn it_fails_on_an_interpreter_that_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    emitted(folder.path());
    let build = common::release();
    let (python, keep) = (build.python.to_str().unwrap(), folder.path().to_str().unwrap());
    let name = "sequence-kept@everywhere";
    let fixed = ["mutants", "--python", python, "--jit", "off", "--control", "0", "--budget", "1s"];
    // Whether the hunt is long enough to kill it is not what is asked here.
    let made = outcome([&fixed[..], &["--mutant", name, "--keep", keep]].concat(), PATIENCE);
    let mutant = folder.path().join("3.15.2-release").join(name).join("python");
    assert!(mutant.is_file(), "{made:?}");
    let (passed, text) = runs(&mutant, folder.path(), &["test_frame_cache.TestAlternating"]);
    assert!(!passed && text.contains("the mark was on a cached frame"), "{text}");
}

#[test]
fn it_fails_on_an_unwinder_that_lacks_a_check() {
    let folder = tempfile::tempdir().unwrap();
    emitted(folder.path());
    let build = common::release();
    let module = Module::of(&build).unwrap();
    // What is left out of the others shows only while the target moves.
    for fault in [
        Fault::NoSequenceCheckOnFullHit,
        Fault::NoSequenceCheckOnPartialHit,
        Fault::IndexNotAdded,
        Fault::StoredLeafNotCompared,
        Fault::AnchorNotWritten,
        Fault::AnchorWrittenNull,
        Fault::LeafReusedOnFullHit,
        Fault::CurrentFrameNotCompared,
        Fault::ChunksNotCopied,
    ] {
        let patched = module.with(fault, folder.path()).unwrap();
        let by_hand = matches!(fault, Fault::CurrentFrameNotCompared | Fault::ChunksNotCopied);
        let tests = if by_hand { "test_frame_cache.TestByHand" } else { "test_frame_cache.TestAlternating" };
        let (passed, text) = runs(&patched.build.python, folder.path(), &[tests]);
        assert!(!passed && text.contains("AssertionError"), "{}: {text}", fault.name());
        assert!(
            !text.contains("Error: ") || text.matches("Error: ").count() == text.matches("AssertionError: ").count(),
            "{text}"
        );
    }
}
