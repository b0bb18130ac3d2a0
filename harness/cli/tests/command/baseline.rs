//! Tests of `check --baseline`, and of a build of a version that no known failure was seen on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use framediff::cli::exit;
use model::run::change::{AgainstBase, Fate};
use model::run::document::Document;
use model::run::verdict::Verdict;
use serde_json::Value;
use tempfile::TempDir;

use crate::common;
use crate::common::command::{Outcome, REFUSAL, Running, framediff, outcome};
use crate::common::executable::write_executable;
use crate::common::target::script;

/// Reached only by a hang, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(300);
/// A family whose known failures in the stopped lane are many.
const FAMILY: [&str; 6] = ["--lane", "stopped", "--family", "generators", "--jit", "off"];

/// `check` of `python`, with a few stops.
fn check(python: &Path, more: &[&str]) -> Command {
    let mut command = framediff(["check", "--python"]);
    command.arg(python).args(FAMILY).args(["--budget", "5m"]).args(more);
    command
}

fn run(command: Command) -> Outcome {
    Running::start(command).ends_within(PATIENCE)
}

/// The report of a base: 100 stops with the seed 1.
fn base(folder: &Path) -> (PathBuf, Document) {
    let file = folder.join("base.json");
    let report = format!("json={}", file.display());
    let ran = run(check(&common::release().python, &["--seed", "1", "--stops", "100", "--report", &report]));
    assert_eq!(ran.code, Some(i32::from(exit::PASS)), "{ran:?}");
    let document = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    (file, document)
}

fn against(base: &Path, more: &[&str]) -> Outcome {
    let more = [&["--baseline", base.to_str().unwrap()], more].concat();
    run(check(&common::release().python, &more))
}

fn fates(document: &Document) -> Vec<(Fate, bool)> {
    let changes = &document.baseline.as_ref().unwrap().comparison.changes;
    changes.iter().map(|change| (change.fate, change.fails)).collect()
}

/// The base's report without the failures whose fingerprint ends so.
fn without(document: &Document, end: &str, file: &Path) -> PathBuf {
    let mut document = document.clone();
    document.violations.retain(|violation| !violation.fingerprint.as_str().ends_with(end));
    fs::write(file, serde_json::to_string(&document).unwrap()).unwrap();
    file.to_owned()
}

#[test]
fn a_build_differs_from_its_base_only_in_what_the_base_does_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let (file, before) = base(folder.path());
    assert!(!before.violations.is_empty());

    // The report says what to run, and the same build shows the same.
    let same = against(&file, &["--format", "json"]);
    assert_eq!(same.code, Some(i32::from(exit::PASS)), "{same:?}");
    let document = same.document();
    assert_eq!((document.seed, document.stops), (1, Some(100)));
    let fates = fates(&document);
    assert!(!fates.is_empty() && fates.iter().all(|fate| *fate == (Fate::StillThere, false)), "{fates:?}");
    assert!(document.violations.iter().all(|one| one.against_base == Some(AgainstBase::AlsoInBase)));

    // A known failure that the base does not show is new.
    let less = without(&before, "own-reference/anchor-on-dead-shim", &folder.path().join("less.json"));
    let reports = ["markdown", "html", "junit"].map(|kind| format!("{kind}={}", folder.path().join(kind).display()));
    let options = reports.iter().flat_map(|report| ["--report", report.as_str()]);
    let mut command = check(&common::release().python, &["--baseline", less.to_str().unwrap()]);
    command.args(options).env("GITHUB_ACTIONS", "true").env_remove("GITHUB_STEP_SUMMARY");
    let new = run(command);
    assert_eq!(new.code, Some(i32::from(exit::VIOLATION)), "{new:?}");
    for words in [
        "new in this change: stopped/own-reference/anchor-on-dead-shim",
        "still there, also in the base: stopped/",
        "::error title=new in this change%3A",
        "verdict: fail: 1 kind of failure is new in this change",
    ] {
        assert!(new.stdout.contains(words), "{words:?} is not in {}", new.stdout);
    }
    for kind in ["markdown", "html", "junit"] {
        let text = fs::read_to_string(folder.path().join(kind)).unwrap();
        assert!(text.contains("new in this change") && text.contains("also in the base"), "{kind}: {text}");
    }
}

#[test]
fn a_base_interpreter_runs_the_same_first() {
    let python = common::release().python;
    let ran = against(&python, &["--seed", "1", "--stops", "100", "--format", "json"]);
    assert_eq!(ran.code, Some(i32::from(exit::PASS)), "{ran:?}");
    let document = ran.document();
    assert_eq!(document.baseline.as_ref().unwrap().builds[0].name, document.builds[0].name);
    assert!(ran.stderr.contains("the base runs first: 3.15.2 release"), "{}", ran.stderr);
}

#[test]
fn what_is_no_base_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let malformed = write("malformed.json", "{\"version\": 1, ");
    let foreign = write("foreign.json", "{\"kind\": \"framediff-comparison\"}");
    let text = serde_json::json!({
        "version": 1, "framediff": "0.1.0", "seed": 7, "budget_seconds": 1.0, "stops": 20, "strict": false,
        "interrupted": false, "verdict": "pass", "failures": [], "doubts": [], "advice": [], "builds": [], "table": [],
        "violations": [], "known_not_seen": [], "not_run": [], "cells": [],
    });
    let seeded = write("seeded.json", &text.to_string());
    let missing = folder.path().join("missing");
    for (file, more, words) in [
        (&malformed, &[][..], "it is not JSON"),
        (&foreign, &[], "foreign.json"),
        (&seeded, &["--seed", "8"], "ran with --seed 7, so it is no base for --seed 8"),
        (&seeded, &["--stops", "21"], "ran with --stops 20, so it is no base for --stops 21"),
        (&missing, &[], "there is no such file"),
    ] {
        against(file, more).assert_refused(&[words]);
    }
    outcome(["check", "--baseline", "x"], REFUSAL).assert_refused(&["--python"]);
}

#[test]
fn a_base_that_cannot_be_tested_leaves_the_run_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let crashes = script(folder.path(), "crashes", "kill -SEGV $$");
    let foreign = folder.path().join("foreign");
    // The number after the type is the architecture's: 183 is AArch64.
    write_executable(&foreign, &[&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[3, 0, 183, 0], &[0; 64]].concat());
    let (file, document) = base(folder.path());
    let edited = |name: &str, edit: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(&document).unwrap();
        edit(&mut value);
        let file = file.with_file_name(name);
        fs::write(&file, value.to_string()).unwrap();
        file
    };
    let arm = edited("arm.json", &|report| report["architecture"] = "aarch64".into());
    let unfinished = edited("unfinished.json", &|report| {
        report["doubts"] = serde_json::json!([{ "reason": "interrupted" }]);
    });
    for (base, words) in [
        (&common::debug().python, "no such build or run mode"),
        (&crashes, "does not behave like Python 3"),
        (&foreign, "for another architecture than this machine's"),
        (&arm, "another architecture, aarch64"),
        (&unfinished, "the run was interrupted"),
    ] {
        let ran = against(base, &["--format", "json"]);
        assert_eq!(ran.code, Some(i32::from(exit::INCONCLUSIVE)), "{words}: {ran:?}");
        let judgement = ran.document().judgement;
        assert_eq!(judgement.verdict, Verdict::Inconclusive);
        let doubts: Vec<String> = judgement.doubts.iter().map(ToString::to_string).collect();
        assert!(
            doubts.iter().any(|doubt| doubt.contains("the base was not tested") && doubt.contains(words)),
            "{doubts:?}"
        );
    }
}

/// A fault of gh-151613: the unwinder does not compare the sequence.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_schedule_that_fails_only_with_the_change_is_named() {
    use lab::mutants::unwinder::UnwinderFault;
    use lab::mutants::unwinder::module::Module;

    let folder = tempfile::tempdir().unwrap();
    let module = Module::of(&common::release()).unwrap();
    let changed = module.with(UnwinderFault::NoSequenceCheck, None, folder.path()).unwrap();
    let mut command = framediff(["check", "--lane", "stepped", "--family", "alternating", "--jit", "off"]);
    command.args(["--seed", "1", "--schedules", "600", "--budget", "5m", "--python"]).arg(&changed.build.python);
    command.arg("--baseline").arg(common::release().python);
    let ran = run(command);
    assert_eq!(ran.code, Some(i32::from(exit::VIOLATION)), "{ran:?}");
    let named = ran.stdout.lines().skip_while(|line| !line.starts_with("against the base"));
    let named: Vec<&str> = named.collect();
    assert!(named.iter().any(|line| line.contains("passed before and fail")), "{}", ran.stdout);
    assert!(named.iter().any(|line| line.starts_with("  replay     framediff replay --python")), "{}", ran.stdout);
    let sentence = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(sentence.contains("passed on the base and fail"), "{}", ran.stdout);
}

/// A hard-linked copy of the fetched release build that says it is 3.15.3.
fn later_version() -> (TempDir, PathBuf) {
    let python = &common::fetched()[0];
    let root = python.ancestors().nth(3).unwrap();
    // Beside the original, because hard links cannot cross file systems.
    let folder = tempfile::Builder::new().prefix(".test-").tempdir_in(root.parent().unwrap()).unwrap();
    let copy = folder.path().join("copy");
    assert!(Command::new("cp").arg("-al").arg(root).arg(&copy).status().unwrap().success());
    let modules = fs::read_dir(copy.join("usr/lib/python3.15/lib-dynload")).unwrap().map(|entry| entry.unwrap().path());
    let is_unwinder = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("_remote_debugging");
    for file in modules.filter(is_unwinder).chain([copy.join("usr/bin/python3.15-elf")]) {
        let bytes = fs::read(&file).unwrap();
        let bytes = replaced(&bytes, &0x030f_02f0_u32.to_le_bytes(), &0x030f_03f0_u32.to_le_bytes());
        let bytes = replaced(&bytes, b"\x003.15.2\x00", b"\x003.15.3\x00");
        fs::remove_file(&file).unwrap();
        write_executable(&file, &bytes);
    }
    let python = copy.join(python.strip_prefix(root).unwrap());
    (folder, python)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let starts: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, at)| *at == from).map(|(at, _)| at).collect();
    for start in starts {
        bytes[start..start + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn on_the_next_version_known_failures_are_not_confirmed_and_excused() {
    let (_folder, python) = later_version();
    let all = |more: &[&str]| {
        let mut command = framediff(["check", "--seed", "1", "--jit", "off", "--format", "json", "--python"]);
        command.arg(&python).args(more);
        run(command)
    };
    let numbered = ["--lane", "stopped", "--lane", "stepped", "--stops", "40", "--schedules", "250", "--budget", "10m"];
    let live = ["--lane", "live", "--family", "alternating", "--budget", "5s"];
    for more in [&numbered[..], &live] {
        let ran = all(more);
        assert_eq!(ran.code, Some(i32::from(exit::PASS)), "{ran:?}");
        let document = ran.document();
        assert_eq!(document.builds[0].version, "3.15.3");
        assert!(document.violations.iter().all(|one| one.known.is_some() && one.not_confirmed), "{document:?}");
        assert!(!document.violations.is_empty() || more == live);
    }
    let strict = all(&["--lane", "stopped", "--family", "generators", "--stops", "40", "--budget", "5m", "--strict"]);
    assert_eq!(strict.code, Some(i32::from(exit::VIOLATION)), "{strict:?}");
    let named = all(&["--lane", "stopped", "--family", "generators", "--stops", "40", "--configuration", "gc"]);
    assert_eq!(named.code, Some(i32::from(exit::INCONCLUSIVE)), "{named:?}");
    assert!(named.stdout.contains("the proof of the layout does not reach that"), "{named:?}");
}
