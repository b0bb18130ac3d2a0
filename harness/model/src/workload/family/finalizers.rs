//! Finalizers that run Python code while a frame is cleared.
//!
//! A frame leaves the stack before its locals are cleared. Their finalizers run under the *caller* of the dying frame,
//! on the line of the call, while the storage of the dying frame is still reserved.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts::{self, Dying};
use super::program::{Fun, Program};

/// The number of ways to die.
const WAYS: u32 = 8;

struct Mortals {
    leaf: Fun,
    dying: Dying,
    generator: Fun,
    taker: Fun,
    on_death: Fun,
}

pub(super) const SPEC: FamilySpec = FamilySpec { yields: true, ..FamilySpec::new(emit) };

/// Emits `main` and the holders of what dies; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let leaf = parts::leaf(p, "leaf", 0);
    let dying = Dying::emit(p, leaf);
    let generator = p.define("generator", "");
    p.block("try:");
    p.line("yield 1");
    p.beside("finally:");
    p.take_from("_w[1]");
    p.gate();
    p.invoke(leaf);
    p.end();
    p.close();
    let taker = p.define("taker", "y");
    p.work();
    p.close();
    let on_death = p.define("on_death", "reference");
    p.take_from("_w[1]");
    p.gate();
    p.invoke(leaf);
    p.close();
    p.text("class Plain:\n    pass\n\n");
    let mortals = Mortals { leaf, dying, generator, taker, on_death };

    let first = random.random_range(0..WAYS);
    let holders: Vec<_> =
        (0..p.parameters().width).map(|index| holder(p, index, (first + index) % WAYS, &mortals)).collect();
    let chained = chained(p, &mortals);
    p.open(main, "def main(c):");
    p.rounds();
    for holder in holders {
        p.invoke(holder);
        p.gate();
    }
    dies_with(p, chained, &mortals.dying);
    p.end();
    p.close();
    1
}

/// Emits a call of a function that dies together with an instance of `Dying`. The finalizer runs under this line.
fn dies_with(p: &mut Program<'_>, fun: Fun, dying: &Dying) {
    let name = p.identifier(fun);
    let del = p.site(dying.del);
    let context = p.context(del);
    p.call(fun, &format!("{name}(@, {context})"));
    p.here(&[del]);
}

/// Emits a line that creates an instance, which dies on a line of the same function. `#` in the text is the instance.
fn made(p: &mut Program<'_>, dying: &Dying, text: &str) -> super::program::Site {
    let del = p.site(dying.del);
    let context = p.context(del);
    p.line(&text.replace("#", &format!("Dying({context})")));
    dying.made_here(p);
    del
}

/// A chain of functions that each die with an instance, so that finalizers run all the way back.
fn chained(p: &mut Program<'_>, mortals: &Mortals) -> Fun {
    let mut below: Option<Fun> = None;
    for level in (0..=p.parameters().depth).rev() {
        let fun = p.define(&format!("chained_{level}"), "c, d");
        p.locals(p.parameters().frame_size.locals(level));
        p.line("x = Dying(d)");
        mortals.dying.made_here(p);
        match below {
            Some(below) => dies_with(p, below, &mortals.dying),
            None => {
                p.invoke(mortals.leaf);
            }
        }
        p.gate();
        p.close();
        below = Some(fun);
    }
    below.unwrap_or(mortals.leaf)
}

/// A function under which an object dies in one way.
fn holder(p: &mut Program<'_>, index: u32, way: u32, mortals: &Mortals) -> Fun {
    let Mortals { leaf, dying, generator, taker, on_death } = mortals;
    let size = p.parameters().frame_size.locals(index);
    let generator_name = p.identifier(*generator);
    let mortal = match way {
        // An object dies with this function's frame: a local, a suspended generator, a referent.
        0 | 1 => {
            let fun = p.define(&format!("mortal_{index}"), "c, d");
            p.locals(size);
            p.line("x = Dying(d)");
            dying.made_here(p);
            p.gate();
            p.invoke(*leaf);
            if way == 1 {
                p.line("raise KeyError");
            }
            p.close();
            Some(fun)
        }
        2 => {
            let fun = p.define(&format!("mortal_{index}"), "c");
            p.locals(size);
            p.make(*generator, &format!("x = {generator_name}()"));
            p.make(*generator, "next(x)");
            p.gate();
            p.close();
            Some(fun)
        }
        3 => {
            let name = p.identifier(*on_death);
            let fun = p.define(&format!("mortal_{index}"), "c");
            p.line("x = Plain()");
            p.line(&format!("r = _weakref.ref(x, {name})"));
            p.gate();
            p.invoke(*leaf);
            p.close();
            Some(fun)
        }
        _ => None,
    };
    let fun = p.define(&format!("holder_{index}"), "c");
    p.locals(size);
    p.gate();
    match (way, mortal) {
        (0, Some(mortal)) => dies_with(p, mortal, dying),
        (1, Some(mortal)) => {
            // The traceback keeps the frame, and the objects it holds, until the handler ends.
            let name = p.identifier(mortal);
            let del = p.site(dying.del);
            let context = p.context(del);
            p.block("try:");
            p.call(mortal, &format!("{name}(@, {context})"));
            p.beside("except KeyError:");
            p.here(&[del]);
            p.gate();
            p.here(&[del]);
            p.end();
        }
        (2 | 3, Some(mortal)) => {
            let last = p.site(if way == 2 { *generator } else { *on_death });
            p.aim_second(last);
            p.invoke(mortal);
            p.here(&[last]);
        }
        (4, _) => {
            let del = made(p, dying, "x = #");
            p.gate();
            p.line("del x");
            p.here(&[del]);
        }
        (5, _) => {
            let del = made(p, dying, "x = [#, 2, #]");
            dying.made_here(p);
            p.gate();
            p.line("x.clear()");
            p.here(&[del]);
        }
        (6, _) => {
            let name = p.identifier(*taker);
            let site = p.site(*taker);
            let del = made(p, dying, &format!("{name}(#)"));
            p.here(&[site, del]);
        }
        _ => {
            p.make(*generator, &format!("x = {generator_name}()"));
            p.make(*generator, "next(x)");
            let last = p.site(*generator);
            p.aim_second(last);
            p.line("x = None");
            p.here(&[last]);
        }
    }
    p.gate();
    p.close();
    fun
}
