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

mod calls;
pub mod family;
pub mod grammar;
mod graph;
pub mod parameters;
mod parts;
pub mod positions;
mod program;
pub mod prologue;
pub mod user_program;

pub use family::{Family, SHARES_INEXACT};
use grammar::{ContextId, Grammar};
pub use parameters::{FrameSize, Names, Overrides, Parameters};
use program::Program;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

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
    /// Every mode, in the order of declaration.
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

/// A program with its grammar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The family of the program.
    pub family: Family,
    /// Which gates it has.
    pub mode: Mode,
    /// The seed that it was generated from.
    pub seed: u64,
    /// The parameters that it was generated with.
    pub parameters: Parameters,
    /// The content of [`grammar::WORKLOAD_FILE`].
    pub source: String,
    /// The stacks that the program can have.
    pub grammar: Grammar,
    /// The largest number of threads that are alive at the same time.
    pub threads: u32,
    /// How a free program spends its time, if known: functions by `co_qualname`, with weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<(String, u32)>,
}

/// Generates a program of a family. The same arguments give the same program on every machine.
#[must_use]
pub fn generate(family: Family, mode: Mode, parameters: &Parameters, seed: u64) -> Workload {
    let parameters = parameters.clone().within_bounds(family);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut program = Program::new(mode, &parameters);
    let main = program.declare("main");
    let threads = (family.spec().emit)(&mut program, main, &mut random);
    let shares = program.shares();
    let (source, grammar) = program.finish(main);
    Workload { family, mode, seed, parameters, source, grammar, threads, shares }
}
