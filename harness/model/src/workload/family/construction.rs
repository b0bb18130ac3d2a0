//! Instances created by a specialised call, which makes a trampoline frame and a frame for `__init__` together.
//! `__init__` may since have been given a code object that the arguments do not fit. Then both frames are given back
//! before they run. The same happens to frames for `exec`, and for calls from C without arguments, if the code requires
//! arguments.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program};

/// The number of calls at one place. A call is specialised after a few executions.
const ROUNDS: u32 = 14;
/// In this round the arguments do not fit.
const MISFIT: u32 = 11;

pub(super) const SPEC: FamilySpec = FamilySpec::new(emit);

/// Emits `main` and the functions that create instances; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let leaf = parts::leaf(p, "leaf", 0);
    p.class("Made");
    let init = p.method("Made", "__init__", "self, c");
    p.gate();
    p.invoke(leaf);
    p.close();
    p.end();
    p.line("");
    let trampoline = p.trampoline(init);
    p.text("def _wider(self, a, b, d):\n    pass\n\n");
    p.line("_fits, _misfit = Made.__init__.__code__, _wider.__code__");
    p.line("");
    let depth = p.parameters().depth;
    let makers: Vec<Fun> = (0..p.parameters().width)
        .map(|index| {
            let maker = maker(p, index, init, trampoline, random.random_bool(0.7));
            parts::chain(p, &format!("to_{index}"), if index % 2 == 0 { 0 } else { depth }, maker)
        })
        .collect();
    p.line("_module = type(itertools)('_module')");
    p.line("_module.__dir__ = _wider");
    p.line("");
    let in_vain = [
        ("exec_in_vain", "exec(_wider.__code__)"),
        ("call_in_vain", "next(iter(_wider, None))"),
        ("list_in_vain", "dir(_module)"),
    ]
    .map(|(name, text)| in_vain(p, name, text));
    p.open(main, "def main(c):");
    p.rounds();
    for fun in makers.into_iter().chain(in_vain) {
        p.invoke(fun);
    }
    p.gate();
    p.end();
    p.close();
    1
}

/// A function that creates instances at one place. If `fails`, one of the calls fails.
fn maker(p: &mut Program<'_>, index: u32, init: Fun, trampoline: Fun, fails: bool) -> Fun {
    let fun = p.define(&format!("make_{index}"), "c");
    p.locals(p.parameters().frame_size.locals(index));
    p.gate();
    p.block(&format!("for i in range({ROUNDS}):"));
    if fails {
        p.line(&format!("if i == {MISFIT}: Made.__init__.__code__ = _misfit"));
        p.line(&format!("if i == {}: Made.__init__.__code__ = _fits", MISFIT + 1));
    }
    p.block("try:");
    let site = p.site(init);
    p.through(site, "Made(@)");
    p.instantiates(trampoline);
    p.beside("except TypeError:");
    p.gate();
    p.end();
    p.end();
    p.gate();
    p.close();
    fun
}

/// A function in which C makes a frame that never runs.
fn in_vain(p: &mut Program<'_>, name: &str, text: &str) -> Fun {
    let fun = p.define(name, "c");
    p.gate();
    p.block("try:");
    p.line(text);
    p.beside("except TypeError:");
    p.gate();
    p.end();
    p.gate();
    p.close();
    fun
}
