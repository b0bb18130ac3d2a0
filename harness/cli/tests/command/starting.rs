//! Tests targets that never get ready: the budget or Ctrl-C must end the run anyway.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use framediff::cli::exit;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common;
use crate::common::command::{Process, Running, children, framediff};
use crate::common::executable::write_executable;
use crate::common::target::Watched;

/// Extra time for the end of a run on a loaded machine, on top of the documented overrun.
const LOAD: Duration = Duration::from_secs(2);

/// A program that answers the probe like the release build and otherwise sleeps for ever.
fn sleeper(folder: &Path) -> PathBuf {
    let python = common::release().python;
    hangs(folder, &format!("for word; do [ \"$word\" = -I ] && exec '{}' \"$@\"; done", python.display()))
}

fn hangs(folder: &Path, before: &str) -> PathBuf {
    let path = folder.join("python");
    write_executable(&path, format!("#!/bin/sh\n{before}\nexec sleep 1000\n").as_bytes());
    path
}

fn check(python: &Path, more: &[&str]) -> Command {
    let mut command = framediff(["check", "--python"]);
    command.arg(python).args(more);
    command
}

fn sleeps(process: &Process) -> bool {
    process.command_line.starts_with("sleep")
}

/// Waits until a child of the run sleeps. Returns all sleeping children.
fn asleep(run: &Running) -> Vec<Watched> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = children(run.pid());
        if now.iter().any(sleeps) {
            return now.iter().filter(|child| sleeps(child)).map(|child| Watched::new(child.pid)).collect();
        }
        assert!(!run.has_ended() && Instant::now() < deadline, "{now:?}");
        std::thread::yield_now();
    }
}

#[test]
fn the_budget_includes_the_start_of_targets() {
    let folder = tempfile::tempdir().unwrap();
    let python = sleeper(folder.path());
    for lane in ["stopped", "live"] {
        let run = Running::start(check(&python, &["--budget", "1s", "--lane", lane]));
        let targets = asleep(&run);
        let begun = Instant::now();
        let outcome = run.ends_within(Duration::from_secs(20));
        // The budget, the documented overrun of 15 %, and two seconds.
        let limit = Duration::from_millis(1000 + 150 + 2000) + LOAD;
        assert!(begun.elapsed() < limit, "{lane}: {:?}: {outcome:?}", begun.elapsed());
        assert_eq!(outcome.code, Some(i32::from(exit::INCONCLUSIVE)), "{outcome:?}");
        let words = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("while waiting for an answer; give a longer --budget"), "{outcome:?}");
        assert!(targets.iter().all(|target| target.ends_before(Instant::now())), "{lane}");
    }
}

#[test]
fn ctrl_c_ends_the_start_of_targets_immediately() {
    let folder = tempfile::tempdir().unwrap();
    let python = sleeper(folder.path());
    for lane in ["stopped", "live"] {
        let run = Running::start(check(&python, &["--budget", "60s", "--lane", lane]));
        let targets = asleep(&run);
        let begun = Instant::now();
        kill(Pid::from_raw(run.pid()), Signal::SIGINT).unwrap();
        let outcome = run.ends_within(Duration::from_secs(20));
        assert!(begun.elapsed() < Duration::from_secs(1) + LOAD, "{lane}: {:?}", begun.elapsed());
        assert_eq!(outcome.code, Some(i32::from(exit::INTERRUPTED)), "{outcome:?}");
        assert!(outcome.stdout.contains("nterrupted"), "{outcome:?}");
        assert!(targets.iter().all(|target| target.ends_before(Instant::now())), "{lane}");
    }
}

#[test]
fn ctrl_c_ends_the_probing_of_builds() {
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(check(&hangs(folder.path(), ""), &[]));
    let asked = asleep(&run);
    let begun = Instant::now();
    kill(Pid::from_raw(run.pid()), Signal::SIGINT).unwrap();
    let outcome = run.ends_within(Duration::from_secs(20));
    assert!(begun.elapsed() < Duration::from_secs(1) + LOAD, "{:?}", begun.elapsed());
    assert_eq!(outcome.code, Some(i32::from(exit::INTERRUPTED)), "{outcome:?}");
    assert!(asked.iter().all(|child| child.ends_before(Instant::now())));
}
