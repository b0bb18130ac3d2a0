//! Tests the committed cases of the stepped lane: each must fail as recorded on its own interpreter.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lanes::explore::place::{find, plan};
use lanes::explore::replay::{ReplayResult, on};
use lanes::stepped::{Rig, RigPlan};
use model::run::known::KnownFailures;
use model::schedule::cast::{ProfilerScript, names};
use model::schedule::fingerprint::SteppedFingerprint;
use process::build::{BuildOptions, BuildVariant, Silent, cache_folder, select};
use sim::case::file::SteppedFile;

use crate::common;

/// The number of rigs for each case, and of runs on each rig.
const RIGS: usize = 2;
const RUNS: usize = 3;
/// Reached only by a hang, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

fn cases() -> Vec<(PathBuf, SteppedFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/cases/stepped");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let load = |path: PathBuf| {
        let file = SteppedFile::load(&path).unwrap_or_else(|error| panic!("{error}"));
        // The file must be exactly what `save` writes, so that changes to it can be compared.
        assert_eq!(file.text().unwrap(), fs::read_to_string(&path).unwrap(), "{}", path.display());
        (path, file)
    };
    paths.into_iter().map(load).collect()
}

fn rows() -> Vec<BuildVariant> {
    let python = common::release().python;
    select(&[python], &BuildOptions::default(), &cache_folder(None).unwrap(), &mut Silent)
        .unwrap_or_else(|error| panic!("{error}"))
        .rows
}

/// Replays a case. If its interpreter is missing here, the test fails.
fn replay(path: &Path, file: &SteppedFile, rows: &[BuildVariant]) {
    let case = &file.case;
    let row = find(rows, case, false).unwrap_or_else(|error| {
        panic!("{}: {error}; the tests take theirs from FRAMEDIFF_TEST_PYTHON", path.display())
    });
    let folder = tempfile::tempdir().unwrap();
    let plan = RigPlan { patience: PATIENCE, ..plan(row, case, folder.path()) };
    for _ in 0..RIGS {
        let workload = case.workload.generate().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut rig = Rig::launch(plan.clone(), workload).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for _ in 0..RUNS {
            let again = on(&mut rig, &case.schedule, case.samples, &case.fingerprint);
            let (_, again) = again.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(again, ReplayResult::Same, "{}", path.display());
        }
    }
}

/// Replays every n-th case, where n is `parts`, so that several tests run at the same time.
fn replay_part(part: usize, parts: usize) {
    let rows = rows();
    let cases = cases();
    assert!(cases.len() > parts, "there are {} cases", cases.len());
    for (path, file) in cases.iter().skip(part).step_by(parts) {
        replay(path, file, &rows);
    }
}

#[test]
fn the_first_half_of_the_cases_fails_as_recorded() {
    replay_part(0, 2);
}

#[test]
fn the_second_half_of_the_cases_fails_as_recorded() {
    replay_part(1, 2);
}

#[test]
fn every_case_is_a_known_failure_with_a_note() {
    let known = KnownFailures::kept().unwrap();
    for (path, SteppedFile { note, case }) in cases() {
        assert!(
            known.find_stepped(&case.fingerprint, &case.build.version, case.workload.family).is_some(),
            "{}",
            path.display()
        );
        assert!(note.len() > 40, "{}: {note:?}", path.display());
    }
}

/// Otherwise nobody would notice if a known failure disappeared.
#[test]
fn every_known_failure_of_a_schedule_has_a_case() {
    let cases = cases();
    let seen: BTreeSet<String> = cases.iter().map(|(_, file)| entry(&file.case.fingerprint)).collect();
    // Fingerprints that are not of a schedule do not parse as such. They have a test of their own.
    let of_a_schedule = |text: &&str| {
        [(*text).to_owned(), format!("{text}/still")].iter().any(|text| text.parse::<SteppedFingerprint>().is_ok())
    };
    let known = KnownFailures::kept().unwrap();
    let listed: BTreeSet<String> =
        known.iter().map(|known| known.fingerprint.as_str()).filter(of_a_schedule).map(str::to_owned).collect();
    assert_eq!(listed, seen);
}

/// The fingerprint as it is listed. Its shape only says whether the target moves inside samples.
fn entry(fingerprint: &SteppedFingerprint) -> String {
    let text = fingerprint.to_string();
    if fingerprint.shape.is_inside_samples() { text.rsplit_once('/').unwrap().0.to_owned() } else { text }
}

#[test]
fn there_are_cases_for_one_unwinder_and_for_several() {
    let casts: BTreeSet<String> = cases().iter().map(|(_, file)| file.case.cast.to_string()).collect();
    assert!(casts.contains(&ProfilerScript::default().to_string()) && casts.len() > 2, "{casts:?}");
    assert!(casts.iter().all(|cast| names().contains(&cast.as_str())), "{casts:?}");
    let at_rest = cases().iter().filter(|(_, file)| !file.case.schedule.moves_inside_samples()).count();
    assert!(at_rest > 5, "{at_rest}");
}
