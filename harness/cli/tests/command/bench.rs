//! Benchmarks: what their programs do on a real interpreter, and what the command writes. No test depends on a time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use framediff::cli::exit;
use framewalk::cached::CachedWalker;
use framewalk::layout::Layout;
use framewalk::sample::{Lookup, ThreadSample};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use lab::bench::document::{BenchDocument, BenchPart};
use lab::bench::program::{Gated, working};
use model::workload::grammar::WORKLOAD_FILE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process::target::{Target, runtime_address};

use crate::common::command::{Outcome, Running, children, framediff, outcome};
use crate::common::target::{python, soon};

/// The deadline for a run with a few points, on a loaded machine.
const RUN: Duration = Duration::from_secs(120);

fn at_first_gate(source: &str) -> (Target, Site) {
    let mut target = Target::launch(&python(), None, source, &std::env::temp_dir(), soon()).unwrap();
    let runtime = runtime_address(target.pid()).unwrap().address;
    let layout = Layout::read(&mut target.memory(), runtime).unwrap();
    target.start(soon()).unwrap();
    target.next_gate(soon()).unwrap();
    (target, Site { layout, runtime })
}

fn threads(walker: &mut dyn Walker, target: &Target) -> Vec<ThreadSample> {
    walker.sample(&mut target.memory()).unwrap().threads.to_vec()
}

#[test]
fn a_program_has_the_requested_depth() {
    for (depth, changed) in [(1, 0), (2, 0), (2, 1), (3, 1), (10, 9), (100, 50), (5000, 0)] {
        let (mut target, site) = at_first_gate(&Gated { depth, changed, threads: 1 }.source());
        for _ in 0..2 {
            assert_eq!(target.account(soon()).unwrap().len(), depth as usize, "{depth} {changed}");
            target.pass_gates(1, soon()).unwrap();
        }
        let found = threads(&mut UncachedWalker::new(site).unwrap(), &target);
        assert_eq!(found[0].outcome.as_ref().unwrap().len(), depth as usize);
    }
}

#[test]
fn exactly_the_requested_frames_change_between_gates() {
    for (depth, changed) in [(10, 0), (10, 1), (10, 4), (10, 8), (100, 50)] {
        let (mut target, site) = at_first_gate(&Gated { depth, changed, threads: 1 }.source());
        let mut walker = CachedWalker::new(site, [].into()).unwrap();
        walker.attach(&mut target.memory()).unwrap();
        threads(&mut walker, &target);
        for _ in 0..3 {
            target.pass_gates(1, soon()).unwrap();
            let found = threads(&mut walker, &target).remove(0).provenance;
            // The nearest frame that stays is read again, because its line may have changed.
            let expected = if changed == 0 { Lookup::FullHit } else { Lookup::PartialHit };
            assert_eq!(
                (found.lookup, found.from_cache),
                (expected, (depth - changed - 1) as usize),
                "{changed} of {depth}"
            );
        }
    }
}

#[test]
fn every_thread_has_the_requested_depth() {
    let (target, site) = at_first_gate(&Gated { depth: 12, changed: 0, threads: 5 }.source());
    let found = threads(&mut UncachedWalker::new(site).unwrap(), &target);
    let depths: Vec<usize> = found.iter().map(|thread| thread.outcome.as_ref().unwrap().len()).collect();
    assert_eq!(depths, [12; 5]);
}

#[test]
fn a_working_program_reports_how_long_its_work_took() {
    let (mut target, _) = at_first_gate(&working(20));
    for _ in 0..3 {
        // The loop was calibrated to run long enough for the clock. Load from other programs can only lengthen it.
        assert!(target.pass_gates(1, soon()).unwrap().context > 10_000_000);
    }
}

fn bench(arguments: &[&str]) -> Outcome {
    let python = python();
    let mut all = vec!["bench", "--python", python.to_str().unwrap()];
    all.extend(arguments);
    outcome(all, RUN)
}

fn document(outcome: &Outcome) -> BenchDocument {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.stderr, "", "a pipe is quiet");
    BenchDocument::from_json(outcome.stdout.as_bytes()).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

fn rendered(file: &Path, more: &[&str]) -> Outcome {
    let mut all = vec!["bench", "--from", file.to_str().unwrap()];
    all.extend(more);
    outcome(all, RUN)
}

#[test]
fn a_run_measures_all_walkers_and_can_be_rendered_and_compared() {
    let run = bench(&["--jit", "off", "--budget", "3s", "--depth", "10", "--format", "json", "--seed", "7"]);
    let document = document(&run);
    assert_eq!((document.seed, document.builds.len(), document.interrupted), (7, 1, false));
    assert!(document.peak_bytes.unwrap() > 1 << 20 && document.machine.cores > 0);
    let point = &document.points[0];
    assert_eq!((point.place.part, point.place.depth), (BenchPart::SpeedUp, 10));
    let names: Vec<&str> = point.series.iter().map(|series| series.contender.as_str()).collect();
    assert_eq!(names, ["own-uncached", "own-cached", "own-reference", "cpython-uncached", "cpython-cached"]);
    for series in &point.series {
        assert_eq!(series.refused, None);
        // Reading the document already checks that the blocks are interleaved.
        assert!(series.blocks.concat().len() >= 2);
        let hits = if series.contender.ends_with("uncached") { 0 } else { series.samples };
        assert_eq!((series.lookups.full, series.lookups.partial, series.lookups.misses), (hits, 0, 0), "{series:?}");
        let breakdown = series.breakdown.as_ref().unwrap();
        assert!(breakdown.system_calls >= 1 && breakdown.segments >= breakdown.system_calls, "{series:?}");
        assert!(breakdown.bytes > 100 && breakdown.writes == 0);
        assert_eq!(breakdown.bare.concat().len(), series.blocks.concat().len());
    }
    let wanted = |part| {
        document
            .points
            .iter()
            .map(|point| point.place)
            .chain(document.left_out.iter().map(|left| left.place))
            .any(|place| place.part == part)
    };
    assert!(BenchPart::ALL.into_iter().all(wanted), "what there is no time for is named");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("before.json");
    std::fs::write(&file, &run.stdout).unwrap();
    let shown = rendered(&file, &["--format", "markdown", "--baseline", file.to_str().unwrap(), "--fail-if-slower"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for words in ["## Against the baseline", "0 slower, 0 faster", "speed-up by depth", "| 10 | own-cached |"] {
        assert!(shown.stdout.contains(words), "{words:?} is not in {}", shown.stdout);
    }
    let drawn = rendered(&file, &["--format", "svg"]);
    assert!(drawn.code == Some(0) && drawn.stdout.contains("</svg>"));

    // In this baseline everything is twice as fast, except the bare system call that serves as the yardstick.
    let mut before = document.clone();
    let halve = |series: &mut lab::bench::document::Series| {
        series.blocks.iter_mut().flatten().for_each(|time| *time /= 2.0);
    };
    before.points.iter_mut().flat_map(|point| &mut point.series).for_each(halve);
    let fast = folder.path().join("fast.json");
    std::fs::write(&fast, serde_json::to_string(&before).unwrap()).unwrap();
    let compared = |more: &[&str]| rendered(&file, &[&["--baseline", fast.to_str().unwrap()], more].concat()).code;
    assert_eq!((compared(&[]), compared(&["--fail-if-slower"])), (Some(0), Some(1)));
}

#[test]
fn a_depth_that_a_walker_cannot_walk_is_reported_with_its_message() {
    let deep = ["--jit", "off", "--budget", "1s", "--part", "speed-up", "--depth", "2000", "--format", "json"];
    let run = bench(&[&deep[..], &["--walker", "cpython-cached", "--walker", "own-uncached"]].concat());
    let document = document(&run);
    let [own, cpython @ ..] = document.points[0].series.as_slice() else { panic!("{document:?}") };
    assert_eq!((own.contender.as_str(), &own.refused, own.blocks.is_empty()), ("own-uncached", &None, false));
    assert_eq!(cpython.len(), 2);
    for series in cpython {
        assert!(series.refused.as_ref().unwrap().contains("RuntimeError"), "{series:?}");
        assert!(series.blocks.is_empty() && series.breakdown.is_none());
    }
    // Without a walker that can run, nothing is measured, and that is not a success.
    assert_eq!(bench(&[&deep[..], &["--walker", "cpython-cached"]].concat()).code, Some(3));
}

#[test]
fn cost_and_targets_are_measured_on_request() {
    let run = bench(&[
        "--jit",
        "off",
        "--budget",
        "1s",
        "--part",
        "cost",
        "--part",
        "targets",
        "--depth",
        "10",
        "--format",
        "json",
        "--walker",
        "own-cached",
    ]);
    let document = document(&run);
    let cost: Vec<_> = document.points.iter().filter(|point| point.place.part == BenchPart::Cost).collect();
    assert_eq!(cost.len(), 2);
    for point in cost {
        let names: Vec<&str> = point.series.iter().map(|series| series.contender.as_str()).collect();
        assert_eq!(names, ["nobody", "bystander", "own-uncached", "own-cached"]);
        assert_eq!(point.series[0].samples, 0);
        assert!(point.series[1..].iter().all(|series| series.samples > 0), "{point:?}");
        let cached = &point.series[3].lookups;
        assert!(cached.full + cached.partial + cached.misses > 0, "{cached:?}");
    }
    let targets: Vec<u32> = document
        .points
        .iter()
        .filter(|point| point.place.part == BenchPart::Targets)
        .map(|point| point.place.targets)
        .collect();
    assert_eq!(targets, [1, 2, 4, 8, 16]);
}

#[test]
fn an_invalid_baseline_is_refused_before_measuring() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.json");
    for (text, words) in [("{\"version\": 1}", "no \"kind\""), ("", "framediff bench --format json")] {
        std::fs::write(&file, text).unwrap();
        bench(&["--baseline", file.to_str().unwrap()]).assert_refused(&["other.json", words]);
    }
    bench(&["--baseline", folder.path().join("none").to_str().unwrap()]).assert_refused(&["cannot read"]);
    bench(&["--fail-if-slower"]).assert_refused(&["--baseline"]);
}

#[test]
fn an_interrupted_run_prints_its_partial_result() {
    let python = python();
    let arguments = ["bench", "--budget", "60s", "--part", "speed-up", "--format", "json", "--python"];
    let mut command = framediff(arguments);
    command.arg(&python);
    let run = Running::start(command);
    let deadline = Instant::now() + RUN;
    while !children(run.pid()).iter().any(|process| process.command_line.contains(WORKLOAD_FILE)) {
        assert!(!run.has_ended() && Instant::now() < deadline);
        std::thread::yield_now();
    }
    kill(Pid::from_raw(run.pid()), Signal::SIGINT).unwrap();
    let outcome = run.ends_within(RUN);
    assert_eq!(outcome.code, Some(i32::from(exit::INTERRUPTED)), "{outcome:?}");
    assert!(BenchDocument::from_json(outcome.stdout.as_bytes()).unwrap().interrupted);
}
