//! Snapshots: recorded from real interpreters, saved, loaded, replayed; and the files that come with the project.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::command::outcome;
use framediff::cli::exit;
use framewalk::layout::Layout;
use framewalk::sample::WalkerKind;
use lanes::record::{Order, record};
use model::jit_mode::JitMode;
use model::workload::{Family, FrameSize, Names, Parameters};
use process::build::{Build, rows};
use sim::snapshot::replay::{Look, answer};
use sim::snapshot::{Answer, Snapshot};

/// Longer than any recording or replay takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/snapshots");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn recorded(build: Build, jit: bool, family: Family, parameters: Parameters, stops: u32) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows(&[Arc::new(build)]);
    let row = rows.iter().find(|row| (row.jit == JitMode::On) == jit).unwrap();
    let interrupted = AtomicBool::new(false);
    let order = Order { row, family, parameters, seed: 1, stops, folder: folder.path(), interrupted: &interrupted };
    let snapshot = record(&order).unwrap();
    // Nothing tells where it was recorded.
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

/// Everything that walkers make of a snapshot, of which nothing may be wrong.
fn replayed(snapshot: &Snapshot) -> Vec<Look> {
    let looks = snapshot.replay().unwrap();
    for look in &looks {
        assert_eq!(look.broken, [], "{} at stop {}: {look:?}", look.walker, look.stop);
    }
    looks
}

/// How often a walker's cache gave this answer.
fn count(looks: &[Look], walker: WalkerKind, wanted: Answer) -> usize {
    let samples = looks.iter().filter(|look| look.walker == walker).flat_map(|look| &look.sample);
    samples.flat_map(|sample| &sample.threads).filter(|thread| answer(thread).0 == wanted).count()
}

#[test]
fn on_its_images_every_walker_gives_what_it_gave_on_the_process() {
    for (family, names) in [(Family::Alternating, Names::Wide), (Family::Recursion, Names::Latin1)] {
        let snapshot = recorded(common::release(), false, family, parameters(4, names), 10);
        let bytes = snapshot.to_bytes().unwrap();
        let loaded = Snapshot::from_bytes(&bytes).unwrap();
        assert_eq!(loaded, snapshot);
        // The replay compares each stack and each answer of the profiler's cache with what was had on the process.
        let looks = replayed(&loaded);
        let counts = |walker| [Answer::FullHit, Answer::PartialHit, Answer::Miss].map(|it| count(&looks, walker, it));
        let [full, partial, miss] = counts(WalkerKind::OwnCached);
        assert!(full + partial >= 7 && full + partial + miss == 10, "{full} full, {partial} partial, {miss} misses");
        // This one did not write the process's anchors, and hits on them nevertheless.
        let [full, partial, _] = counts(WalkerKind::OwnReference);
        assert!(full + partial > 0, "{full} full, {partial} partial");
        assert!(loaded.stops.iter().all(|stop| !stop.gate.account.is_empty()));
    }
}

#[test]
fn threads_and_generators_and_the_jit_are_recorded_too() {
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
fn the_corpus_replays_and_holds_what_it_is_meant_to() {
    let files = corpus();
    let snapshots: Vec<Snapshot> = files.iter().map(|file| Snapshot::load(file).unwrap()).collect();
    let size: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(size < 2 << 20, "{size} bytes");
    let mut answers = [0; 4];
    for (snapshot, file) in snapshots.iter().zip(&files) {
        println!("{}", file.display());
        let looks = replayed(snapshot);
        for (total, wanted) in
            answers.iter_mut().zip([Answer::FullHit, Answer::PartialHit, Answer::Miss, Answer::Rejected])
        {
            *total += count(&looks, WalkerKind::OwnCached, wanted);
        }
    }
    assert!(answers.iter().all(|&number| number > 0), "{answers:?}");

    let has = |wanted: &dyn Fn(&Snapshot) -> bool| snapshots.iter().any(wanted);
    // Images of a family beyond all limits would be too.
    for family in Family::ALL.into_iter().filter(|&family| family != Family::Limits) {
        assert!(has(&|it| it.meta.family == family && it.meta.version.minor() == (3, 15)), "{family}");
    }
    for names in Names::ALL {
        assert!(has(&|it| it.meta.parameters.names == names), "{names:?}");
    }
    assert!(has(&|it| it.meta.version.minor() == (3, 14)));
    assert!(has(&|it| it.meta.debug) && has(&|it| it.meta.jit == JitMode::On));
    // A stack whose frames lie in several chunks of 16 KiB.
    assert!(has(&|it| {
        let mut image = it.stops[0].image.clone();
        let layout = Layout::read(&mut image, it.meta.runtime).unwrap();
        let longest: usize = image.ranges().map(|(_, bytes)| bytes.len()).filter(|&length| length >= 16 << 10).sum();
        layout.thread.cache.is_some() && longest >= 4 * (16 << 10)
    }));
}

#[test]
fn the_command_records_and_replays() {
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
    outcome(arguments, PATIENCE).assert_refused(&[file, "is there already", "choose another name"]);
    let nowhere = folder.path().join("no/b.snapshot");
    let nowhere = nowhere.to_str().unwrap();
    outcome([&arguments[..8], &[nowhere]].concat(), PATIENCE).assert_refused(&["cannot write the snapshot", nowhere]);
}

#[test]
fn a_wrong_truth_is_a_violation() {
    let folder = tempfile::tempdir().unwrap();
    let mut snapshot = Snapshot::load(&corpus()[0]).unwrap();
    snapshot.stops[0].gate.account[1].line = Some(1_000_000);
    let file = folder.path().join("a.snapshot");
    snapshot.save(&file).unwrap();
    let outcome = outcome(["replay", file.to_str().unwrap()], PATIENCE);
    assert_eq!(outcome.code, Some(i32::from(exit::VIOLATION)), "{outcome:?}");
    assert!(outcome.stdout.contains("violation: thread"), "{outcome:?}");
    assert!(outcome.stdout.contains("the target's own account has another line"), "{outcome:?}");
}

#[test]
fn files_that_are_no_snapshots_are_told_by_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(&corpus()[0]).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let newer = [b"framediff-snapshot 2\n", &good[21..]].concat();
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "this is no snapshot"),
        ("foreign", b"\x7fELF\x02\x01\x01 and so on", "this is no snapshot"),
        ("cut", &good[..good.len() / 2], "is cut off"),
        ("short", &good[..12], "is cut off"),
        ("damaged", &damaged, "its SHA-256 is another"),
        ("newer", &newer, "has format version 2, known are 1 to 1"),
    ];
    for (name, bytes, words) in cases {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let file = file.to_str().unwrap();
        outcome(["replay", file], PATIENCE).assert_refused(&[file, words]);
    }
    let missing = folder.path().join("missing");
    let missing = missing.to_str().unwrap();
    outcome(["replay", missing], PATIENCE).assert_refused(&["cannot read", missing, "No such file"]);
    outcome(["replay", folder.path().to_str().unwrap()], PATIENCE).assert_refused(&["cannot read"]);
    // One bad file does not keep the others from being replayed.
    let good = corpus()[0].clone();
    let both = outcome(["replay", missing, good.to_str().unwrap()], PATIENCE);
    assert_eq!(both.code, Some(i32::from(exit::USAGE)), "{both:?}");
    assert!(both.stdout.ends_with("  pass\n") && both.stderr.contains(missing), "{both:?}");
}
