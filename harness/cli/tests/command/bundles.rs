//! Tests bundles: a failure in one file, opened again.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use framediff::cli::exit;
use lanes::bundle::{Bundle, name};

use crate::common;
use crate::common::command::{Outcome, Running, framediff, outcome};

const PATIENCE: Duration = Duration::from_secs(240);

fn bundles(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn run(words: &[&str]) -> Outcome {
    outcome(words, PATIENCE)
}

#[test]
fn a_failure_of_check_is_explained_and_replayed_from_its_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("made/here");
    let (release, debug) = (common::release().python, common::debug().python);
    let (release, debug) = (release.to_str().unwrap(), debug.to_str().unwrap());
    let fixed = ["check", "--python", release, "--jit", "off", "--lane", "stopped", "--family", "recursion"];
    let fault = ["--weaken", "leaf-reused-on-full-hit", "--seed", "3", "--depth", "4", "--budget", "2s"];
    let made = run(&[&fixed[..], &fault, &["--bundles", out.to_str().unwrap()]].concat());
    assert_eq!(made.code, Some(i32::from(exit::VIOLATION)), "{made:?}");
    let all = bundles(&out);
    assert!(!all.is_empty() && all.iter().all(|path| made.stderr.contains(path.to_str().unwrap())), "{made:?}");
    let path = all[0].to_str().unwrap();
    let bundle = Bundle::load(&all[0]).unwrap();
    for name in [name::FINDING, name::WORKLOAD, name::GRAMMAR, name::SNAPSHOT, name::LOG, name::REPLAY] {
        assert!(bundle.file(name).is_some_and(|content| !content.is_empty()), "{name}");
    }
    let interpreter = &bundle.about.interpreter;
    assert_eq!((interpreter.version.as_str(), interpreter.flavour.as_str()), ("3.15.2", "release"));
    assert!(interpreter.sha256.is_some() && interpreter.build_id.is_some(), "{interpreter:?}");

    let explained = run(&["explain", path]);
    assert_eq!(explained.code, Some(i32::from(exit::VIOLATION)), "{explained:?}");
    for words in [bundle.about.fingerprint.as_str(), "CPython 3.15.2 release", "clause", "framediff replay"] {
        assert!(explained.stdout.contains(words), "{words}: {explained:?}");
    }
    let replayed = run(&["replay", path, "--budget", "2s", "--python", release]);
    assert_eq!(replayed.code, Some(i32::from(exit::VIOLATION)), "{replayed:?}");
    assert!(replayed.stdout.contains(&bundle.about.fingerprint) && replayed.stdout.contains("stops"), "{replayed:?}");
    assert!(!replayed.stderr.contains("was not made on"), "{replayed:?}");
    // A debug build is a different kind. It is not used instead of the release build, and without that build nothing
    // passes.
    let without = run(&["replay", path, "--python", debug]);
    assert_eq!(without.code, Some(i32::from(exit::INCONCLUSIVE)), "{without:?}");
    assert!(without.stderr.contains("no such build was found"), "{without:?}");
    assert!(without.stdout.contains(&format!("framediff replay {path} --python PATH")), "{without:?}");
}

/// A copy of the bundle that claims to come from another file of the same version.
fn of_another_image(path: &Path, copy: &Path) {
    std::fs::create_dir(copy).unwrap();
    let mut bundle = Bundle::load(path).unwrap();
    bundle.about.interpreter.sha256 = Some("0".repeat(64));
    let saved = bundle.save(copy).unwrap();
    assert!(saved.starts_with(copy));
}

#[test]
fn a_replay_on_another_interpreter_without_the_failure_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (made, other) = (folder.path().join("made"), folder.path().join("other"));
    let release = common::release().python;
    let python = ["--python", release.to_str().unwrap()];
    let search = ["explore", "--samples", "2", "--moves", "2", "--first", "--bundles", made.to_str().unwrap()];
    run(&[&search[..], &python].concat());
    of_another_image(&bundles(&made)[0], &other);
    let path = bundles(&other).remove(0);
    let path = path.to_str().unwrap();
    // The failure is known on 3.15.2, but that says nothing about the bundle's own interpreter.
    let replayed = run(&[&["replay", path, "--times", "1"][..], &python].concat());
    assert_eq!(replayed.code, Some(i32::from(exit::INCONCLUSIVE)), "{replayed:?}");
    assert!(replayed.stdout.contains(&format!("framediff replay {path} --python PATH")), "{replayed:?}");
}

#[test]
fn a_case_of_the_stepped_lane_is_replayed_from_its_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let (out, python) = (folder.path().to_str().unwrap(), common::release().python);
    let python = python.to_str().unwrap();
    let made = run(&["explore", "--python", python, "--samples", "2", "--moves", "2", "--first", "--bundles", out]);
    let all = bundles(folder.path());
    assert_eq!(all.len(), 1, "{made:?}");
    let bundle = Bundle::load(&all[0]).unwrap();
    for name in [name::CASE, name::WORKLOAD, name::GRAMMAR, name::SNAPSHOT, name::REPRODUCER, name::LOG, name::REPLAY] {
        assert!(bundle.file(name).is_some_and(|content| !content.is_empty()), "{name}");
    }
    let path = all[0].to_str().unwrap();
    let explained = run(&["explain", path, "--python", python]);
    assert_eq!(explained.code, Some(i32::from(exit::VIOLATION)), "{explained:?}");
    assert!(explained.stdout.contains("possible") && explained.stdout.contains("build id"), "{explained:?}");
    let replayed = run(&["replay", path, "--times", "2", "--python", python]);
    // The failure is known on 3.15.2.
    assert_eq!(replayed.code, Some(i32::from(exit::PASS)), "{replayed:?}");
    assert!(replayed.stdout.contains("2/2") && replayed.stdout.contains("6 stops"), "{replayed:?}");
}

/// Runs the command as on a machine that has a bundle and nothing else: no home folder, no build, no archive.
fn elsewhere(bundle: &Path, verb: &str) -> Outcome {
    let machine = tempfile::tempdir().unwrap();
    std::fs::copy(bundle, machine.path().join("it.bundle")).unwrap();
    let mut command = framediff([verb, "it.bundle"]);
    command.current_dir(machine.path()).env_clear();
    command.env("HOME", machine.path()).env("PATH", machine.path()).env("TMPDIR", machine.path());
    Running::start(command).ends_within(PATIENCE)
}

#[test]
fn a_machine_without_builds_shows_what_a_bundle_contains_and_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (out, python) = (folder.path().to_str().unwrap(), common::release().python);
    let fixed = ["--python", python.to_str().unwrap(), "--bundles", out, "--jit", "off"];
    let fault = ["check", "--lane", "stopped", "--family", "recursion", "--weaken", "leaf-reused-on-full-hit"];
    run(&[&fault[..], &["--seed", "3", "--depth", "4", "--budget", "2s"], &fixed].concat());
    run(&[&["explore", "--samples", "2", "--moves", "2", "--first"][..], &fixed].concat());
    let all = bundles(folder.path());
    let is_case = |path: &&PathBuf| Bundle::load(path).unwrap().file(name::CASE).is_some();
    let (case, check) = (all.iter().find(is_case).unwrap(), all.iter().find(|path| !is_case(path)).unwrap());

    for (bundle, words) in [(case, "cause "), (check, "clause")] {
        let explained = elsewhere(bundle, "explain");
        assert_eq!(explained.code, Some(i32::from(exit::VIOLATION)), "{explained:?}");
        assert!(explained.stdout.contains(words) && explained.stdout.contains("CPython 3.15.2"), "{explained:?}");
    }
    for bundle in [case, check] {
        let replayed = elsewhere(bundle, "replay");
        assert_eq!(replayed.code, Some(i32::from(exit::INCONCLUSIVE)), "{replayed:?}");
        assert!(replayed.stderr.contains("no CPython 3.15"), "{replayed:?}");
        assert!(replayed.stdout.contains("framediff replay it.bundle --python PATH"), "{replayed:?}");
        // Replaying a snapshot needs no build.
        assert!(replayed.stdout.contains("6 stops") && replayed.stdout.contains("pass"), "{replayed:?}");
    }
}

#[test]
fn an_unwritable_folder_is_refused_before_the_run() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("below-a-file");
    let folder = folder.to_str().unwrap();
    let python = common::release().python;
    let python = python.to_str().unwrap();
    for verb in ["check", "explore"] {
        run(&[verb, "--python", python, "--bundles", folder]).assert_refused(&["cannot write into", folder]);
    }
}
