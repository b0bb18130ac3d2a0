//! Runs the reproducers of `corpus/findings` on real interpreters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use framediff::cli::exit;
use model::findings::{FindingAnswer, Need, all};
use serde_json::Value;

use crate::common;
use crate::common::command::outcome;

/// The deadline for a run of a few seconds, on a loaded machine.
const TIME: Duration = Duration::from_secs(300);

#[test]
fn every_finding_is_there_on_a_released_build() {
    let python = common::release().python;
    let line = ["findings", "--python", python.to_str().unwrap(), "--times", "2", "--format", "json"];
    let outcome = outcome(line, TIME);
    let document: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    let items = document["items"].as_array().unwrap();
    let findings = all().unwrap();
    assert_eq!(items.len(), findings.len());
    for (item, finding) in items.iter().zip(&findings) {
        let state = if finding.about.needs.contains(&Need::DebugBuild) { "not applicable" } else { "still there" };
        assert!(item["name"] == finding.name && item["short"].as_str().unwrap().starts_with(state), "{item}");
        assert_eq!(item["verdict"], "pass", "{item}");
    }
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)));
}

#[test]
fn findings_of_debug_builds_are_there_on_one() {
    let python = common::debug().python;
    let of_debug = all().unwrap().into_iter().filter(|finding| finding.about.needs.contains(&Need::DebugBuild));
    let names: Vec<&str> = of_debug.map(|finding| finding.name).collect();
    let line = [&["findings", "--python", python.to_str().unwrap(), "--times", "2"][..], &names].concat();
    let outcome = outcome(line, TIME);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    assert_eq!(outcome.stdout.matches("still there").count(), names.len(), "{outcome:?}");
}

#[test]
fn an_unknown_finding_is_refused_with_the_names() {
    outcome(["findings", "none-such"], TIME)
        .assert_refused(&["there is no finding \"none-such\"", "late-anchor-full-hit"]);
}

/// The module `_remote_debugging` without the faults that can be mended around the real one.
const MENDED: &str = include_str!("mended.py");
/// These remain: where the real unwinder raises there is nothing to return, and one that never writes an anchor leaves
/// none.
const NOT_MENDED: [&str; 4] = [
    "depth-limit-counts-hidden-frames",
    "dropped-unwinder-leaves-anchor",
    "return-to-c-loses-sample",
    "threads-without-frames-lose-samples",
];

#[test]
fn reproducers_pass_with_an_unwinder_that_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("_remote_debugging.py"), MENDED).unwrap();
    let mut mended = 0;
    for finding in all().unwrap() {
        if NOT_MENDED.contains(&finding.name) || finding.about.needs.contains(&Need::DebugBuild) {
            continue;
        }
        let file = folder.path().join(finding.name);
        fs::write(&file, finding.reproducer).unwrap();
        let ended = Command::new(&common::release().python).arg("-B").arg(&file).output().unwrap();
        let [stdout, stderr] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let answer = FindingAnswer::of(ended.status.code(), &stdout, &stderr);
        assert_eq!(answer, FindingAnswer::NotThere, "{}: {stdout}{stderr}", finding.name);
        mended += 1;
    }
    assert!(mended >= 13, "{mended}");
}
