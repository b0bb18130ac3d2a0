//! Generated Python programs and the set of stacks each can legally show.
//!
//! A program imports only modules that are compiled into the interpreter, keeps every code object alive (walkers cache
//! code by address) and runs no Python code but its own, so its grammar can be complete.
//!
//! # What a program says and hears
//! File descriptor 0 brings commands, 1 takes messages. Once everything is defined the program writes `framdiff` (8 bytes)
//! and waits for `g`. A *free* program then runs its loop without a word. A *gated* one writes at each gate its context
//! and its native thread id (two little-endian `u32`) and waits: `g` lets it go on, `a` makes it write its own account of
//! its stack (a little-endian `u32` length, then a JSON list, leaf first, of `[co_qualname, co_filename, f_lineno]`) and
//! wait again; anything else, or the end of the input, ends it. A program of *rounds* has such a gate where `main` begins its
//! work anew, so that it can be brought back to the same state again and again.

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

/// What a workload exercises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Branches that take turns under one caller, on frames of equal or different addresses.
    Alternating,
    /// What lies on both sides of the limits of CPython's unwinder.
    Limits,
    /// Deep stacks that swing across the borders of data-stack chunks.
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
    /// Python code that runs while a frame dies.
    Finalizers,
    /// Frames that outlive their call in frame objects and tracebacks.
    KeptFrames,
    /// Callbacks of `sys.monitoring`.
    Monitoring,
    /// Threads with branches of their own, some of which come and go.
    Threads,
    /// Instances made by a specialised call, some of them in vain.
    Construction,
    /// Generators that delegate to an iterator that is none.
    Delegates,
    /// Leaves of every kind whose shares of the time are known.
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

    /// The family of that name.
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

/// Whether a program tells where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It does, and waits to be let on.
    Gated,
    /// It runs without a word.
    Free,
    /// It runs without a word, but for a gate at the start of every round of `main`, of context [`ROUND`].
    Rounds,
    /// It has all gates, and one of context [`ROUND`] at the start of every round.
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

/// The context of the gate at which a round starts; there is no such context.
pub const ROUND: ContextId = ContextId::MAX;

/// Which answers a cache must have given after a stopped run over the gates; a run without them is vacuous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Produces {
    /// The leaf stays and its line moves.
    pub full_hit: bool,
    /// The stack shrinks and grows again between gates.
    pub partial_hit: bool,
    /// At the least a thread's first sample.
    pub miss: bool,
}

/// A program with its grammar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its family.
    pub family: Family,
    /// Whether it has gates.
    pub mode: Mode,
    /// The seed it grew from.
    pub seed: u64,
    /// The knobs it grew with.
    pub parameters: Parameters,
    /// The text of [`grammar::WORKLOAD_FILE`].
    pub source: String,
    /// Its legal stacks.
    pub grammar: Grammar,
    /// The most threads that are alive at a time.
    pub threads: u32,
    /// What a cache must answer along the way.
    pub produces: Produces,
    /// Where a free program spends its time, if that is known: functions by `co_qualname`, with weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<(String, u32)>,
}

/// How far the time that a program spends may be from its [`Workload::shares`], as a total variation distance.
pub const SHARES_INEXACT: f64 = shares::INEXACT;

/// Makes the program of a family. The same arguments give the same program on every machine.
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
