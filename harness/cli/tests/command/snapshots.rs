//! Tests snapshots: recorded on real interpreters, saved, loaded and replayed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use framediff::cli::exit;
use framewalk::sample::WalkerKind;
use lanes::record::{RecordOrder, record};
use model::jit_mode::JitMode;
use model::workload::{Family, FrameSize, Names, Parameters};
use process::build::{Build, rows};
use sim::snapshot::{Answer, Snapshot};

use crate::common;
use crate::common::command::outcome;
use crate::recorded::{count, replayed};

/// Longer than any recording or replay takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn recorded(build: Build, jit: bool, family: Family, parameters: Parameters, stops: u32) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(&[Arc::new(build)]);
    let row = rows.iter().find(|row| (row.jit == JitMode::On) == jit).unwrap();
    let interrupted = AtomicBool::new(false);
    let order =
        RecordOrder { row, family, parameters, seed: 1, stops, folder: folder.path(), interrupted: &interrupted };
    let snapshot = record(&order).unwrap();
    // A snapshot does not contain the path where it was recorded.
    let folder = folder.path().to_str().unwrap().as_bytes();
    let payload = format!("{snapshot:?}");
    assert!(!payload.contains(std::str::from_utf8(folder).unwrap()));
    for stop in &snapshot.stops {
        for (_, bytes) in stop.image.ranges() {
            assert!(!bytes.windows(folder.len()).any(|window| window == folder));
        }
    }
    snapshot
}

fn parameters(depth: u32, names: Names) -> Parameters {
    Parameters { depth, width: 3, frame_size: FrameSize::Equal(8), speed: 20, names }
}

#[test]
fn every_walker_gives_the_same_result_on_the_images_as_on_the_process() {
    for (family, names) in [(Family::Alternating, Names::Wide), (Family::Recursion, Names::Latin1)] {
        let snapshot = recorded(common::release(), false, family, parameters(4, names), 10);
        let bytes = snapshot.to_bytes().unwrap();
        let loaded = Snapshot::from_bytes(&bytes).unwrap();
        assert_eq!(loaded, snapshot);
        // The replay compares each stack, and each cache answer of the profiler, with those recorded from the process.
        let looks = replayed(&loaded);
        let counts = |walker| [Answer::FullHit, Answer::PartialHit, Answer::Miss].map(|it| count(&looks, walker, it));
        let [full, partial, miss] = counts(WalkerKind::OwnCached);
        assert!(full + partial >= 7 && full + partial + miss == 10, "{full} full, {partial} partial, {miss} misses");
        // This walker wrote no anchor into the recorded process, and still has hits.
        let [full, partial, _] = counts(WalkerKind::OwnReference);
        assert!(full + partial > 0, "{full} full, {partial} partial");
        assert!(loaded.stops.iter().all(|stop| !stop.gate.account.is_empty()));
    }
}

#[test]
fn threads_generators_and_jit_code_are_recorded() {
    let threads = recorded(common::release(), true, Family::Threads, parameters(2, Names::Ascii), 3);
    assert!(threads.stops.iter().all(|stop| stop.threads.len() > 3), "{threads:?}");
    assert_eq!(threads.meta.jit, JitMode::On);
    replayed(&threads);
    let generators = recorded(common::release(), false, Family::Generators, parameters(3, Names::Astral), 6);
    replayed(&generators);
    let debug = recorded(common::debug(), false, Family::ThroughC, parameters(3, Names::Ascii), 4);
    assert!(debug.meta.debug);
    replayed(&debug);
}

#[test]
fn snapshot_records_and_replay_replays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.snapshot");
    let (python, file) = (common::release().python, file.to_str().unwrap());
    let arguments =
        ["snapshot", "--python", python.to_str().unwrap(), "--family", "alternating", "--seed", "3", "-o", file];
    let taken = outcome(arguments, PATIENCE);
    assert_eq!(taken.code, Some(i32::from(exit::PASS)), "{taken:?}");
    assert!(taken.stdout.contains("alternating, seed 3, 4 stops") && taken.stdout.ends_with("  pass\n"), "{taken:?}");
    let again = outcome(["replay", file], PATIENCE);
    assert_eq!(again, taken, "a replay gives what the recording gave");
    outcome(arguments, PATIENCE).assert_refused(&[file, "already exists", "choose another name"]);
    let nowhere = folder.path().join("no/b.snapshot");
    let nowhere = nowhere.to_str().unwrap();
    outcome([&arguments[..8], &[nowhere]].concat(), PATIENCE).assert_refused(&["cannot write the snapshot", nowhere]);
}
