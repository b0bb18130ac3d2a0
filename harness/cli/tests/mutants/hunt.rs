//! `mutants` on CPython's own unwinder.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use framediff::cli::exit;
use process::build::Build;
use serde_json::Value;

use crate::common;
use crate::common::command::outcome;

/// Longer than any of these takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(900);

/// The report of `mutants` on these mutants, with the exit code.
fn mutants(python: &Path, names: &[&str], more: &[&str]) -> (Value, Option<i32>) {
    let python = python.to_str().unwrap();
    let fixed = ["mutants", "--python", python, "--jit", "off", "--format", "json"];
    let named: Vec<&str> = names.iter().flat_map(|name| ["--mutant", name]).collect();
    let outcome = outcome([&fixed[..], &named, more].concat(), PATIENCE);
    let document = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    (document, outcome.code)
}

#[test]
fn check_kills_faults_of_the_release_unwinder_and_passes_the_original() {
    let faults = ["no-sequence-check-on-full-hit", "no-sequence-check-on-second-look"];
    the_check_lanes_kill_faults_of(&common::release(), faults);
}

#[test]
fn check_kills_faults_of_the_debug_unwinder_and_passes_the_original() {
    let faults = ["no-sequence-check-on-second-look", "no-sequence-check-anywhere"];
    the_check_lanes_kill_faults_of(&common::debug(), faults);
}

/// The others are killed by the action's own command in `.ci/run`.
fn the_check_lanes_kill_faults_of(build: &Build, expected: [&str; 2]) {
    let (document, code) = mutants(&build.python, &expected, &[]);
    let unwinder = &document["unwinder"][0];
    for (mutant, name) in unwinder["mutants"].as_array().unwrap().iter().zip(expected) {
        // The debug build stores the anchor first, so comparing the anchor is enough.
        let is_equivalent = build.debug && name == "no-sequence-check-on-second-look";
        let outcome = if is_equivalent { "equivalent" } else { "killed" };
        assert_eq!((mutant["mutant"].as_str(), mutant["outcome"].as_str()), (Some(name), Some(outcome)), "{mutant}");
        assert_eq!(mutant["issue"].as_str(), Some("gh-151613"), "{mutant}");
        if is_equivalent {
            continue;
        }
        assert!(matches!(mutant["lane"].as_str(), Some("stopped" | "stepped")), "{mutant}");
    }
    assert_eq!(unwinder["mutants"].as_array().unwrap().len(), expected.len());
    assert_eq!(unwinder["control"][0]["outcome"], "passed", "{unwinder}");
    // Only mutants of the interpreter need its sites.
    assert_eq!(document["rows"].as_array().map(Vec::len), Some(0));
    assert_eq!(code, Some(i32::from(exit::PASS)), "{document}");
}

#[test]
fn peer_tests_run_on_the_same_mutant() {
    let folder = tempfile::tempdir().unwrap();
    // A test that detects the fault itself. It runs on the original first, then on the mutant.
    let text = "import unittest, _remote_debugging
class TestFrameCaching(unittest.TestCase):
    def test_a(self): pass
class TestAll(unittest.TestCase):
    def test_b(self): self.assertNotIn('library', _remote_debugging.__file__.split('/'))
";
    std::fs::write(folder.path().join("test_external_inspection.py"), text).unwrap();
    let tests = folder.path().to_str().unwrap();
    let peers = ["--peers", "--peer-tests", tests, "--control", "0"];
    let (document, _) = mutants(&common::release().python, &["no-sequence-check-on-partial-hit"], &peers);
    let mutant = &document["unwinder"][0]["mutants"][0];
    assert_eq!(mutant["peers"]["frame_caching"]["outcome"], "survived", "{mutant}");
    let whole = &mutant["peers"]["external_inspection"];
    let test = "test.test_external_inspection.TestAll.test_b";
    assert_eq!((whole["outcome"].as_str(), whole["by"].as_str()), (Some("killed"), Some(test)), "{mutant}");
}
