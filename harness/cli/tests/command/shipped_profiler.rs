//! Judges the output of the shipped profiler of a real interpreter.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use framediff::cli::exit;
use serde_json::Value;

use crate::common;
use crate::common::command::{Outcome, Running, framediff};
use crate::common::executable::write_executable;

/// The deadline for a run of a few seconds, on a loaded machine.
const TIME: Duration = Duration::from_secs(300);

fn profile(python: &Path) -> Outcome {
    let mut command = framediff(["profile", "--jit", "off", "--width", "2", "--seconds", "1", "--format", "json"]);
    command.arg("--python").arg(python);
    Running::start(command).ends_within(TIME)
}

fn item(outcome: &Outcome) -> Value {
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    document["items"][0].clone()
}

#[test]
fn a_blocking_profile_of_a_released_build_has_no_impossible_stack() {
    let outcome = profile(&common::release().python);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    let item = item(&outcome);
    let text = item["text"].as_str().unwrap();
    let line = text.lines().map(str::trim).find(|line| line.starts_with("--blocking ")).unwrap();
    let columns: Vec<&str> = line.split_whitespace().collect();
    assert!(columns[1].parse::<u64>().unwrap() > 100 && columns[5] == "0", "{text}");
    assert!(text.contains("3 formats of a recording agree, 3 damaged recordings refused"), "{text}");
}

#[test]
fn stacks_that_were_changed_after_the_run_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python");
    let real = common::release().python;
    // Every frame of one branch is renamed to one of the other, but not its callers.
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*--blocking*) '{0}' \"$@\" || exit; sed -i 's/:b0_1:/:b1_1:/' stacks.txt;;\n\
         *) exec '{0}' \"$@\";;\nesac\n",
        real.display()
    );
    write_executable(&python, script.as_bytes());
    let outcome = profile(&python);
    assert_eq!(outcome.code, Some(i32::from(exit::VIOLATION)), "{outcome:?}");
    let item = item(&outcome);
    let short = item["short"].as_str().unwrap();
    assert!(short.starts_with("--blocking: ") && short.contains("impossible"), "{short}");
    assert!(fs::read_dir(folder.path()).unwrap().count() == 1, "nothing is written beside the build");
}
