//! Tests the order of stores in real interpreters, and how it differs between builds.
//!
//! Each operation in `pyscripts/operations` is stepped between two gates and compared with its list in `OPERATIONS`.
#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

use framewalk::layout::Layout;
use framewalk::memory::RemoteMemory;
use process::build::Build;
use process::gate::Gate;
use process::target::{ChildEnd, StopError, Target, runtime_address};

use crate::common;
use crate::common::stores::Store;
use crate::common::stores::operations::{Mode, OPERATIONS, Operation, assert_same};
use crate::common::target::{soon, started};
use crate::stepper::record::{Arming, Recording, StepRecordError};
use crate::stepper::{StepError, Stepper};

const PROLOGUE: &str = include_str!("../../../../pyscripts/operations/prologue.py");

/// A target that performs the operations one after the other.
struct Stepped {
    target: Target,
    recording: Recording,
}

impl Stepped {
    fn start(build: &Build, jit: Option<bool>, operations: &[&Operation]) -> Self {
        let texts = operations.iter().map(|operation| operation.text);
        let source: String = std::iter::once(PROLOGUE).chain(texts).collect();
        let mut target = Target::launch(&build.python, jit, &source, &std::env::temp_dir(), soon()).unwrap();
        target.start(soon()).unwrap();
        let runtime = runtime_address(target.pid()).unwrap().address;
        let recording = Recording::new(&mut target.memory(), runtime).unwrap();
        Self { target, recording }
    }

    fn gate(&mut self) -> Gate {
        self.target.next_gate(soon()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The stores of the next operation.
    fn record(&mut self, arming: Arming) -> Vec<Store> {
        let gate = self.gate();
        assert_ne!(gate.context, 0);
        let stores = self.recording.record(&mut self.target, gate, arming, soon());
        let stores = stores.unwrap_or_else(|error| panic!("operation {}: {error}", gate.context));
        assert_eq!(self.gate().context, 0, "the gate after the operation");
        self.target.go(soon()).unwrap();
        stores
    }
}

fn check(build: &Build, jit: Option<bool>, mode: Mode) {
    let operations: Vec<&Operation> = OPERATIONS.iter().collect();
    let mut stepped = Stepped::start(build, jit, &operations);
    for operation in operations {
        let seen = stepped.record(Arming::Entered);
        assert_same(operation.name, &seen, &(operation.expected)(mode));
    }
}

#[test]
fn a_release_build_stores_in_this_order() {
    check(&common::release(), Some(false), Mode::Release);
}

#[test]
fn compiled_code_stores_in_this_order() {
    check(&common::release(), Some(true), Mode::Jit);
}

#[test]
fn a_debug_build_stores_in_this_order() {
    check(&common::debug(), None, Mode::Debug);
}

fn named(name: &str) -> &'static Operation {
    OPERATIONS.iter().find(|operation| operation.name == name).unwrap()
}

/// The stores that remain if no anchor update happens.
fn without_updates(stores: Vec<Store>) -> Vec<Store> {
    stores.into_iter().filter(|store| !matches!(store, Store::SequenceIncremented | Store::Anchor(_))).collect()
}

#[test]
fn only_a_returning_frame_moves_the_anchor() {
    let operations = ["call", "generator", "exception"].map(named);
    for arming in [Arming::Nobody, Arming::Caller] {
        let mut stepped = Stepped::start(&common::release(), Some(false), &operations);
        for operation in operations {
            let expected = (operation.expected)(Mode::Release);
            let seen = stepped.record(arming);
            match (arming, operation.name) {
                // The caller leaves the stack too, only later.
                (Arming::Caller, "exception") => assert_eq!(updates(&seen), updates(&expected) - 1),
                _ => assert_same(operation.name, &seen, &without_updates(expected)),
            }
        }
    }
}

fn updates(stores: &[Store]) -> usize {
    stores.iter().filter(|store| matches!(store, Store::SequenceIncremented)).count()
}

#[test]
fn an_anchor_written_too_late_is_moved_by_the_next_frame_at_its_address() {
    let operations = ["failed_bind", "close_plain"].map(named);
    let mut stepped = Stepped::start(&common::release(), Some(false), &operations);
    let bind = stepped.record(Arming::Left);
    let update = common::stores::operations::update(Mode::Release, &common::stores::FrameName::stack("main"));
    assert!(bind.windows(update.len()).any(|window| window == update), "{bind:#?}");
    assert_eq!(updates(&bind), 1, "by the call that failed");
    let close = stepped.record(Arming::Left);
    let update = common::stores::operations::update(Mode::Release, &common::stores::FrameName::Null);
    assert!(close.windows(update.len()).any(|window| window == update), "{close:#?}");
}

#[test]
fn a_blocked_thread_is_released() {
    let mut target = started(&[common::target::PROLOGUE, "\nimport os\ngate(1)\nos.read(os.pipe()[0], 1)\n"].concat());
    let gate = target.next_gate(soon()).unwrap();
    let runtime = runtime_address(target.pid()).unwrap().address;
    let recording = Recording::new(&mut target.memory(), runtime).unwrap();
    let deadline = Instant::now() + Duration::from_millis(300);
    let error = recording.record(&mut target, gate, Arming::Nobody, deadline).unwrap_err();
    assert!(matches!(error, StepRecordError::Step(StepError::Blocked { .. })), "{error}");
    assert_untraced(&mut target);
}

#[test]
fn steps_are_bounded() {
    let mut target = started(&[common::target::PROLOGUE, "\ngate(1)\nwhile True: pass\n"].concat());
    let gate = target.next_gate(soon()).unwrap();
    let runtime = runtime_address(target.pid()).unwrap().address;
    let mut recording = Recording::new(&mut target.memory(), runtime).unwrap();
    recording.limit = 5000;
    let error = recording.record(&mut target, gate, Arming::Nobody, soon()).unwrap_err();
    assert!(matches!(error, StepRecordError::Limit(5000)), "{error}");
    assert_untraced(&mut target);
}

#[test]
fn a_thread_that_ends_is_reported() {
    let mut target = started(&[common::target::PROLOGUE, "\ngate(1)\nos._exit(7)\n"].concat());
    let gate = target.next_gate(soon()).unwrap();
    let runtime = runtime_address(target.pid()).unwrap().address;
    let recording = Recording::new(&mut target.memory(), runtime).unwrap();
    let error = recording.record(&mut target, gate, Arming::Nobody, soon()).unwrap_err();
    assert!(matches!(error, StepRecordError::Step(StepError::Ended { .. })), "{error}");
    let Err(StopError::Ended(ended)) = target.stop() else { panic!("it did not end") };
    assert_eq!(ended.end, ChildEnd::Exited(7), "the stepper leaves the end to the target's owner");
}

#[test]
fn a_dropped_stepper_leaves_no_thread_stopped() {
    let mut target = started(&[common::target::PROLOGUE, "\nwhile True: gate(1)\n"].concat());
    let gate = target.next_gate(soon()).unwrap();
    drop(Stepper::attach(target.pid(), gate.native_thread_id.cast_signed()).unwrap());
    assert_untraced(&mut target);
    target.go(soon()).unwrap();
    target.next_gate(soon()).unwrap();
    // The target can still be read.
    let runtime = runtime_address(target.pid()).unwrap().address;
    let mut memory = target.memory();
    assert!(Layout::read(&mut memory, runtime).is_ok() && memory.read_u64(runtime).is_ok());
}

fn assert_untraced(target: &mut Target) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", target.pid())).unwrap();
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
    assert!(!status.contains("State:\tt"), "{status}");
    target.stop().unwrap();
    target.resume().unwrap();
}
