//! Tests the faults that can be patched into CPython's own unwinder. In the same situation, the original module does
//! one thing and the patched one another.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use framewalk::sample::Lookup;
use lab::mutants::unwinder::{Findings, ModuleError, UnwinderFault, apply, find};
use process::build::Build;
use process::target::Target;
use process::unwinder::Unwinder;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use crate::common;
use crate::common::command::{Running, framediff};
use crate::common::executable::write_executable;
use crate::common::target::{PROLOGUE, soon};

/// The path of a build's `_remote_debugging` module.
fn module(python: &Path) -> PathBuf {
    // The same switches with which the harness starts it.
    let script = "import _remote_debugging; print(_remote_debugging.__file__)";
    let output = Command::new(python).args(["-s", "-P", "-S", "-B", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn findings(build: &Build) -> Findings {
    find(&std::fs::read(module(&build.python)).unwrap()).unwrap()
}

/// An interpreter that imports a patched module. Valid until the folder is dropped.
struct Patched {
    python: PathBuf,
    _folder: TempDir,
}

impl Patched {
    /// `None` if the fault is not viable in this build.
    fn new(build: &Build, fault: UnwinderFault) -> Option<Self> {
        let path = module(&build.python);
        let original = std::fs::read(&path).unwrap();
        let findings = find(&original).unwrap();
        let patched = apply(&original, findings.patches(fault).ok()?).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join(path.file_name().unwrap());
        std::fs::write(&copy, patched).unwrap();
        let python = folder.path().join("python");
        let text =
            format!("#!/bin/sh\nPYTHONPATH='{}' exec '{}' \"$@\"\n", folder.path().display(), build.python.display());
        write_executable(&python, text.as_bytes());
        assert_eq!(module(&python), copy);
        Some(Self { python, _folder: folder })
    }
}

/// Gates below functions. The names of the branches make their stacks distinct.
const PROGRAM: &str = "
def leaf(context):
    gate(context)
    gate(context + 10)
def a2(): leaf(1)
def a1(): a2()
def b2(): leaf(2)
def b1(): b2()
def main():
    while True:
        a1()
        b1()
main()
";

/// A gated target, and an interpreter with the original or a patched unwinder.
struct Bench<'a> {
    target: Target,
    python: &'a Path,
}

impl<'a> Bench<'a> {
    fn new(python: &'a Path) -> Self {
        let source = [PROLOGUE, PROGRAM].concat();
        let mut target = Target::launch(python, Some(false), &source, &std::env::temp_dir(), soon()).unwrap();
        target.start(soon()).unwrap();
        Self { target, python }
    }

    /// A new unwinder with a cache. Creating it clears the anchor.
    fn unwinder(&self) -> Unwinder {
        let mut unwinder = Unwinder::start(self.python, soon()).unwrap();
        unwinder.open(self.target.pid(), true, soon()).unwrap();
        unwinder
    }

    /// Runs the target to the next gate, which must be this one.
    fn at(&mut self, context: u32) {
        assert_eq!(self.target.next_gate(soon()).unwrap().context, context);
    }

    fn go_to(&mut self, contexts: &[u32]) {
        for &context in contexts {
            self.target.go(soon()).unwrap();
            self.at(context);
        }
    }
}

/// The result of a sample: the answer of the cache, and the functions.
fn sampled(unwinder: &mut Unwinder) -> String {
    let counted = unwinder.sample(soon()).unwrap();
    let [thread] = counted.sample.threads.as_slice() else { panic!("{counted:?}") };
    let stack = thread.outcome.as_ref().unwrap();
    let lookup = match thread.provenance.lookup {
        Lookup::FullHit => "full hit",
        Lookup::PartialHit => "partial hit",
        Lookup::Miss(_) => "miss",
        other => panic!("{other:?}"),
    };
    let names: Vec<&str> = stack.iter().map(|frame| &*frame.function).collect();
    format!("{lookup}: {}", names.join(" < "))
}

/// Asserts what both builds do without and with the fault. It must be viable in both.
fn assert_differs(fault: UnwinderFault, scenario: impl Fn(&mut Bench<'_>) -> String, original: &str, patched: &str) {
    for build in [common::release(), common::debug()] {
        assert_eq!(scenario(&mut Bench::new(&build.python)), original, "{fault}: without");
        let with = Patched::new(&build, fault).expect("it is viable");
        assert_eq!(scenario(&mut Bench::new(&with.python)), patched, "{fault}: with");
    }
}

#[test]
fn every_check_is_found() {
    for build in [common::release(), common::debug()] {
        let findings = findings(&build);
        let viable: Vec<_> =
            findings.faults.iter().filter(|(_, found)| found.is_ok()).map(|(fault, _)| *fault).collect();
        assert_eq!(viable, UnwinderFault::ALL, "{findings:#?}");
    }
}

#[test]
fn a_full_hit_without_sequence_check_mixes_branches() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        // Both are created before the first sample, because creating one clears the anchor.
        let (mut first, mut second) = (bench.unwinder(), bench.unwinder());
        sampled(&mut first);
        bench.go_to(&[11, 2]);
        // This anchors the frame at the gate, which has the same address as the gate's frame in the first sample.
        sampled(&mut second);
        sampled(&mut first)
    };
    let original = "miss: gate < leaf < b2 < b1 < main < <module>";
    let patched = "full hit: gate < leaf < a2 < a1 < main < <module>";
    assert_differs(UnwinderFault::NoSequenceCheckOnFullHit, scenario, original, patched);
}

#[test]
fn a_partial_hit_without_sequence_check_mixes_branches() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        let (mut first, mut second) = (bench.unwinder(), bench.unwinder());
        sampled(&mut first);
        bench.go_to(&[11, 2]);
        sampled(&mut second);
        // The gate returns, which moves the anchor to the leaf. The first unwinder has an entry for that frame.
        bench.go_to(&[12]);
        sampled(&mut first)
    };
    let original = "miss: gate < leaf < b2 < b1 < main < <module>";
    let patched = "partial hit: gate < leaf < a2 < a1 < main < <module>";
    assert_differs(UnwinderFault::NoSequenceCheckOnPartialHit, scenario, original, patched);
}

#[test]
fn a_module_without_cache_is_refused() {
    let script = "import _ctypes; print(_ctypes.__file__)";
    let python = common::debug().python;
    let output = Command::new(python).args(["-I", "-c", script]).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    let error = find(&std::fs::read(path.trim()).unwrap()).unwrap_err();
    assert!(matches!(error, ModuleError::Field(_)) && error.to_string().contains("FrameCacheEntry"), "{error}");
}

#[test]
fn damaged_modules_are_refused_or_patched_without_a_panic() {
    let build = common::release();
    let bytes = std::fs::read(module(&build.python)).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut refused, mut looked_at) = (0, 0);
    for round in 0..24 {
        let mut bytes = bytes.clone();
        if round % 4 == 0 {
            bytes.truncate(random.random_range(0..bytes.len()));
        }
        for _ in 0..1 << random.random_range(0..14) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        match find(&bytes) {
            Err(_) => refused += 1,
            Ok(findings) => {
                looked_at += 1;
                for patches in findings.faults.into_iter().filter_map(|(_, found)| found.ok()) {
                    assert_eq!(apply(&bytes, &patches).unwrap().len(), bytes.len());
                }
            }
        }
    }
    assert!(refused > 0 && looked_at > 0, "{refused} {looked_at}");
}

#[test]
fn a_mutant_that_is_kept_can_be_started() {
    let folder = tempfile::tempdir().unwrap();
    let python = common::release().python;
    // This test does not ask whether the hunt is long enough to kill the mutant. No own walker has a weakening of this
    // name.
    let name = "no-sequence-check-on-second-look";
    let mut command = framediff(["mutants", "--jit", "off", "--budget", "1s", "--control", "0", "--mutant", name]);
    command.arg("--python").arg(&python).arg("--keep").arg(folder.path());
    Running::start(command).ends_within(Duration::from_secs(120));
    let rows: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let kept = row.join(name).join("python");
    assert_eq!(module(&kept).parent().unwrap(), row.join(name).join("library"));
}

#[test]
fn a_failure_of_the_stopped_lane_leads_to_a_reproducer_that_passes_on_the_base() {
    let patched = Patched::new(&common::release(), UnwinderFault::NoSequenceCheck).expect("the fault is viable");
    let folder = tempfile::tempdir().unwrap();
    let (bundles, file) = (folder.path().join("bundles"), folder.path().join("reproducer.py"));
    let run = |arguments: &[&str]| {
        let mut command = framediff(arguments);
        command.current_dir(folder.path());
        Running::start(command).ends_within(Duration::from_secs(120))
    };
    let python = patched.python.to_str().unwrap();
    let stopped = ["check", "--lane", "stopped", "--family", "alternating", "--stops", "100", "--seed", "3"];
    let more = ["--budget", "60s", "--jit", "off", "--python", python, "--bundles", bundles.to_str().unwrap()];
    let checked = run(&[&stopped[..], &more].concat());
    let last: Vec<&str> = checked.stdout.lines().rev().take(4).collect();
    let show = last[0].strip_prefix("show it    framediff explain ").unwrap_or_else(|| panic!("{checked:?}"));
    assert!(last.iter().any(|line| line.starts_with("broke      probably the profiler")), "{checked:?}");
    assert!(last.iter().any(|line| line.starts_with("new        yes")), "{checked:?}");
    let explained = run(&["explain", show]);
    assert!(explained.stdout.starts_with("probably the profiler"), "{explained:?}");
    let end = explained.stdout.lines().last().unwrap();
    assert!(end.starts_with("  reproducer framediff reproducer ") && end.contains(python), "{explained:?}");
    let made = run(&["reproducer", show, "--python", python, "-o", file.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("deterministic") && made.stdout.contains("the base: passes"), "{made:?}");
    let shows = |python: &Path| Command::new(python).arg(&file).output().unwrap().status.code();
    for _ in 0..3 {
        assert_eq!((shows(&patched.python), shows(&common::release().python)), (Some(1), Some(0)), "{made:?}");
    }
    let shrunk = run(&["shrink", show, "--python", python, "--runs", "100", "--workloads", "2"]);
    assert_eq!(shrunk.code, Some(0), "{shrunk:?}");
    assert!(shrunk.stdout.contains("reproduces 1/1"), "{shrunk:?}");
}
