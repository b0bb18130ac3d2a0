//! Frames that outlive their call in frame objects and tracebacks.
//!
//! When such a frame leaves the stack, its contents move into its frame object, and its callers get frame objects, too.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program};

/// How many frames are kept at the same time.
const KEPT: u32 = 8;

pub(super) const SPEC: FamilySpec = FamilySpec::new(emit);

/// Emits `main` and the keepers; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let leaf = parts::leaf(p, "leaf", 0);
    // A kept frame must never be reachable from its own locals, because cycles are not collected.
    p.line(&format!("_kept = [None] * {KEPT}"));
    p.line("");
    let generator = p.define("generator", "");
    p.line("yield 1");
    p.close();
    let look = look(p, leaf);
    let depth = p.parameters().depth;
    let first = random.random_range(0..5);
    let keepers: Vec<_> = (0..p.parameters().width)
        .map(|index| {
            let mut below = keeper(p, index, (first + index) % 5, leaf, generator);
            for level in 0..depth {
                let name = p.identifier(below);
                let fun = p.define(&format!("kept_{index}_{level}"), "c");
                p.locals(p.parameters().frame_size.locals(index + level));
                p.gate();
                p.call(below, &format!("return {name}(@)"));
                p.close();
                below = fun;
            }
            below
        })
        .collect();
    p.open(main, "def main(c):");
    p.rounds();
    for (index, keeper) in keepers.into_iter().enumerate() {
        let name = p.identifier(keeper);
        p.call(keeper, &format!("_kept[{index}] = {name}(@)"));
        p.gate();
    }
    p.invoke(look);
    p.end();
    p.close();
    1
}

/// A function that leaves a frame or a traceback behind.
fn keeper(p: &mut Program<'_>, index: u32, way: u32, leaf: Fun, generator: Fun) -> Fun {
    let generator_name = p.identifier(generator);
    let raiser = (way == 2).then(|| {
        let fun = p.define(&format!("raiser_{index}"), "c");
        p.gate();
        p.invoke(leaf);
        p.line("raise KeyError");
        p.close();
        fun
    });
    let fun = p.define(&format!("keeper_{index}"), "c");
    p.locals(p.parameters().frame_size.locals(index));
    p.gate();
    match (way, raiser) {
        (0, _) => {
            p.invoke(leaf);
            p.line("return _getframe()");
        }
        (1, _) => {
            p.line("g = _getframe(1).f_lineno");
            p.gate();
            p.line("return _getframe(1)");
        }
        (2, Some(raiser)) => {
            p.block("try:");
            p.invoke(raiser);
            p.beside("except KeyError as e:");
            p.gate();
            p.line("return e.__traceback__");
            p.end();
        }
        (3, _) => {
            p.make(generator, &format!("k = {generator_name}()"));
            p.make(generator, "next(k)");
            p.gate();
            p.line("return k.gi_frame");
            // The generator dies with this frame. Nothing runs in it any more, but it is closed under the caller.
        }
        _ => {
            p.line("f = _getframe()");
            p.gate();
            p.invoke(leaf);
            // For a while, the frame holds its own frame object.
            p.line("del f");
            p.gate();
        }
    }
    p.close();
    fun
}

/// A function that walks the kept frames and drops some of them.
fn look(p: &mut Program<'_>, leaf: Fun) -> Fun {
    let fun = p.define("look", "c");
    p.block("for k in _kept:");
    p.line("f = getattr(k, 'tb_frame', k)");
    p.block("while f is not None:");
    p.line("g = len(f.f_locals) + (f.f_lineno or 0)");
    p.line("f = f.f_back");
    p.end();
    p.gate();
    p.end();
    p.line("k = f = None");
    p.line("_kept[0] = None");
    p.invoke(leaf);
    p.gate();
    p.close();
    fun
}
