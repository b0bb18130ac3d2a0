//! A target that forks. The child's thread state is a copy, including the anchor.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use framewalk::layout::Layout;
use framewalk::thread_state::{ThreadState, thread_states};
use framewalk::walker::Site;
use process::gate::Gate;
use process::memory::ProcessMemory;
use process::target::{Target, runtime_address};
use process::unwinder::{CountedSample, Unwinder};

use crate::common;
use crate::common::target::soon;

const PROGRAM: &str = include_str!("../../../../pyscripts/processes/forks.py");
const BORN_WITH: &str = "gate < forks < top < main < <module>";
const WAITS: &str = "forks < top < main < <module>";
const ANOTHER: &str = "gate < inner < other < main < <module>";

fn unwinder(pid: i32) -> Unwinder {
    let mut unwinder = Unwinder::start(&common::release().python, soon()).unwrap();
    unwinder.open(pid, true, soon()).unwrap();
    unwinder
}

fn sample(unwinder: &mut Unwinder, stack: &str, pid: i32) -> CountedSample {
    let sample = unwinder.sample(soon()).unwrap();
    let [thread] = &sample.sample.threads[..] else { panic!("{sample:?}") };
    let frames = thread.outcome.as_ref().unwrap_or_else(|error| panic!("{error}"));
    let functions: Vec<&str> = frames.iter().map(|frame| &*frame.function).collect();
    assert_eq!((functions.join(" < ").as_str(), thread.native_thread_id), (stack, pid.cast_unsigned().into()));
    sample
}

fn full_hits(sample: &CountedSample) -> u64 {
    sample.counters.unwrap().full_hits
}

#[test]
fn parent_and_child_are_sampled_alternately_and_each_has_its_own_anchor() {
    let python = common::release().python;
    let mut target = Target::launch(&python, None, PROGRAM, &std::env::temp_dir(), soon()).unwrap();
    target.start(soon()).unwrap();
    let parent = target.pid();
    let runtime = runtime_address(parent).unwrap().address;
    let site = Site { layout: Layout::read(&mut target.memory(), runtime).unwrap(), runtime };
    let state = |pid: i32| -> ThreadState {
        let found = thread_states(&mut ProcessMemory::new(pid), &site.layout, site.runtime).unwrap();
        let [state] = found[..] else { panic!("{found:?}") };
        state
    };
    assert_eq!(target.next_gate(soon()).unwrap().context, 1);
    let mut of_parent = unwinder(parent);
    sample(&mut of_parent, BORN_WITH, parent);
    assert_eq!(full_hits(&sample(&mut of_parent, BORN_WITH, parent)), 1);

    target.go(soon()).unwrap();
    let Gate { context: 2, native_thread_id } = target.next_gate(soon()).unwrap() else { panic!() };
    let child = native_thread_id.cast_signed();
    // The child's anchor is a copy of the parent's. An unwinder on the child clears only the child's.
    let anchor = state(parent).anchor;
    assert_ne!(anchor, 0);
    assert_eq!(state(child).anchor, anchor);
    let mut of_child = unwinder(child);
    assert_eq!((state(child).anchor, state(parent).anchor), (0, anchor));
    for _ in 0..3 {
        sample(&mut of_child, BORN_WITH, child);
        sample(&mut of_parent, WAITS, parent);
    }
    target.go(soon()).unwrap();
    assert_eq!(target.next_gate(soon()).unwrap().context, 3);
    for _ in 0..3 {
        sample(&mut of_child, ANOTHER, child);
        sample(&mut of_parent, WAITS, parent);
    }
    target.go(soon()).unwrap();
    for (context, stack) in [(4, BORN_WITH), (5, ANOTHER)] {
        assert_eq!(target.next_gate(soon()).unwrap().context, context);
        sample(&mut of_parent, stack, parent);
        target.go(soon()).unwrap();
    }
    assert_eq!(target.next_gate(soon()).unwrap().context, 6);
}
