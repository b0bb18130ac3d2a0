//! Counts the instructions of the pure parts with callgrind. The counts are the same on every run, whatever else the
//! machine does, so they can be a gate where times cannot.
//!
//! `cargo bench --bench instructions --profile dev` compares them with `benches/instructions.toml` and fails if one
//! has grown by more than a tenth. With `-- --record` it rewrites the file. The walks use a recorded target
//! (`corpus/snapshots/release-deep.snapshot`). The profile is the tests' profile, which is built anyway. An increase
//! in work shows in either profile.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use framewalk::cache::{Checks, Entry, FrameCache, Limits};
use framewalk::location_table::LocationTable;
use framewalk::memory::image::Image;
use framewalk::sample::{Lookup, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::thread_state::ThreadState;
use framewalk::walker::Walker;
use rayon::prelude::*;
use sim::snapshot::Snapshot;

/// The difference between the two repetition counts removes the cost of starting up.
const FEW: u64 = 10;
const MANY: u64 = 110;
/// Allowed relative increase over the recorded count: hash seeds and compilers differ.
const TOLERANCE: f64 = 0.10;

type Failure = Box<dyn Error + Send + Sync>;
/// Does the work this many times.
type Work = fn(u64) -> Result<(), Failure>;

/// The measured parts, by name.
const PARTS: [(&str, Work); 8] = [
    ("walk/own-uncached", |times| walks(WalkerKind::OwnUncached, times)),
    ("walk/own-uncached, first", |times| first_walks(WalkerKind::OwnUncached, times)),
    ("walk/own-cached, full hit", |times| walks(WalkerKind::OwnCached, times)),
    ("walk/own-reference, full hit", |times| walks(WalkerKind::OwnReference, times)),
    ("walk/own-reference, first", |times| first_walks(WalkerKind::OwnReference, times)),
    ("cache/full hit", |times| lookups(0, times)),
    ("cache/partial hit, 500 frames left", |times| lookups(500, times)),
    ("decode/location table", tables),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--run", name, times] => run(name, times).map(|()| true),
        _ => judge(arguments.iter().any(|argument| argument == "--record")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, times: &str) -> Result<(), Failure> {
    let (_, work) = PARTS.iter().find(|(part, _)| *part == name).ok_or("there is no such part")?;
    work(times.parse()?)
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches"))
}

/// Whether every part stays within its limit.
fn judge(record: bool) -> Result<bool, Failure> {
    let path = folder().join("instructions.toml");
    let counted: BTreeMap<&str, u64> =
        PARTS.par_iter().map(|&(name, _)| Ok((name, each(name)?))).collect::<Result<_, Failure>>()?;
    if record {
        let text = toml::to_string(&counted)?;
        std::fs::write(&path, format!("# Instructions of each part: see instructions.rs.\n{text}"))?;
    }
    let recorded: BTreeMap<String, u64> = toml::from_str(&std::fs::read_to_string(&path)?)?;
    let mut good = true;
    for (name, count) in counted {
        let before =
            *recorded.get(name).ok_or_else(|| format!("{name} is not on record: --record writes the file again"))?;
        let ratio = count as f64 / before.max(1) as f64;
        let word = match ratio {
            ratio if ratio > 1.0 + TOLERANCE => "GREW",
            ratio if ratio < 1.0 - TOLERANCE => "fewer: accept with --record",
            _ => "unchanged",
        };
        good &= ratio <= 1.0 + TOLERANCE;
        println!("{name:<36} {count:>9} instructions, {before:>9} on record  {word}");
    }
    Ok(good)
}

/// Instructions for one repetition, without the cost of starting up.
fn each(name: &str) -> Result<u64, Failure> {
    let more = counted(name, MANY)?.checked_sub(counted(name, FEW)?).ok_or("more work took fewer instructions")?;
    Ok(more / (MANY - FEW))
}

fn counted(name: &str, times: u64) -> Result<u64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--run", name, &times.to_string()])
        .output()
        .map_err(|error| {
            format!("cannot start valgrind, which counts the instructions (Debian package valgrind): {error}")
        })?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{name}: {told}").into());
    }
    let count = told.lines().find_map(|line| line.split_once("Collected : ")).ok_or("valgrind counted nothing")?.1;
    Ok(count.trim().parse()?)
}

/// A recorded target at its first stop, with a walker attached to it.
fn target(kind: WalkerKind) -> Result<(Image, Box<dyn Walker>), Failure> {
    let path: PathBuf = folder().join("../corpus/snapshots/release-deep.snapshot");
    let snapshot = Snapshot::load(&path)?;
    let mut walker = WalkerSpec::from(kind).build(snapshot.site()?)?;
    let mut image = snapshot.stops.into_iter().next().ok_or("it has no stop")?.image;
    walker.attach(&mut image)?;
    Ok((image, walker))
}

fn walks(kind: WalkerKind, times: u64) -> Result<(), Failure> {
    let (mut image, mut walker) = target(kind)?;
    let expected = if kind.is_cached() { Lookup::FullHit } else { Lookup::Uncached };
    walker.sample(&mut image)?;
    for _ in 0..times {
        let sample = walker.sample(&mut image)?;
        if !sample.threads.iter().all(|thread| thread.provenance.lookup == expected && thread.outcome.is_ok()) {
            return Err(format!("not the sample to be counted: {sample:?}").into());
        }
        black_box(&sample);
    }
    Ok(())
}

/// Walks with a new walker each time, which has cached nothing.
fn first_walks(kind: WalkerKind, times: u64) -> Result<(), Failure> {
    let path: PathBuf = folder().join("../corpus/snapshots/release-deep.snapshot");
    let site = Snapshot::load(&path)?.site()?;
    let (mut image, _) = target(kind)?;
    for _ in 0..times {
        let mut walker = WalkerSpec::from(kind).build(site)?;
        walker.attach(&mut image)?;
        let sample = walker.sample(&mut image)?;
        if !sample.threads.iter().all(|thread| thread.outcome.is_ok()) {
            return Err(format!("not the sample to be counted: {sample:?}").into());
        }
        black_box(&sample);
    }
    Ok(())
}

/// Cache lookups of a frame after the `left` frames above it have left the stack.
fn lookups(left: u64, times: u64) -> Result<(), Failure> {
    const THREAD: u64 = 7;
    let addresses: Vec<u64> = (0..1000).map(|index| 0x10_0000 - index * 0x80).collect();
    let anchor = *addresses.get(usize::try_from(left)?).ok_or("there is no such frame")?;
    let mut cache = FrameCache::new(Limits::CPYTHON);
    let entry = Entry {
        thread_state: 0x1000,
        interpreter: 0,
        addresses: addresses.into(),
        frames: [].into_iter().collect(),
        sequence: 5,
    };
    cache.insert(THREAD, entry);
    let thread = ThreadState {
        current_frame: anchor,
        anchor,
        sequence: 5 + left,
        native_thread_id: THREAD,
        ..ThreadState::unknown(0x1000)
    };
    for _ in 0..times {
        let found = match left {
            0 => cache.full_hit(black_box(&thread), Checks::ALL).is_ok(),
            _ => cache.partial_hit(black_box(&thread), Checks::ALL, 0).is_ok(),
        };
        if !found {
            return Err("it was to be found".into());
        }
    }
    Ok(())
}

fn tables(times: u64) -> Result<(), Failure> {
    // Short, one-line, columnless and long entries, mixed as a compiler does.
    let bytes = [0x81, 0x00, 0xdc, 0x0b, 0x0c, 0x88, 0x51, 0xe9, 0x04, 0xf0, 0x02, 0x02, 0x05, 0x10].repeat(40);
    for _ in 0..times {
        black_box(LocationTable::decode(black_box(&bytes), 10)).ok_or("it is a table")?;
    }
    Ok(())
}
