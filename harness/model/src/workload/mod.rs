//! Generated Python programs, each with the set of its legal stacks.
//!
//! A program imports only modules that are compiled into the interpreter. It keeps every code object alive, because
//! walkers cache code by address. It runs no Python code but its own, so its grammar can be complete.
//!
//! # Protocol
//! The program reads commands from file descriptor 0 and writes messages to 1. Once everything is defined, it writes
//! `framdiff` (8 bytes) and waits for `g`. A *free* program then runs its loop without further messages. A *gated* one
//! writes its context and its native thread id (two little-endian `u32`) at each gate, and waits. On `g` it goes on. On
//! `a` it writes its own account of its stack and waits again; the account is a little-endian `u32` length, then a JSON
//! list, leaf first, of `[co_qualname, co_filename, f_lineno]`. On anything else, or the end of the input, the program
//! ends. A program of *rounds* has such a gate where `main` begins its work again, so that it can be brought back to
//! the same state again and again.

mod alternating;
mod calls;
mod construction;
mod coroutines;
mod deep;
mod delegates;
mod exceptions;
mod failed_bind;
mod finalizers;
mod generators;
pub mod grammar;
mod graph;
mod kept_frames;
mod limits;
mod monitoring;
pub mod parameters;
mod parts;
pub mod positions;
mod program;
pub mod prologue;
mod recursion;
mod shares;
mod threads;
mod through_c;
pub mod user_program;

use grammar::{ContextId, Grammar};
pub use parameters::{FrameSize, Names, Overrides, Parameters};
use program::Program;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// The behaviour that a workload exercises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Branches called in turn by one caller, with frames at equal or different addresses.
    Alternating,
    /// Stacks, names and threads on both sides of the limits of CPython's unwinder.
    Limits,
    /// Deep stacks that grow and shrink across the borders of data-stack chunks.
    Deep,
    /// Direct, mutual and branching recursion.
    Recursion,
    /// Exceptions that unwind through handlers, `finally` blocks and context managers.
    Exceptions,
    /// Generators as leaves and as callers, resumed in every way and by different callers.
    Generators,
    /// Coroutines and asynchronous generators, driven by hand.
    Coroutines,
    /// Python called from C called from Python.
    ThroughC,
    /// Calls whose arguments do not fit.
    FailedBind,
    /// Python code that runs while a frame is cleared.
    Finalizers,
    /// Frames that outlive their call in frame objects and tracebacks.
    KeptFrames,
    /// Callbacks of `sys.monitoring`.
    Monitoring,
    /// Threads with their own branches. Some of the threads come and go.
    Threads,
    /// Instances created by a specialised call that sometimes fails.
    Construction,
    /// Generators that delegate to an iterator that is not a generator.
    Delegates,
    /// Leaves of every kind with known shares of the time.
    Shares,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Alternating,
        Self::Limits,
        Self::Deep,
        Self::Recursion,
        Self::Exceptions,
        Self::Generators,
        Self::Coroutines,
        Self::ThroughC,
        Self::FailedBind,
        Self::Finalizers,
        Self::KeptFrames,
        Self::Monitoring,
        Self::Threads,
        Self::Construction,
        Self::Delegates,
        Self::Shares,
    ];

    /// The name on command lines, in tables and in saved cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alternating => "alternating",
            Self::Limits => "limits",
            Self::Deep => "deep",
            Self::Recursion => "recursion",
            Self::Exceptions => "exceptions",
            Self::Generators => "generators",
            Self::Coroutines => "coroutines",
            Self::ThroughC => "through-c",
            Self::FailedBind => "failed-bind",
            Self::Finalizers => "finalizers",
            Self::KeptFrames => "kept-frames",
            Self::Monitoring => "monitoring",
            Self::Threads => "threads",
            Self::Construction => "construction",
            Self::Delegates => "delegates",
            Self::Shares => "shares",
        }
    }

    /// The family with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Which gates a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It has all gates. At each, it reports its context and waits.
    Gated,
    /// It has no gates.
    Free,
    /// It has only a gate at the start of every round of `main`, with the context [`ROUND`].
    Rounds,
    /// It has all gates, and one with the context [`ROUND`] at the start of every round.
    GatedRounds,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gated, Self::Free, Self::Rounds, Self::GatedRounds];

    /// The name in saved cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gated => "gated",
            Self::Free => "free",
            Self::Rounds => "rounds",
            Self::GatedRounds => "gated-rounds",
        }
    }
}

/// The context of the gate at the start of a round. The grammar has no such context.
pub const ROUND: ContextId = ContextId::MAX;

/// The answers that a cache must have given in a stopped run over the gates. A run without them is vacuous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Produces {
    /// A full hit: the leaf stays, and its line changes.
    pub full_hit: bool,
    /// A partial hit: the stack shrinks and grows again between gates.
    pub partial_hit: bool,
    /// A miss: at least the first sample of each thread is one.
    pub miss: bool,
}

/// A program with its grammar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its family.
    pub family: Family,
    /// Which gates it has.
    pub mode: Mode,
    /// The seed that it was generated from.
    pub seed: u64,
    /// The parameters that it was generated with.
    pub parameters: Parameters,
    /// The content of [`grammar::WORKLOAD_FILE`].
    pub source: String,
    /// Its legal stacks.
    pub grammar: Grammar,
    /// The largest number of threads that are alive at the same time.
    pub threads: u32,
    /// The answers that a cache must give in a run.
    pub produces: Produces,
    /// How a free program spends its time, if known: functions by `co_qualname`, with weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<(String, u32)>,
}

/// The largest distance of a program's time from its [`Workload::shares`], as a total variation distance.
pub const SHARES_INEXACT: f64 = shares::INEXACT;

/// Generates a program of a family. The same arguments give the same program on every machine.
#[must_use]
pub fn generate(family: Family, mode: Mode, parameters: &Parameters, seed: u64) -> Workload {
    let parameters = parameters.clone().within_bounds(family);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut program = Program::new(mode, &parameters);
    let main = program.declare("main");
    let threads = match family {
        Family::Alternating => alternating::emit(&mut program, main, &mut random),
        Family::Generators => generators::emit(&mut program, main, &mut random),
        Family::Limits => limits::emit(&mut program, main),
        Family::Deep => deep::emit(&mut program, main, &mut random),
        Family::Recursion => recursion::emit(&mut program, main, &mut random),
        Family::Exceptions => exceptions::emit(&mut program, main, &mut random),
        Family::Coroutines => coroutines::emit(&mut program, main, &mut random),
        Family::ThroughC => through_c::emit(&mut program, main, &mut random),
        Family::FailedBind => failed_bind::emit(&mut program, main, &mut random),
        Family::Finalizers => finalizers::emit(&mut program, main, &mut random),
        Family::KeptFrames => kept_frames::emit(&mut program, main, &mut random),
        Family::Monitoring => monitoring::emit(&mut program, main, &mut random),
        Family::Threads => threads::emit(&mut program, main, &mut random),
        Family::Construction => construction::emit(&mut program, main, &mut random),
        Family::Delegates => delegates::emit(&mut program, main, &mut random),
        Family::Shares => shares::emit(&mut program, main, &mut random),
    };
    let shares = program.shares();
    let (source, grammar) = program.finish(main);
    let produces = Produces { full_hit: true, partial_hit: true, miss: true };
    Workload { family, mode, seed, parameters, source, grammar, threads, produces, shares }
}
