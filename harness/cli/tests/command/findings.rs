//! Runs the reproducers of `corpus/findings` on real interpreters.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use framediff::cli::exit;
use model::findings::{Need, all};
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
