//! Tests targets, gates, live memory and CPython's own unwinder on a real interpreter.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use framewalk::layout::Layout;
use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::memory::{MemoryError, RemoteMemory};
use framewalk::printable::LONGEST;
use framewalk::rejection::Rejection;
use framewalk::sample::{Lookup, WalkerKind};
use framewalk::stack::Stack;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use model::account::AccountFrame;
use model::invariants::{Death, Violation};
use process::build::Build;
use process::gate::GateError;
use process::memory::{ProcessMemory, read_only};
use process::target::{ChildEnd, LaunchError, RuntimeError, StopError, Target, runtime_address};
use process::unwinder::{CountedSample, LiveBound, Unwinder, UnwinderError};

use crate::common;
use crate::common::target::{Gated, PROLOGUE, python, soon, started};

/// Two branches over one leaf, with a gate in each, in an endless loop. `main` is needed for partial hits: on 3.15.2
/// the unwinder counts none if only the module's frame remains from the sample before.
const BRANCHES: &str = "
def leaf(context): gate(context)
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

fn state(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn functions(account: &[AccountFrame]) -> Vec<&str> {
    account.iter().map(|frame| frame.function.as_str()).collect()
}

fn only_stack(counted: &CountedSample) -> Stack {
    let [thread] = counted.sample.threads.as_slice() else { panic!("{counted:?}") };
    thread.outcome.clone().unwrap()
}

fn as_account(stack: &Stack) -> Vec<AccountFrame> {
    stack
        .iter()
        .map(|frame| AccountFrame {
            function: frame.function.to_string(),
            file: frame.file.to_string(),
            line: frame.location.line,
            place: None,
        })
        .collect()
}

#[test]
fn a_target_announces_its_context_at_gates_and_answers_there() {
    let mut target = started(&[PROLOGUE, BRANCHES].concat());
    for context in [1, 2, 1, 2] {
        let gate = target.next_gate(soon()).unwrap();
        assert_eq!((gate.context, gate.native_thread_id), (context, target.pid().cast_unsigned()));
        let account = target.account(soon()).unwrap();
        let (second, first) = if context == 1 { ("a2", "a1") } else { ("b2", "b1") };
        assert_eq!(functions(&account), ["gate", "leaf", second, first, "main", "<module>"]);
        assert!(account.iter().all(|frame| frame.file.ends_with("/workload.py") && frame.line.is_some()));
        assert_eq!(target.account(soon()).unwrap(), account, "asked twice at one gate");
        target.go(soon()).unwrap();
    }
}

#[test]
fn targets_get_the_run_mode_and_environment_from_the_harness() {
    let ask = "
import sys
jit = getattr(sys, '_jit', None)
gate(2 * bool(jit and jit.is_available()) + bool(jit and jit.is_enabled()))
gate(hash('framediff') & 0xffffffff)
gate(sys.flags.no_site + sys.flags.safe_path + sys.flags.no_user_site)
";
    let answers = |jit| {
        let mut target = Gated { jit, ..Gated::new(&[PROLOGUE, ask].concat()) }.start();
        [(); 3].map(|()| {
            let context = target.next_gate(soon()).unwrap().context;
            target.go(soon()).unwrap();
            context
        })
    };
    let [off, hash, flags] = answers(Some(false));
    assert_eq!((off & 1, flags), (0, 3));
    let [on, again, _] = answers(Some(true));
    assert_eq!(on & 1, on >> 1, "the JIT is on wherever it is available");
    assert_eq!(hash, again, "the hash seed is fixed");
}

#[test]
fn a_target_can_be_stopped_a_thousand_times() {
    let mut target = started(&[PROLOGUE, "import threading\nn = 0\ndef spin():\n    global n\n    while True: n += 1\nthreading.Thread(target=spin, daemon=True).start()\ngate(0)\nspin()"].concat());
    target.next_gate(soon()).unwrap();
    target.go(soon()).unwrap();
    let tasks = format!("/proc/{}/task", target.pid());
    for round in 0..1000 {
        target.stop().unwrap();
        let states: Vec<char> = std::fs::read_dir(&tasks)
            .unwrap()
            .map(|task| state(task.unwrap().file_name().to_str().unwrap().parse().unwrap()))
            .collect();
        assert_eq!(states, ['T', 'T'], "round {round}");
        target.resume().unwrap();
        assert_ne!(state(target.pid()), 'T', "round {round}");
    }
    target.run_for(Duration::from_micros(700)).unwrap();
    assert_eq!(state(target.pid()), 'T');
    assert!(matches!(target.next_gate(soon()), Err(GateError::Stopped { .. })));
}

#[test]
fn a_gate_that_is_never_reached_ends_at_the_deadline() {
    let mut target =
        started(&[PROLOGUE, "print('still here', file=__import__('sys').stderr)\nwhile True: pass"].concat());
    let begun = Instant::now();
    let error = target.next_gate(begun + Duration::from_millis(300)).unwrap_err();
    assert!(matches!(error, GateError::Deadline { .. }), "{error}");
    assert!(error.to_string().contains("still here"), "{error}");
    assert!((Duration::from_millis(300)..Duration::from_secs(60)).contains(&begun.elapsed()));
}

#[test]
fn a_target_that_ends_is_reported_with_status_and_stderr() {
    for (ending, end, words) in [
        ("import os; os._exit(3)", ChildEnd::Exited(3), ""),
        ("raise ValueError('no more')", ChildEnd::Exited(1), "ValueError: no more"),
        ("import os; os.abort()", ChildEnd::Killed(nix::sys::signal::Signal::SIGABRT), ""),
        ("import sys; sys.stderr.write('x' * 1_000_000 + 'the end'); sys.exit(4)", ChildEnd::Exited(4), "xxthe end"),
    ] {
        let mut target = started(&[PROLOGUE, ending].concat());
        let Err(GateError::Ended(ended)) = target.next_gate(soon()) else { panic!("{ending} did not end") };
        assert_eq!(ended.end, end, "{ending}");
        assert!(ended.stderr.contains(words), "{ended}");
        assert!(ended.stderr.len() < 10_000);
        assert!(matches!(target.stop(), Err(StopError::Ended(_))), "{ending}");
        assert!(matches!(target.go(soon()), Err(GateError::Ended(_))), "{ending}");
    }
}

#[test]
fn a_free_running_target_that_ends_ends_the_wait() {
    let mut target = started(&[PROLOGUE, "raise SystemExit(9)"].concat());
    let begun = Instant::now();
    let Err(StopError::Ended(ended)) = target.run_for(Duration::from_secs(60)) else { panic!("it ran on") };
    assert_eq!(ended.end, ChildEnd::Exited(9));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_target_that_does_not_start_gives_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let launch = |python: &std::path::Path, source: &str| {
        Target::launch(python, None, source, folder.path(), Instant::now() + Duration::from_secs(10)).err().unwrap()
    };
    let missing = launch(&folder.path().join("nothing"), "");
    assert!(matches!(missing, LaunchError::Spawn { .. }), "{missing}");
    let rude = launch(&python(), "print('hello, world')");
    assert!(matches!(rude, LaunchError::NotReady { source: GateError::Malformed(_), .. }), "{rude}");
    let broken = launch(&python(), "import nowhere");
    assert!(matches!(broken, LaunchError::NotReady { source: GateError::Ended(_), .. }), "{broken}");
    assert!(broken.to_string().contains("No module named 'nowhere'"), "{broken}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn the_runtime_of_a_target_is_found_and_starts_with_the_cookie() {
    let mut target = started(&[PROLOGUE, BRANCHES].concat());
    target.next_gate(soon()).unwrap();
    let runtime = runtime_address(target.pid()).unwrap();
    let mut cookie = [0; 8];
    let mut memory = target.memory();
    memory.read(runtime.address, &mut cookie).unwrap();
    assert_eq!(&cookie, b"xdebugpy");
    let mut whole = vec![0; usize::try_from(runtime.size).unwrap()];
    memory.read(runtime.address, &mut whole).unwrap();
    assert!(runtime.size > 1000, "{runtime:?}");

    let unmapped = MemoryError::Unmapped { action: "read", address: 16, length: 8 };
    assert_eq!(memory.read(16, &mut cookie), Err(unmapped));
    assert!(matches!(memory.write(16, &[0; 8]), Err(MemoryError::Unmapped { action: "write", .. })));
    assert!(matches!(read_only(memory.clone()).write(runtime.address, &[0]), Err(MemoryError::ReadOnly { .. })));
    memory.write(runtime.address, b"xdebugpy").unwrap();

    let pid = target.pid();
    drop(target);
    assert_eq!(memory.read(runtime.address, &mut cookie), Err(MemoryError::Gone { pid }));
    assert!(matches!(runtime_address(pid), Err(RuntimeError::Gone { .. })));
}

#[test]
fn a_process_that_is_not_python_is_reported() {
    let cat = common::target::Cat::start(std::path::Path::new("cat"));
    let error = runtime_address(cat.pid()).unwrap_err();
    assert!(matches!(error, RuntimeError::NotPython { files: 1.., .. }), "{error}");
}

#[test]
fn a_deleted_image_is_read_through_the_kernel_or_reported() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("python-no-more");
    common::executable::write_executable(&copy, &std::fs::read(which::which("cat").unwrap()).unwrap());
    let cat = common::target::Cat::start(&copy);
    std::fs::remove_file(&copy).unwrap();
    let error = runtime_address(cat.pid()).unwrap_err();
    // Only a privileged process may follow the kernel's link to a mapped file whose name was removed.
    if nix::unistd::geteuid().is_root() {
        assert!(matches!(error, RuntimeError::NotPython { .. }), "{error}");
    } else {
        assert!(matches!(&error, RuntimeError::Deleted { image, .. } if *image == copy), "{error}");
    }
}

#[test]
fn a_refused_read_names_the_setting_and_the_next_step() {
    let error = common::target::refused_read();
    let MemoryError::Denied { advice, .. } = &error else { panic!("{error}") };
    assert!(advice.contains("CAP_SYS_PTRACE"), "{advice}");
    assert!(
        advice.contains("runs as user") || advice.contains("not dumpable") || advice.contains("ptrace_scope"),
        "{advice}"
    );
}

#[test]
fn the_unwinder_agrees_with_the_account_and_its_counters_grow() {
    let mut target = started(&[PROLOGUE, BRANCHES].concat());
    let mut unwinder = Unwinder::start(&python(), soon()).unwrap();
    assert!(matches!(unwinder.sample(soon()), Err(UnwinderError::NotOpen)));
    target.next_gate(soon()).unwrap();
    for (cache, walker) in [(false, WalkerKind::CpythonUncached), (true, WalkerKind::CpythonCached)] {
        unwinder.open(target.pid(), cache, soon()).unwrap();
        let mut lookups = Vec::new();
        for _ in 0..3 {
            let account = target.account(soon()).unwrap();
            target.stop().unwrap();
            for _ in 0..2 {
                let counted = unwinder.sample(soon()).unwrap();
                assert_eq!(counted.sample.walker, walker);
                assert_eq!(as_account(&only_stack(&counted)), account);
                let counters = counted.counters.unwrap();
                let provenance = counted.sample.threads[0].provenance;
                assert_eq!(counters.frames_from_cache, provenance.from_cache as u64);
                // Without the cache, CPython does not count frames.
                let counted = if cache { account.len() as u64 } else { 0 };
                assert_eq!(counters.frames_from_cache + counters.frames_from_memory, counted);
                lookups.push(provenance.lookup);
            }
            target.resume().unwrap();
            target.go(soon()).unwrap();
            target.next_gate(soon()).unwrap();
        }
        let seen = |wanted: fn(&Lookup) -> bool| lookups.iter().filter(|lookup| wanted(lookup)).count();
        if cache {
            assert_eq!(seen(|lookup| matches!(lookup, Lookup::Miss(_))), 1, "{lookups:?}");
            assert_eq!(seen(|lookup| *lookup == Lookup::PartialHit), 2, "{lookups:?}");
            assert_eq!(seen(|lookup| *lookup == Lookup::FullHit), 3, "{lookups:?}");
        } else {
            assert_eq!(seen(|lookup| *lookup == Lookup::Uncached), 6, "{lookups:?}");
        }
        unwinder.close(soon()).unwrap();
        assert!(matches!(unwinder.sample(soon()), Err(UnwinderError::NotOpen)));
    }
}

#[test]
fn an_empty_name_is_reported() {
    let damaged = "
import ctypes
def wide_\u{20000}():
    gate(0)
name = wide_\u{20000}.__code__.co_qualname
words = [ctypes.c_uint32.from_address(id(name) + offset) for offset in range(0, 120, 4)]
[character] = [word for word in words if word.value == 0x20000]
character.value = 0x7fffffff
wide_\u{20000}()
";
    let mut target = started(&[PROLOGUE, damaged].concat());
    target.next_gate(soon()).unwrap();
    target.stop().unwrap();
    let mut unwinder = Unwinder::start(&python(), soon()).unwrap();
    unwinder.open(target.pid(), false, soon()).unwrap();
    let stack = only_stack(&unwinder.sample(soon()).unwrap());
    assert!(stack.iter().any(|frame| &*frame.function == "wide_\u{fffd}"), "{stack:?}");
}

/// A target that holds a name that is not valid text.
fn garbage_text(build: &Build) -> Target {
    const SOURCE: &str = include_str!("../../../../pyscripts/processes/garbage_text.py");
    let mut target = Target::launch(&build.python, None, SOURCE, &std::env::temp_dir(), soon()).unwrap();
    target.start(soon()).unwrap();
    target
}

/// What an unwinder does when it reads that name.
fn walked_over_garbage_text(build: &Build, cache: bool) -> Result<(), UnwinderError> {
    let target = garbage_text(build);
    let mut unwinder = Unwinder::start(&build.python, soon())?;
    unwinder.open(target.pid(), cache, soon())?;
    let (deadline, mut come) = (soon(), false);
    while !come && Instant::now() < deadline {
        let sample = unwinder.sample(soon())?.sample;
        let stack = sample.threads[0].outcome.as_deref().unwrap_or_default();
        come = stack.iter().any(|frame| &*frame.function == "garbled_\u{fffd}");
    }
    assert!(come, "the name never came");
    Ok(())
}

#[test]
fn text_that_is_not_unicode_kills_the_unwinder_of_a_debug_build() {
    for cache in [false, true] {
        walked_over_garbage_text(&common::release(), cache).unwrap();
        let error = walked_over_garbage_text(&common::debug(), cache).unwrap_err();
        assert!(error.to_string().chars().count() < 2 * LONGEST, "{error}");
        let Some(Violation::UnwinderDied { end, failed_in, words }) = error.violation() else { panic!("{error}") };
        assert_eq!((end, failed_in.as_deref()), (Death::Signal("SIGABRT".into()), Some("_PyUnicode_CheckConsistency")));
        assert!(!words.is_empty());
    }
}

#[test]
fn the_unwinder_process_runs_a_script_in_a_private_folder() {
    let unwinder = Unwinder::start(&python(), soon()).unwrap();
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", unwinder.pid())).unwrap();
    let script = std::path::PathBuf::from(line.trim_end_matches('\0').rsplit('\0').next().unwrap());
    assert!(line.len() < 1000 && script.ends_with("remote_unwinder.py"), "{line:?}");
    let folder = std::fs::metadata(script.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn every_unwinder_starts_with_an_empty_cache() {
    let mut target = started(&[PROLOGUE, BRANCHES].concat());
    let mut unwinder = Unwinder::start(&python(), soon()).unwrap();
    target.next_gate(soon()).unwrap();
    for _ in 0..3 {
        unwinder.open(target.pid(), true, soon()).unwrap();
        let lookups = [(); 2].map(|()| unwinder.sample(soon()).unwrap().sample.threads[0].provenance.lookup);
        assert!(matches!(lookups, [Lookup::Miss(_), Lookup::FullHit]), "{lookups:?}");
        unwinder.close(soon()).unwrap();
    }
}

#[test]
fn a_live_run_streams_batches_and_ends_after_a_time_a_number_or_on_request() {
    let mut target = started(&[PROLOGUE, "def f(n):\n    return n and f(n - 1)\nwhile True: f(20)"].concat());
    let mut unwinder = Unwinder::start(&python(), soon()).unwrap();
    unwinder.open(target.pid(), true, soon()).unwrap();
    let (mut stacks, mut batches) = (0, 0);
    let total = unwinder
        .run_live(LiveBound::Time(Duration::from_secs(1)), |batch| {
            batches += 1;
            stacks +=
                batch.samples.iter().filter(|counted| counted.sample.threads.iter().all(|t| t.outcome.is_ok())).count();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(total.samples > 1000 && stacks > 1000 && batches > 2, "{total:?}, {stacks} stacks, {batches} batches");
    assert!(total.walk_time < Duration::from_secs(2));

    let counted = unwinder.run_live(LiveBound::Samples(3001), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(counted.samples, 3001);
    let broken = unwinder.run_live(LiveBound::Time(Duration::from_secs(600)), |_| ControlFlow::Break(())).unwrap();
    assert!(broken.samples > 0);
    target.stop().unwrap();
    let after = unwinder.sample(soon()).unwrap();
    assert!(after.sample.threads.iter().all(|thread| thread.outcome.is_ok()), "{after:?}");
}

#[test]
fn a_target_that_ends_ends_the_live_run_with_a_rejection() {
    let target = started(&[PROLOGUE, "while True: pass"].concat());
    let mut unwinder = Unwinder::start(&python(), soon()).unwrap();
    unwinder.open(target.pid(), false, soon()).unwrap();
    let mut target = Some(target);
    let mut last = None;
    unwinder
        .run_live(LiveBound::Time(Duration::from_secs(600)), |batch| {
            drop(target.take());
            last = batch.samples.last().cloned();
            ControlFlow::Continue(())
        })
        .unwrap();
    let outcome = last.unwrap().sample.threads.pop().unwrap().outcome;
    assert!(matches!(&outcome, Err(Rejection::Raised(text)) if text.contains("ProcessLookupError")), "{outcome:?}");
}

#[test]
fn a_failing_driver_is_reported() {
    let mut unwinder = Unwinder::start(&python(), soon()).unwrap();
    let not_python = unwinder.open(i32::try_from(std::process::id()).unwrap(), false, soon()).unwrap_err();
    assert!(matches!(not_python, UnwinderError::Raised { .. }), "{not_python}");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(unwinder.pid()), nix::sys::signal::Signal::SIGSEGV).unwrap();
    let ended = unwinder.close(soon()).unwrap_err();
    assert!(ended.to_string().contains("SIGSEGV"), "{ended}");
    let died = Violation::UnwinderDied { end: Death::Signal("SIGSEGV".into()), failed_in: None, words: String::new() };
    assert_eq!(ended.violation(), Some(died));

    let folder = tempfile::tempdir().unwrap();
    let missing = Unwinder::start(&folder.path().join("nothing"), soon()).err().unwrap();
    assert!(matches!(missing, UnwinderError::Start { .. }), "{missing}");
    let no_python = Unwinder::start(std::path::Path::new("false"), soon()).err().unwrap();
    assert!(matches!(&no_python, UnwinderError::NotReady { .. } if no_python.violation().is_none()), "{no_python}");
}

/// The variable that makes the test below act as the harness that gets killed.
const HOLD: &str = "FRAMEDIFF_TEST_HOLD";

#[test]
fn a_killed_harness_leaves_no_target() {
    if std::env::var_os(HOLD).is_some() {
        // The thread that launches the target has ended before the target is used. The target must survive that.
        let mut target = std::thread::spawn(|| started(&[PROLOGUE, BRANCHES].concat())).join().unwrap();
        target.next_gate(soon()).unwrap();
        target.stop().unwrap();
        println!("target {}", target.pid());
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut harness = common::test_alone(module_path!(), "a_killed_harness_leaves_no_target")
        .arg("--nocapture")
        .env(HOLD, "1")
        .env("TMPDIR", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid: i32 = common::target::line_after(harness.stdout.take().unwrap(), "target ").parse().unwrap();
    assert_eq!(state(pid), 'T');
    let target = common::target::Watched::new(pid);
    harness.kill().unwrap();
    harness.wait().unwrap();
    assert!(target.ends_before(soon()), "process {pid} survived the harness");
}

#[test]
fn the_harness_itself_is_not_a_python_process() {
    let pid = i32::try_from(std::process::id()).unwrap();
    assert!(matches!(runtime_address(pid), Err(RuntimeError::NotPython { .. })));
    assert_eq!(ProcessMemory::new(pid).pid(), pid);
}

#[test]
fn both_walkers_report_a_name_that_is_not_unicode_the_same_way() {
    let source = "
def f():
    gate(7)
f.__code__ = f.__code__.replace(co_qualname='\\udc80x')
while True:
    f()
";
    let mut target = started(&[PROLOGUE, source].concat());
    target.next_gate(soon()).unwrap();
    target.stop().unwrap();
    let mut unwinder = Unwinder::start(&python(), soon()).unwrap();
    unwinder.open(target.pid(), false, soon()).unwrap();
    let theirs = unwinder.sample(soon()).unwrap().sample;

    let mut memory = target.memory();
    let runtime = runtime_address(target.pid()).unwrap().address;
    let layout = Layout::read(&mut memory, runtime).unwrap();
    let ours = UncachedWalker::new(Site { layout, runtime }).unwrap().sample(&mut memory).unwrap();

    let [theirs, ours] = [theirs, ours].map(|sample| sample.threads[0].outcome.clone().unwrap());
    assert_eq!(theirs, ours);
    assert!(ours.iter().any(|frame| &*frame.function == "\u{fffd}x"), "{ours:?}");
}

#[test]
fn the_simulated_structures_match_the_release_build() {
    let target = started(&format!("{PROLOGUE}gate(0)"));
    let runtime = runtime_address(target.pid()).unwrap().address;
    assert_eq!(Layout::read(&mut target.memory(), runtime).unwrap(), LAYOUT);
}
