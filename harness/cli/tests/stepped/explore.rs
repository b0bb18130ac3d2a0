//! Tests the verbs of the stepped lane on real processes.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use framediff::cli::exit;
use model::invariants::SampleFault;
use model::schedule::Schedule;
use model::workload::{FrameSize, Names};
use serde_json::Value;
use sim::case::file::SteppedFile;
use sim::case::stepped::SteppedCase;

use crate::common;
use crate::common::command::{Outcome, outcome};

/// Longer than any of these takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn run(verb: &str, more: &[&str]) -> Outcome {
    let python = common::release().python;
    outcome([&[verb, "--python", python.to_str().unwrap()], more].concat(), PATIENCE)
}

/// Searches the smallest program that can splice.
fn explore(more: &[&str]) -> Value {
    explore_workload(&[&["--depth", "1"], more].concat())
}

fn explore_workload(more: &[&str]) -> Value {
    let known = tempfile::NamedTempFile::new().unwrap();
    let fixed = ["--samples", "2", "--format", "json", "--known", known.path().to_str().unwrap()];
    let outcome = run("explore", &[&fixed[..], more].concat());
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    let search = document["searches"][0].clone();
    let expected = match search["verdict"].as_str().unwrap() {
        "pass" => exit::PASS,
        "fail" => exit::VIOLATION,
        "inconclusive" => exit::INCONCLUSIVE,
        other => panic!("{other}: {outcome:?}"),
    };
    assert_eq!(outcome.code, Some(i32::from(expected)), "{search}");
    search
}

fn cases(search: &Value) -> Vec<SteppedCase> {
    let failures = search["failures"].as_array().unwrap();
    failures.iter().map(|failure| failure["case"].as_str().unwrap().parse().unwrap()).collect()
}

fn splice() -> SteppedCase {
    let cases = cases(&explore(&["--first", "--jobs", "1"]));
    assert_eq!(cases.len(), 1);
    cases[0].clone()
}

#[test]
fn every_search_finds_the_splices_of_cpythons_unwinder() {
    let whole = explore(&["--jobs", "2"]);
    let schedules = whole["schedules"].as_u64().unwrap();
    assert!(schedules > 1000 && whole["known_schedules"] == schedules, "{whole}");
    assert_eq!((whole["verdict"].as_str(), whole["ended"].as_str()), (Some("fail"), Some("everything")));
    let fingerprints: Vec<String> = cases(&whole).iter().map(|case| case.fingerprint.to_string()).collect();
    let spliced = "stepped/cpython-cached/spliced/full-hit/function/";
    assert!(fingerprints.iter().any(|fingerprint| fingerprint.starts_with(spliced)), "{fingerprints:?}");
    // The result does not depend on how the work is divided.
    let alone = explore(&["--jobs", "1"]);
    assert_eq!((&alone["failures"], &alone["failed"]), (&whole["failures"], &whole["failed"]));
    let parts = ["1/2", "2/2"].map(|shard| explore(&["--shard", shard]));
    let sum = |name: &str| parts.iter().map(|part| part[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("schedules"), sum("failed")), (schedules, whole["failed"].as_u64().unwrap()));
}

#[test]
fn random_schedules_find_the_same_failure() {
    for order in ["random", "pct"] {
        let search = explore(&["--order", order, "--schedules", "1500", "--steps", "8", "--moves", "3"]);
        let found = cases(&search);
        let wanted = splice().fingerprint;
        assert!(found.iter().any(|case| case.fingerprint == wanted), "{order}: {wanted} is not in {search}");
    }
}

#[test]
fn the_reference_walker_has_no_failure() {
    let search = explore(&["--walker", "own-reference"]);
    assert_eq!((search["verdict"].as_str(), search["failed"].as_u64()), (Some("pass"), Some(0)), "{search}");
    assert!(search["schedules"].as_u64().unwrap() > 1000, "{search}");
    // A search that is cut short by its budget does not pass.
    let cut = explore(&["--walker", "own-reference", "--moves", "4", "--budget", "300ms"]);
    assert_eq!(cut["verdict"].as_str(), Some("inconclusive"), "{cut}");
}

#[test]
fn a_case_is_replayed_and_explained() {
    let case = splice();
    let line = case.to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = SteppedFile { note: "a note".into(), case: case.clone() }.save(folder.path()).unwrap();
    for text in [line.as_str(), path.to_str().unwrap()] {
        let replayed = run("replay", &["--times", "3", text]);
        assert!(replayed.stdout.contains("reproduces 3/3"), "{replayed:?}");
        assert!([Some(0), Some(1)].contains(&replayed.code), "known or not: {replayed:?}");
    }
    let explained = run("explain", &[&line]);
    assert_eq!(explained.code, Some(i32::from(exit::VIOLATION)));
    let text = explained.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["sample 0:", "writes anchor =", "full hit: returns", "the anchor was written at 0.", "too late"] {
        assert!(text.contains(words), "{words:?} is not in\n{}", explained.stdout);
    }
    // Without its moves the case does not fail. With a move that never happens, it proves nothing.
    let still = SteppedCase { schedule: Schedule::default(), ..case.clone() };
    let passed = run("replay", &["--times", "1", &still.to_string()]);
    assert_eq!(passed.code, Some(i32::from(exit::PASS)), "{passed:?}");
    assert!(passed.stdout.contains("reproduces 0/1"), "{passed:?}");
    let misfit = SteppedCase { schedule: "0.0:1,0.99:1".parse().unwrap(), ..case };
    let misfit = run("replay", &["--times", "1", &misfit.to_string()]);
    assert_eq!(misfit.code, Some(i32::from(exit::INCONCLUSIVE)), "{misfit:?}");
    assert!(misfit.stdout.contains("the point 0.99 of its move 0.99:1 was never reached"), "{misfit:?}");
}

#[test]
fn a_large_case_shrinks() {
    let large = ["--jobs", "1", "--depth", "4", "--frame-size", "unequal:20", "--names", "wide", "--speed", "2"];
    let drawn = ["--order", "random", "--schedules", "1500", "--moves", "3", "--steps", "40"];
    let found = cases(&explore_workload(&[&large[..], &drawn].concat()));
    let mut case = found.into_iter().find(|case| case.fingerprint.fault == SampleFault::Spliced).unwrap();
    // A search shrinks what it finds. This makes the case larger again.
    case.samples += 1;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let shrunk = run("shrink", &[&case.to_string(), "-o", to, "--runs", "1000"]);
    assert_eq!(shrunk.code, Some(i32::from(exit::PASS)), "{shrunk:?}");
    assert!(shrunk.stdout.contains("reproduces 1/1"), "{shrunk:?}");
    assert!(shrunk.stdout.contains("no single change makes it smaller"), "{shrunk:?}");
    let saved = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let small = SteppedFile::load(&saved).unwrap().case;
    assert_eq!(small.fingerprint.without_shape(), case.fingerprint.without_shape());
    let parameters = &small.workload.parameters;
    assert!(small.samples < case.samples && parameters.depth < 4 && parameters.speed == 0, "{small}");
    assert_eq!((parameters.frame_size, parameters.names), (FrameSize::Equal(0), Names::Ascii), "{small}");
    let passing = SteppedCase { schedule: Schedule::default(), ..small };
    run("shrink", &[&passing.to_string()]).assert_refused(&["does not fail when it runs again"]);
}

#[test]
fn a_case_becomes_a_python_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("repro.py");
    let arguments = [splice().to_string(), "-o".into(), path.to_str().unwrap().into(), "--limit".into(), "10s".into()];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let written = run("reproducer", &arguments);
    assert_eq!(written.code, Some(i32::from(exit::PASS)), "{written:?}");
    for part in ["deterministic, step by step", "3 of 3 times", "no base"] {
        assert!(written.stdout.contains(part), "{part}: {written:?}");
    }
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("SCHEDULE = {(0, "), "{text}");
    run("reproducer", &arguments).assert_refused(&["repro.py already exists"]);
}

#[test]
fn unusable_cases_are_refused_with_the_reason() {
    let case = splice();
    let other = |change: &dyn Fn(&mut SteppedCase)| {
        let mut changed = case.clone();
        change(&mut changed);
        changed.to_string()
    };
    let elsewhere = other(&|case| case.build.version = "3.15.9".into());
    // Without --python, the version must match. With it, the user decides.
    outcome(["explain", &elsewhere], PATIENCE)
        .assert_refused(&["the case was made on CPython 3.15.9 release", "--python PATH"]);
    let given = run("replay", &["--times", "1", &elsewhere]);
    assert!(given.stderr.contains("note: the case was made on CPython 3.15.9 release, this is 3.15"), "{given:?}");
    let program = other(&|case| case.workload.source.0 ^= 1);
    run("explain", &[&program]).assert_refused(&["another program by now"]);
    run("explain", &["framediff@4@x"]).assert_refused(&["it has version 4, but this framediff reads 2 to 3"]);
    run("explain", &["no/such/file.json"]).assert_refused(&["no/such/file.json", "No such file"]);
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/cases/text");
    let fuzz = fs::read_dir(fuzz).unwrap().next().unwrap().unwrap().path();
    run("shrink", &[fuzz.to_str().unwrap()]).assert_refused(&["this case is of another kind"]);
    run("explore", &["--weaken", "torn-walk-stored"]).assert_refused(&["does not apply to cpython-cached"]);
    run("explore", &["--family", "threads"]).assert_refused(&["threads are not stepped"]);
}
