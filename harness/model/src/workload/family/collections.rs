//! Collections: code that a collection runs, next to the same code run by the last reference that goes.
//!
//! A collection runs in C, on top of the frame in which it began. The finalizers and callbacks that it calls are on top
//! of that. Between two looks at one frame, a collection can begin and end without a frame that enters or leaves.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts::{self, Dying};
use super::program::{Fun, Program};

/// The number of ways in which a function collects, or drops the last reference.
const WAYS: u32 = 4;
/// What every collection visits. It takes long enough for a stop to fall into it, and short enough for other stops.
const HEAP: u32 = 2000;

pub(super) const SPEC: FamilySpec = FamilySpec { collects: true, ..FamilySpec::new(emit) };

/// Emits `main` and the functions that it calls in turn; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let leaf = parts::leaf(p, "leaf", 0);
    let dying = Dying::emit(p, leaf);
    let cyclic = cyclic(p, leaf);
    let on_clear = p.define("on_clear", "reference");
    p.take_from("_w[1]");
    p.gate();
    p.invoke(leaf);
    p.close();
    p.runs_in_collection(on_clear);
    // Nothing that exists before the program is visited.
    p.line("gc.freeze()");
    p.line(&format!("_heap = [[] for i in range({HEAP})]"));
    p.line("");

    let first = random.random_range(0..WAYS);
    let depth = p.parameters().depth;
    let holders: Vec<Fun> = (0..p.parameters().width.max(WAYS))
        .map(|index| {
            let holder = holder(p, index, (first + index) % WAYS, leaf, &dying, &cyclic, on_clear);
            parts::chain(p, &format!("to_{index}"), if index % 2 == 0 { 0 } else { depth }, holder)
        })
        .collect();
    p.open(main, "def main(c):");
    p.rounds();
    for holder in holders {
        p.invoke(holder);
        p.gate();
    }
    p.end();
    p.close();
    1
}

/// A class whose instances refer to themselves, so that only a collection finalizes them.
struct Cyclic {
    del: Fun,
    init: Fun,
    trampoline: Fun,
}

fn cyclic(p: &mut Program<'_>, leaf: Fun) -> Cyclic {
    p.class("Cyclic");
    let init = p.method("Cyclic", "__init__", "self, c");
    p.line("self.c = c");
    p.line("self.me = self");
    p.close();
    let del = p.method("Cyclic", "__del__", "self");
    p.take_from("self.c");
    p.gate();
    p.invoke(leaf);
    p.gate();
    p.close();
    p.end();
    p.runs_in_collection(del);
    let trampoline = p.trampoline(init);
    Cyclic { del, init, trampoline }
}

/// A function that collects in one way, or drops the last reference.
fn holder(p: &mut Program<'_>, index: u32, way: u32, leaf: Fun, dying: &Dying, cyclic: &Cyclic, on_clear: Fun) -> Fun {
    let fun = p.define(&format!("holder_{index}"), "c");
    p.locals(p.parameters().frame_size.locals(index));
    p.gate();
    match way {
        // The collection itself, between work of the same frame.
        0 => {
            p.work();
            p.line("gc.collect()");
            p.work();
            p.line("gc.collect()");
        }
        1 | 2 => {
            let del = p.site(cyclic.del);
            let context = p.context(del);
            p.line(&format!("x = Cyclic({context})"));
            let init = p.site(cyclic.init);
            p.here(&[init]);
            p.instantiates(cyclic.trampoline);
            let cleared = p.site(on_clear);
            if way == 2 {
                p.aim_second(cleared);
                let name = p.identifier(on_clear);
                p.line(&format!("r = _weakref.ref(x, {name})"));
            }
            p.line("del x");
            p.gate();
            p.line("gc.collect()");
            let called = [del, cleared];
            p.here(if way == 2 { &called } else { called.get(..1).unwrap_or_default() });
        }
        _ => {
            let del = p.site(dying.del);
            let context = p.context(del);
            p.line(&format!("x = Dying({context})"));
            dying.made_here(p);
            p.gate();
            p.line("del x");
            p.here(&[del]);
        }
    }
    p.invoke(leaf);
    p.gate();
    p.close();
    fun
}
