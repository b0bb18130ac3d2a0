//! The faults that can be put into CPython's own unwinder, and what each does there: in one and the same situation the module
//! as it was built does one thing, the patched one another.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::command::{Running, framediff};
use common::executable::write_executable;
use common::target::{PROLOGUE, soon};
use framediff::cli::exit;
use framediff::lane::stepped::{Rig, RigPlan};
use framediff::memory::RemoteMemory;
use framediff::mutants::unwinder::{Fault, Findings, ModuleError, apply, find};
use framediff::sample::{Lookup, WalkerKind};
use framediff::schedule::replay::Replay;
use framediff::schedule::{AccessKind, Schedule, Scheduler};
use framediff::target::build::Build;
use framediff::target::process::{Target, runtime_address};
use framediff::target::unwinder::Unwinder;
use framediff::walk::thread_state::{ThreadState, read_anchor, thread_states, write_anchor};
use framediff::workload::{Family, FrameSize, Mode, Names, Parameters, generate};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

/// The file of a build's `_remote_debugging`.
fn module(python: &Path) -> PathBuf {
    // The switches that the harness starts it with.
    let script = "import _remote_debugging; print(_remote_debugging.__file__)";
    let output = Command::new(python).args(["-s", "-P", "-S", "-B", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

fn findings(build: &Build) -> Findings {
    find(&std::fs::read(module(&build.python)).unwrap()).unwrap()
}

/// An interpreter that imports a patched module, until the folder is dropped.
struct Patched {
    python: PathBuf,
    _folder: TempDir,
}

impl Patched {
    /// None if the fault is not viable in this build.
    fn new(build: &Build, fault: Fault) -> Option<Self> {
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

/// Gates below functions; the names of the branches tell them apart. `two_lines` waits at two lines of one frame.
const PROGRAM: &str = "
def leaf(context):
    gate(context)
    gate(context + 10)
def a2(): leaf(1)
def a1(): a2()
def b2(): leaf(2)
def b1(): b2()
def deep3(): gate(3)
def deep2(): deep3()
def deep1(): deep2()
def two_lines():
    os.write(1, struct.pack('<II', 4, threading.get_native_id()))
    os.read(0, 1)
    os.write(1, struct.pack('<II', 14, threading.get_native_id()))
    os.read(0, 1)
def tell(address):
    gate(address & 0xffffffff)
    gate(address >> 32)
def main():
    while True:
        a1()
        b1()
        deep1()
        two_lines()
        tell(id(spare) + 32)
spare = bytes(1 << 16)
main()
";

/// A target at rest, and an interpreter with an unwinder, original or patched.
struct Bench<'a> {
    target: Target,
    build: &'a Build,
    python: &'a Path,
}

impl<'a> Bench<'a> {
    fn new(build: &'a Build, python: &'a Path) -> Self {
        let source = [PROLOGUE, PROGRAM].concat();
        let mut target = Target::launch(&build.python, Some(false), &source, &std::env::temp_dir(), soon()).unwrap();
        target.start(soon()).unwrap();
        Self { target, build, python }
    }

    /// A new unwinder with a cache, which clears the anchor.
    fn unwinder(&self) -> Unwinder {
        let mut unwinder = Unwinder::start(self.python, soon()).unwrap();
        unwinder.open(self.target.pid(), true, soon()).unwrap();
        unwinder
    }

    /// Lets the target run to the next gate, which must be this one.
    fn at(&mut self, context: u32) {
        assert_eq!(self.target.next_gate(soon()).unwrap().context, context);
    }

    fn go_to(&mut self, contexts: &[u32]) {
        for &context in contexts {
            self.target.go(soon()).unwrap();
            self.at(context);
        }
    }

    fn runtime(&self) -> u64 {
        runtime_address(self.target.pid()).unwrap().address
    }

    fn thread(&self) -> ThreadState {
        let layout = self.build.usable().unwrap();
        let states = thread_states(&mut self.target.memory(), layout, self.runtime()).unwrap();
        let [state] = states.as_slice() else { panic!("{states:?}") };
        *state
    }

    fn anchor(&self) -> u64 {
        let cache = self.build.usable().unwrap().thread.cache.unwrap();
        read_anchor(&mut self.target.memory(), &cache, self.thread().address).unwrap().0
    }

    fn set_anchor(&self, anchor: u64) {
        let cache = self.build.usable().unwrap().thread.cache.unwrap();
        write_anchor(&mut self.target.memory(), &cache, self.thread().address, anchor).unwrap();
    }
}

/// What came of a sample: where it came from, and the functions.
fn told(unwinder: &mut Unwinder) -> String {
    let counted = unwinder.sample(soon()).unwrap();
    let [thread] = counted.sample.threads.as_slice() else { panic!("{counted:?}") };
    let Ok(stack) = &thread.outcome else { return "rejected".to_owned() };
    let lookup = match thread.provenance.lookup {
        Lookup::FullHit => "full hit",
        Lookup::PartialHit => "partial hit",
        Lookup::Miss(_) => "miss",
        other => panic!("{other:?}"),
    };
    let names: Vec<&str> = stack.iter().map(|frame| &*frame.function).collect();
    format!("{lookup}: {}", names.join(" < "))
}

/// Runs a scenario with the unwinder of both builds as it is and with the fault; `None` where that is not viable.
fn compare<T>(fault: Fault, scenario: impl Fn(&mut Bench<'_>) -> T) -> [(T, Option<T>); 2] {
    [common::release(), common::debug()].map(|build| {
        let original = scenario(&mut Bench::new(&build, &build.python));
        let patched = Patched::new(&build, fault);
        let patched = patched.map(|patched| scenario(&mut Bench::new(&build, &patched.python)));
        (original, patched)
    })
}

/// Asserts what both builds do without and with the fault, which must be viable in both.
fn assert_differs(fault: Fault, scenario: impl Fn(&mut Bench<'_>) -> Vec<String>, original: &[&str], patched: &[&str]) {
    for (without, with) in compare(fault, scenario) {
        assert_eq!(without, original, "{fault}: without");
        assert_eq!(with.expect("it is viable"), patched, "{fault}: with");
    }
}

#[test]
fn every_check_is_found() {
    for build in [common::release(), common::debug()] {
        let findings = findings(&build);
        let viable: Vec<_> =
            findings.faults.iter().filter(|(_, found)| found.is_ok()).map(|(fault, _)| *fault).collect();
        assert_eq!(viable, Fault::ALL, "{findings:#?}");
    }
}

#[test]
fn a_full_hit_without_sequence_gives_the_callers_of_another_branch() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        // The second is made before the first samples: making it clears the anchor.
        let (mut first, mut second) = (bench.unwinder(), bench.unwinder());
        told(&mut first);
        bench.go_to(&[11, 2]);
        // It anchors the frame at the gate, which stands where the one of the first sample stood.
        told(&mut second);
        vec![told(&mut first)]
    };
    let original = "miss: gate < leaf < b2 < b1 < main < <module>";
    let patched = "full hit: gate < leaf < a2 < a1 < main < <module>";
    assert_differs(Fault::NoSequenceCheckOnFullHit, scenario, &[original], &[patched]);
}

#[test]
fn a_partial_hit_without_sequence_gives_the_callers_of_another_branch() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        let (mut first, mut second) = (bench.unwinder(), bench.unwinder());
        told(&mut first);
        bench.go_to(&[11, 2]);
        told(&mut second);
        // The gate returns, so that the anchor is at the leaf, which the first has a frame for.
        bench.go_to(&[12]);
        vec![told(&mut first)]
    };
    let original = "miss: gate < leaf < b2 < b1 < main < <module>";
    let patched = "partial hit: gate < leaf < a2 < a1 < main < <module>";
    assert_differs(Fault::NoSequenceCheckOnPartialHit, scenario, &[original], &[patched]);
}

#[test]
fn a_partial_hit_that_forgets_the_index_is_none() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        let mut unwinder = bench.unwinder();
        told(&mut unwinder);
        bench.go_to(&[11]);
        vec![told(&mut unwinder)]
    };
    let stack = "gate < leaf < a2 < a1 < main < <module>";
    let (original, patched) = (format!("partial hit: {stack}"), format!("miss: {stack}"));
    assert_differs(Fault::IndexNotAdded, scenario, &[&original], &[&patched]);
}

#[test]
fn an_entry_of_another_thread_state_is_taken() {
    let scenario = |bench: &mut Bench<'_>| {
        let mut contexts = Vec::new();
        let layout = *bench.build.usable().unwrap();
        bench.at(1);
        bench.go_to(&[11, 2, 12, 3, 4, 14]);
        for _ in 0..2 {
            bench.target.go(soon()).unwrap();
            contexts.push(u64::from(bench.target.next_gate(soon()).unwrap().context));
        }
        let spare = contexts[0] | contexts[1] << 32;
        let mut unwinder = bench.unwinder();
        told(&mut unwinder);
        // The same thread with the same stack, but its state is elsewhere.
        let mut memory = bench.target.memory();
        let mut state = vec![0; usize::try_from(layout.thread.size).unwrap()];
        let thread = bench.thread().address;
        memory.read(thread, &mut state).unwrap();
        memory.write(spare, &state).unwrap();
        let interpreter = memory.read_u64(bench.runtime() + layout.interpreters_head).unwrap();
        let head = interpreter + layout.interpreter.threads_head;
        memory.write(head, &spare.to_le_bytes()).unwrap();
        let seen = told(&mut unwinder);
        memory.write(head, &thread.to_le_bytes()).unwrap();
        vec![seen]
    };
    let stack = "gate < tell < main < <module>";
    let (original, patched) = (format!("miss: {stack}"), format!("full hit: {stack}"));
    assert_differs(Fault::ThreadStateNotCompared, scenario, &[&original], &[&patched]);
}

#[test]
fn an_anchor_that_is_not_the_current_frame_is_a_full_hit() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        let mut unwinder = bench.unwinder();
        told(&mut unwinder);
        bench.set_anchor(bench.anchor() + 8);
        vec![told(&mut unwinder)]
    };
    let stack = "gate < leaf < a2 < a1 < main < <module>";
    let (original, patched) = (format!("miss: {stack}"), format!("full hit: {stack}"));
    assert_differs(Fault::CurrentFrameNotCompared, scenario, &[&original], &[&patched]);
}

#[test]
fn an_entry_of_another_frame_erases_callers() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        bench.go_to(&[11, 2, 12]);
        let mut unwinder = bench.unwinder();
        told(&mut unwinder);
        // Without an anchor nothing is counted, so that the entry's sequence stays right.
        bench.set_anchor(0);
        bench.go_to(&[3, 4]);
        bench.set_anchor(bench.thread().current_frame);
        vec![told(&mut unwinder)]
    };
    let original = "miss: two_lines < main < <module>";
    let patched = "full hit: two_lines < leaf < b2 < b1 < main < <module>";
    assert_differs(Fault::StoredLeafNotCompared, scenario, &[original], &[patched]);
}

/// Two samples of a chain whose end is not what the thread state calls the base frame.
fn without_base(bench: &mut Bench<'_>) -> Vec<String> {
    bench.at(1);
    let mut unwinder = bench.unwinder();
    let cache = bench.build.usable().unwrap().thread.cache.unwrap();
    let thread = bench.thread();
    let base = thread.base_frame.unwrap();
    let set =
        |value: u64| bench.target.memory().write(thread.address + cache.base_frame, &value.to_le_bytes()).unwrap();
    set(base + 8);
    let seen = vec![told(&mut unwinder), told(&mut unwinder)];
    set(base);
    seen
}

#[test]
fn a_chain_without_base_is_returned_and_then_stored() {
    let stack = "gate < leaf < a2 < a1 < main < <module>";
    let (miss, full) = (format!("miss: {stack}"), format!("full hit: {stack}"));
    let original = ["rejected", "rejected"];
    assert_differs(Fault::ChainReturnedWithoutBase, without_base, &original, &[&miss, &miss]);
    assert_differs(Fault::ChainStoredWithoutBase, without_base, &original, &[&miss, &full]);
}

#[test]
fn an_anchor_is_not_written_or_null() {
    let scenario = |bench: &mut Bench<'_>| {
        bench.at(1);
        let mut unwinder = bench.unwinder();
        let other = bench.thread().current_frame + 8;
        bench.set_anchor(other);
        told(&mut unwinder);
        let anchor = match bench.anchor() {
            0 => "null",
            anchor if anchor == other => "unchanged",
            anchor if anchor == bench.thread().current_frame => "current",
            _ => "nonsense",
        };
        let next = told(&mut unwinder);
        vec![anchor.to_owned(), next.split_once(':').unwrap().0.to_owned()]
    };
    assert_differs(Fault::AnchorNotWritten, scenario, &["current", "full hit"], &["unchanged", "miss"]);
    assert_differs(Fault::AnchorWrittenNull, scenario, &["current", "full hit"], &["null", "miss"]);
}

#[test]
fn a_leaf_that_is_used_again_has_an_old_line() {
    let lines = |bench: &mut Bench<'_>| {
        bench.at(1);
        bench.go_to(&[11, 2, 12, 3, 4]);
        let mut unwinder = bench.unwinder();
        let mut line = || {
            let counted = unwinder.sample(soon()).unwrap();
            let [thread] = counted.sample.threads.as_slice() else { panic!("{counted:?}") };
            (thread.provenance.lookup == Lookup::FullHit, thread.outcome.clone().unwrap()[0].location.line.unwrap())
        };
        let (_, first) = line();
        bench.target.go(soon()).unwrap();
        assert_eq!(bench.target.next_gate(soon()).unwrap().context, 14);
        let (hit, second) = line();
        assert!(hit);
        second - first
    };
    assert_eq!(compare(Fault::LeafReusedOnFullHit, lines), [(2, Some(0)); 2]);
}

/// The accesses of two samples of a target that stands still.
fn accesses(python: &Path) -> [Vec<AccessKind>; 2] {
    let parameters = Parameters { depth: 3, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
    let plan = RigPlan { jit: Some(false), warm_up: 300, ..RigPlan::new(python, WalkerKind::CpythonCached) };
    let workload = generate(Family::Alternating, Mode::Rounds, &parameters, 25);
    let mut rig = Rig::launch(plan, workload).unwrap_or_else(|error| panic!("{error}"));
    let mut scheduler = Replay::new(Schedule::new(Vec::new()), 1);
    assert!(scheduler.begin());
    let run = rig.run(2, &mut scheduler).unwrap_or_else(|error| panic!("{error}"));
    assert!(run.samples.iter().all(|sample| sample.sample.outcome.is_ok()));
    [0, 1].map(|number| {
        run.ran.points.iter().filter(|(point, _)| point.sample == number).map(|(_, kind)| *kind).collect()
    })
}

fn count(accesses: &[AccessKind], wanted: AccessKind) -> usize {
    accesses.iter().filter(|&&kind| kind == wanted).count()
}

#[test]
fn accesses_to_the_target_are_left_out() {
    for build in [common::release(), common::debug()] {
        let [first, second] = accesses(&build.python);
        assert!(count(&first, AccessKind::ReadChunk) > 0 && count(&second, AccessKind::ReadAnchor) > 0, "{first:?}");

        let patched = Patched::new(&build, Fault::NotReadAgainBeforeUse).expect("it is viable");
        let [same, without] = accesses(&patched.python);
        assert_eq!(same, first);
        assert_eq!(count(&without, AccessKind::ReadAnchor), count(&second, AccessKind::ReadAnchor) - 1);
        assert_eq!(without.len(), second.len() - 1);

        let patched = Patched::new(&build, Fault::ChunksNotCopied).expect("it is viable");
        let [without, same] = accesses(&patched.python);
        assert_eq!(same, second);
        assert_eq!(count(&without, AccessKind::ReadChunk), 0);
        assert!(count(&without, AccessKind::ReadFrame) > count(&first, AccessKind::ReadFrame), "{without:?}");
    }
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
fn damaged_modules_are_refused_or_patched_but_never_a_panic() {
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
    let words = ["mutants", "--jit", "off", "--budget", "20s", "--control", "0", "--mutant", "anchor-not-written"];
    let mut command = framediff(words);
    command.arg("--python").arg(&python).arg("--keep").arg(folder.path());
    let outcome = Running::start(command).ends_within(Duration::from_secs(120));
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    let rows: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let kept = row.join("anchor-not-written/python");
    assert_eq!(module(&kept).parent().unwrap(), row.join("anchor-not-written/library"));
}
