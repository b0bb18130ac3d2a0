//! The programs that searches run. Each is as small as its purpose allows.

use crate::program::SimInstruction::{
    Branch, Call, CallFromC, Compile, Create, Delegate, Drop, EndThread, FailedCall, Free, Jump, Line, Raise, Resume,
    ResumeFromC, Return, ReturnRunning, StartThread, Throw, Yield,
};
use crate::program::{SimFunction, SimInstruction, SimProgram, Thread};

/// A simulated program with its name and description.
#[derive(Clone, Copy, Debug)]
pub struct SimWorkload {
    /// Its name on the command line.
    pub name: &'static str,
    /// What its threads do, for listings.
    pub about: &'static str,
    /// Returns a new copy of the program.
    pub make: fn() -> SimProgram,
}

/// Every workload, in the order of listings.
pub const ALL: [SimWorkload; 16] = [
    SimWorkload { name: "alternating", about: "two call chains of three levels that alternate", make: alternating },
    SimWorkload {
        name: "generator",
        about: "one generator under two callers, and the functions that it calls",
        make: generator,
    },
    SimWorkload {
        name: "generator-made",
        about: "a generator created under one caller, at the address of a later callee of another one",
        make: generator_made,
    },
    SimWorkload { name: "generators", about: "a generator that delegates to another", make: generators },
    SimWorkload { name: "entry", about: "calls from Python through C to Python", make: entry },
    SimWorkload { name: "callback", about: "one function, called from C and from Python", make: callback },
    SimWorkload { name: "exceptions", about: "exceptions through one and two frames", make: exceptions },
    SimWorkload { name: "coroutines", about: "a coroutine that awaits another, resumed from C", make: coroutines },
    SimWorkload { name: "throw", about: "exceptions thrown into a delegating generator", make: throw },
    SimWorkload { name: "failed-bind", about: "calls whose arguments do not fit", make: failed_bind },
    SimWorkload {
        name: "finalizers",
        about: "returns that run a finalizer while the frame is still reserved",
        make: finalizers,
    },
    SimWorkload {
        name: "chunks",
        about: "calls across the end of a data-stack chunk, frames of two sizes",
        make: chunks,
    },
    SimWorkload { name: "two-threads", about: "two threads that alternate", make: two_threads },
    SimWorkload {
        name: "thread-reuse",
        about: "thread states that are created and freed, and native thread ids that are reused",
        make: thread_reuse,
    },
    SimWorkload {
        name: "code-reuse",
        about: "two functions whose code objects alternate at one address",
        make: code_reuse,
    },
    SimWorkload {
        name: "code-reuse-interpreters",
        about: "two interpreters whose code objects alternate at one address",
        make: code_reuse_interpreters,
    },
];

/// The workload with that name.
#[must_use]
pub fn find(name: &str) -> Option<SimWorkload> {
    ALL.into_iter().find(|workload| workload.name == name)
}

fn function(name: &str, body: &[SimInstruction]) -> SimFunction {
    SimFunction::new(name, body)
}

fn program(functions: Vec<SimFunction>) -> SimProgram {
    SimProgram { functions, threads: vec![Thread::new(0, 7, true)], slots_per_chunk: 8, frees: None }
}

pub(crate) fn alternating() -> SimProgram {
    program(vec![
        function("main", &[Call(1), Call(4)]),
        function("a1", &[Call(2)]),
        function("a2", &[Call(3)]),
        function("a_leaf", &[Line(2)]),
        function("b1", &[Call(5)]),
        function("b2", &[Call(6)]),
        function("b_leaf", &[Line(2)]),
    ])
}

fn generator() -> SimProgram {
    program(vec![
        function("main", &[Create(0, 1), Call(2), Call(3), Call(2), Drop(0)]),
        function("numbers", &[Call(4), Yield, Line(3), Yield, Jump(0)]),
        function("first", &[Resume(0), Call(4)]),
        function("second", &[Resume(0)]),
        function("helper", &[]),
    ])
}

fn generator_made() -> SimProgram {
    program(vec![
        function("main", &[Call(1), Call(2)]),
        function("makes", &[Create(0, 3), Drop(0)]),
        function("calls", &[Call(4)]),
        function("numbers", &[Yield]),
        function("leaf", &[Line(2)]),
    ])
}

fn generators() -> SimProgram {
    program(vec![
        function("main", &[Create(0, 1), Create(1, 2), Call(3), Call(4), Drop(0), Drop(1)]),
        function("outer", &[Delegate(1), Yield, Jump(0)]),
        function("inner", &[Call(5), Yield, Line(3), Yield]),
        function("first", &[Resume(0), Resume(0)]),
        function("second", &[ResumeFromC(0)]),
        function("helper", &[]),
    ])
}

fn entry() -> SimProgram {
    program(vec![
        function("main", &[Call(1), Call(2)]),
        function("first", &[CallFromC(3), Call(4)]),
        function("second", &[CallFromC(4)]),
        function("callback", &[Call(4)]),
        function("leaf", &[Line(2)]),
    ])
}

fn callback() -> SimProgram {
    program(vec![
        function("main", &[Call(1), Call(2)]),
        function("first", &[CallFromC(3)]),
        function("second", &[Call(3)]),
        function("leaf", &[]),
    ])
}

fn exceptions() -> SimProgram {
    program(vec![
        function("main", &[Call(1), Call(2)]),
        function("first", &[Call(3), Return, Call(4)]).handling(2),
        function("second", &[Call(3), Return, Line(3)]).handling(2),
        function("passes", &[Call(4), Raise]),
        function("raises", &[Branch(2), Raise, Line(2)]),
    ])
}

fn coroutines() -> SimProgram {
    program(vec![
        function("main", &[Create(0, 1), Create(1, 2), Call(3), Call(4), Drop(0), Drop(1)]),
        function("task", &[Delegate(1), Line(2)]),
        function("step", &[Yield, Call(5), Yield]),
        function("loop_a", &[ResumeFromC(0), Call(5)]),
        function("loop_b", &[ResumeFromC(0), ResumeFromC(0)]),
        function("helper", &[]),
    ])
}

fn throw() -> SimProgram {
    program(vec![
        function("main", &[Create(0, 1), Create(1, 2), Call(3), Call(4), Call(3), Drop(0), Drop(1)]).handling(5),
        function("outer", &[Delegate(1), Yield]),
        function("inner", &[Yield, Call(5), Yield, Yield]).handling(1),
        function("first", &[Resume(0), Throw(0), Return, Line(2)]).handling(3),
        function("second", &[Throw(0), Return, Line(2)]).handling(2),
        function("helper", &[]),
    ])
}

pub(crate) fn failed_bind() -> SimProgram {
    program(vec![
        function("main", &[Call(1), Call(2)]),
        function("first", &[Call(3), FailedCall(3)]),
        function("second", &[FailedCall(3), Call(4)]),
        function("leaf", &[]),
        function("calls", &[FailedCall(3), Call(3)]),
    ])
}

fn finalizers() -> SimProgram {
    program(vec![
        function("main", &[Call(1), Call(2)]),
        function("first", &[Call(3), Call(5)]),
        function("second", &[Call(3)]),
        function("dies", &[ReturnRunning(4)]),
        function("__del__", &[Call(5)]),
        function("leaf", &[]),
    ])
}

fn chunks() -> SimProgram {
    let wide = SimFunction { slots: 2, ..function("wide", &[Call(4)]) };
    let program = program(vec![
        function("main", &[Call(1), Call(2)]),
        function("first", &[Call(3)]),
        wide,
        function("second", &[Call(4), Call(4)]),
        function("leaf", &[]),
    ]);
    SimProgram { slots_per_chunk: 3, ..program }
}

fn two_threads() -> SimProgram {
    let program = program(vec![
        function("main", &[Call(1), Call(2)]),
        function("a", &[Call(3)]),
        function("b", &[Call(3)]),
        function("leaf", &[]),
    ]);
    SimProgram { threads: vec![Thread::new(0, 7, true), Thread::new(0, 8, true)], ..program }
}

pub(crate) fn thread_reuse() -> SimProgram {
    let program = program(vec![
        function("main", &[StartThread(1), Line(2), StartThread(2), Line(1)]),
        function("worker_a", &[Call(3), EndThread]),
        function("worker_b", &[Call(4), EndThread]),
        function("a", &[Call(5)]),
        function("b", &[Call(5)]),
        function("leaf", &[]),
    ]);
    let worker = |entry| Thread::new(entry, 8, false);
    SimProgram { threads: vec![Thread::new(0, 7, true), worker(1), worker(2)], ..program }
}

/// Number of frees. What a walker learnt of a code object can then be distinguished from its first and its second
/// successor at the address.
const FREES: u8 = 2;

pub(crate) fn code_reuse() -> SimProgram {
    let program = program(vec![
        function("main", &[Call(1)]),
        function("caller", &[Compile(2), Call(2), Compile(3), Call(3)]),
        function("a", &[]),
        function("b", &[]).at(2),
    ]);
    SimProgram { frees: Some(FREES), ..program }
}

pub(crate) fn code_reuse_interpreters() -> SimProgram {
    let program = program(vec![
        function("main", &[Compile(2), Call(2), Free(2), Line(1)]),
        function("other", &[Compile(3), Call(3), Free(3), Line(1)]),
        function("a", &[]),
        function("b", &[]).at(2),
    ]);
    let other = Thread { interpreter: 1, ..Thread::new(1, 8, true) };
    SimProgram { threads: vec![Thread::new(0, 7, true), other], frees: Some(FREES), ..program }
}
