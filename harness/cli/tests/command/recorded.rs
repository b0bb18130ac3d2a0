//! Tests the snapshots in the corpus, and files that are not snapshots.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use framediff::cli::exit;
use framewalk::layout::Layout;
use framewalk::sample::WalkerKind;
use model::jit_mode::JitMode;
use model::workload::{Family, Names};
use sim::snapshot::replay::{ReplayedLook, answer};
use sim::snapshot::{Answer, Snapshot};

use crate::common::command::outcome;

/// Longer than any replay takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/snapshots");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Everything that the walkers return for a snapshot. None of it may be wrong.
pub(crate) fn replayed(snapshot: &Snapshot) -> Vec<ReplayedLook> {
    let looks = snapshot.replay().unwrap();
    for look in &looks {
        assert_eq!(look.broken, [], "{} at stop {}: {look:?}", look.walker, look.stop);
    }
    looks
}

/// How often a walker's cache gave this answer.
pub(crate) fn count(looks: &[ReplayedLook], walker: WalkerKind, wanted: Answer) -> usize {
    let samples = looks.iter().filter(|look| look.walker == walker).flat_map(|look| &look.sample);
    samples.flat_map(|sample| &sample.threads).filter(|thread| answer(thread).0 == wanted).count()
}

#[test]
fn the_corpus_replays_and_contains_the_intended_situations() {
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
    // The snapshots of a program that exceeds every limit would do so, too.
    for family in Family::ALL.into_iter().filter(|family| !family.spec().exceeds_limits) {
        assert!(has(&|it| it.meta.family == family && it.meta.version.minor() == (3, 15)), "{family}");
    }
    for names in Names::ALL {
        assert!(has(&|it| it.meta.parameters.names == names), "{names:?}");
    }
    assert!(has(&|it| it.meta.version.minor() == (3, 14)));
    assert!(has(&|it| it.meta.debug) && has(&|it| it.meta.jit == JitMode::On));
    // A stack whose frames are spread over several chunks of 16 KiB.
    assert!(has(&|it| {
        let mut image = it.stops[0].image.clone();
        let layout = Layout::read(&mut image, it.meta.runtime).unwrap();
        let longest: usize = image.ranges().map(|(_, bytes)| bytes.len()).filter(|&length| length >= 16 << 10).sum();
        layout.thread.cache.is_some() && longest >= 4 * (16 << 10)
    }));
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
    assert!(outcome.stdout.contains("the target's own account has a different line"), "{outcome:?}");
}

#[test]
fn files_that_are_not_snapshots_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(&corpus()[0]).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let newer = [b"framediff-snapshot 2\n", &good[21..]].concat();
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "this is not a snapshot"),
        ("foreign", b"\x7fELF\x02\x01\x01 and so on", "this is not a snapshot"),
        ("cut", &good[..good.len() / 2], "is truncated"),
        ("short", &good[..12], "is truncated"),
        ("damaged", &damaged, "its SHA-256 does not match"),
        ("newer", &newer, "has format version 2, but this framediff reads 1 to 1"),
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
    // A bad file does not keep the others from being replayed.
    let good = corpus()[0].clone();
    let both = outcome(["replay", missing, good.to_str().unwrap()], PATIENCE);
    assert_eq!(both.code, Some(i32::from(exit::USAGE)), "{both:?}");
    assert!(both.stdout.ends_with("  pass\n") && both.stderr.contains(missing), "{both:?}");
}
