//! Leaves of every kind with known shares of the time. Profiles are compared with these shares.
//!
//! All time is spent in one builtin that returns to Python only when it is done. Each leaf calls it as often as its
//! weight says. A call takes the same time in every leaf, with or without the JIT. Calls and returns take additional
//! time, which changes the shares by at most [`INEXACT`].

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program};

/// The leaf of each kind gets one of these weights, in an order determined by the seed.
const WEIGHTS: [u32; 4] = [1, 2, 4, 8];
/// The smallest number of terms in the sum that is a unit of work. With it, a unit takes tens of microseconds, and a
/// call a fraction of one.
const FEWEST_TERMS: u32 = 3000;
/// The largest distance of the shares of the time from those of the weights, as a total variation distance.
pub(super) const INEXACT: f64 = 0.01;

/// The kind of a leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Function,
    Generator,
    Coroutine,
    /// C code calls it.
    Callback,
}

impl Leaf {
    fn name(self) -> &'static str {
        match self {
            Self::Function => "function_leaf",
            Self::Generator => "generator_leaf",
            Self::Coroutine => "coroutine_leaf",
            Self::Callback => "callback_leaf",
        }
    }

    fn arguments(self) -> &'static str {
        match self {
            Self::Function => "c",
            Self::Generator | Self::Coroutine => "",
            Self::Callback => "x",
        }
    }
}

pub(super) const SPEC: FamilySpec = FamilySpec { yields: true, ..FamilySpec::new(emit) };

/// Emits `main`, the leaves and their callers; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let mut weights = WEIGHTS;
    parts::shuffle(&mut weights, random);
    p.line(&format!("_terms = range({})", p.parameters().speed.max(FEWEST_TERMS)));
    p.line("");
    let [function, generator, coroutine, callback] = weights;
    let depth = p.parameters().depth;
    let mut callers =
        [leaf(p, Leaf::Function, function), iterated(p, generator), awaited(p, coroutine), called_back(p, callback)];
    parts::shuffle(&mut callers, random);
    let chains: Vec<Fun> = (0..)
        .zip(callers)
        .map(|(index, caller)| parts::chain(p, &format!("to_{index}"), random.random_range(0..=depth), caller))
        .collect();
    p.open(main, "def main(c):");
    p.rounds();
    for chain in chains {
        p.invoke(chain);
    }
    p.end();
    p.close();
    1
}

/// A leaf with its work, with a gate before and after it.
fn leaf(p: &mut Program<'_>, kind: Leaf, weight: u32) -> Fun {
    let name = p.name(kind.name());
    let fun = p.declare(&name);
    let def = if kind == Leaf::Coroutine { "async def" } else { "def" };
    p.open(fun, &format!("{def} {name}({}):", kind.arguments()));
    p.locals(p.parameters().frame_size.locals(weight));
    if kind != Leaf::Function {
        p.take();
    }
    p.gate();
    p.block(&format!("for i in range({weight}):"));
    p.line("sum(_terms)");
    p.end();
    p.gate();
    p.spends(fun, weight);
    if kind == Leaf::Generator {
        p.line("yield");
    }
    p.close();
    fun
}

/// A leaf, its name, and the function that calls it. The body of that function is left open.
fn called_by(p: &mut Program<'_>, kind: Leaf, weight: u32, caller: &str) -> (Fun, String, Fun) {
    let leaf = leaf(p, kind, weight);
    (leaf, p.identifier(leaf), p.define(caller, "c"))
}

fn iterated(p: &mut Program<'_>, weight: u32) -> Fun {
    let (generator, name, fun) = called_by(p, Leaf::Generator, weight, "iterate");
    p.make(generator, &format!("k = {name}()"));
    p.aimed(generator, "next(k)");
    p.gate();
    // The generator ends here, with nothing left to do.
    p.aimed(generator, "next(k, None)");
    p.close();
    fun
}

fn awaited(p: &mut Program<'_>, weight: u32) -> Fun {
    let (coroutine, name, fun) = called_by(p, Leaf::Coroutine, weight, "drive");
    p.make(coroutine, &format!("k = {name}()"));
    p.block("try:");
    p.aimed(coroutine, "k.send(None)");
    p.beside("except StopIteration:");
    p.gate();
    p.end();
    p.close();
    fun
}

/// A leaf that C calls.
fn called_back(p: &mut Program<'_>, weight: u32) -> Fun {
    let (callback, name, fun) = called_by(p, Leaf::Callback, weight, "through_c");
    p.gate();
    p.aimed(callback, &format!("any(map({name}, (1,)))"));
    p.gate();
    p.close();
    fun
}
