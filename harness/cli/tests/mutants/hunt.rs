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

/// The others are killed by the action's own command in `.ci/run`, which passes the originals, too.
#[test]
fn check_kills_faults_of_the_release_unwinder_and_passes_the_original() {
    let faults = ["no-sequence-check-on-full-hit", "no-sequence-check-on-second-look"];
    let unwinder = the_check_lanes_kill(&common::release(), &faults, &[]);
    assert_eq!(unwinder["control"][0]["outcome"], "passed", "{unwinder}");
}

#[test]
fn check_kills_a_fault_of_the_debug_unwinder() {
    the_check_lanes_kill(&common::debug(), &["no-sequence-check-anywhere"], &["--control", "0"]);
}

fn the_check_lanes_kill(build: &Build, faults: &[&str], more: &[&str]) -> Value {
    let (mut document, code) = mutants(&build.python, faults, more);
    let unwinder = document["unwinder"][0].take();
    let judged = unwinder["mutants"].as_array().unwrap();
    assert_eq!(judged.len(), faults.len());
    for (mutant, &name) in judged.iter().zip(faults) {
        assert_eq!((mutant["mutant"].as_str(), mutant["outcome"].as_str()), (Some(name), Some("killed")), "{mutant}");
        assert_eq!(mutant["issue"].as_str(), Some("gh-151613"), "{mutant}");
        assert!(matches!(mutant["lane"].as_str(), Some("stopped" | "stepped")), "{mutant}");
    }
    // Only mutants of the interpreter need its sites.
    assert_eq!(document["rows"].as_array().map(Vec::len), Some(0));
    assert_eq!(code, Some(i32::from(exit::PASS)), "{document}");
    unwinder
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
