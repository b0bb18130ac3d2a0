//! `triage` on the files of small nights.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use framediff::cli::exit;

use crate::common;
use crate::common::command::{Outcome, outcome};

const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `check` on a small program and keeps what it writes in `folder`.
fn check(folder: &Path, more: &[&str]) {
    let python = common::release().python;
    let report = format!("json={}", folder.join("check.json").display());
    let fixed = ["check", "--lane", "stopped", "--family", "recursion", "--seed", "3", "--depth", "4", "--stops", "40"];
    let build = ["--budget", "60s", "--jit", "off", "--python", python.to_str().unwrap()];
    let files = ["--report", &report, "--bundles", folder.to_str().unwrap()];
    let ran = outcome([&fixed[..], &build, &files, more].concat(), PATIENCE);
    assert!(folder.join("check.json").is_file(), "{ran:?}");
}

fn triage(arguments: &[&Path]) -> Outcome {
    let arguments = arguments.iter().map(|path| path.to_str().unwrap());
    outcome(["triage"].into_iter().chain(arguments), PATIENCE)
}

#[test]
fn new_failures_get_an_issue_and_old_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let [night, before, issues] = ["night", "before", "issues"].map(|name| folder.path().join(name));
    let (option, output) = (Path::new("--before"), Path::new("--output"));
    fs::create_dir_all(&before).unwrap();
    check(&night, &["--weaken", "leaf-reused-on-full-hit"]);
    check(&before, &[]);

    let new = triage(&[&night, option, &before, output, &issues]);
    assert_eq!(new.code, Some(i32::from(exit::VIOLATION)), "{new:?}");
    assert!(new.stdout.lines().any(|line| line.starts_with("new        stopped/own-cached/")), "{new:?}");
    let written: Vec<_> = fs::read_dir(&issues).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [issue] = written.as_slice() else { panic!("one cause is one issue: {written:?}") };
    let text = fs::read_to_string(issue.join("issue.md")).unwrap();
    for words in
        ["# the fault that --weaken put into", "## What was seen", "seen  ", "No file shows it alone: the fault is in"]
    {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let still = triage(&[&night, option, &night]);
    assert_eq!(still.code, Some(i32::from(exit::VIOLATION)), "{still:?}");
    assert!(still.stdout.contains("\nstill      ") && !still.stdout.contains("\nnew  "), "{still:?}");
    let gone = triage(&[&before, option, &night]);
    assert_eq!(gone.code, Some(i32::from(exit::PASS)), "{gone:?}");
    assert!(gone.stdout.contains("\nnot seen   stopped/own-cached/"), "{gone:?}");
}

#[test]
fn a_night_with_a_missing_shard_or_a_damaged_file_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let (shard, empty) = (folder.path().join("shard"), folder.path().join("empty"));
    fs::create_dir_all(&empty).unwrap();
    assert_eq!(triage(&[&empty]).code, Some(i32::from(exit::INCONCLUSIVE)));
    check(&shard, &["--shard", "1/2"]);
    let missing = triage(&[&shard]);
    assert_eq!(missing.code, Some(i32::from(exit::INCONCLUSIVE)), "{missing:?}");
    assert!(missing.stdout.contains("in 2 shards is inconclusive"), "{missing:?}");
    check(&shard, &[]);
    assert_eq!(triage(&[&shard]).code, Some(i32::from(exit::PASS)));
    fs::write(shard.join("damaged.json"), "{").unwrap();
    let damaged = triage(&[&shard]);
    assert_eq!(damaged.code, Some(i32::from(exit::INCONCLUSIVE)), "{damaged:?}");
    assert!(damaged.stdout.contains("damaged.json"), "{damaged:?}");
    triage(&[&folder.path().join("absent")]).assert_refused(&["absent", "No such file"]);
}
