//! Calls whose arguments do not fit: a frame is taken from the data stack and given back before it runs.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts::{self, Dying};
use super::program::{Fun, Program};

/// Statements that fail. `#` is replaced by the name of the leaf.
const MISFITS: [&str; 16] = [
    "#()",
    "#(c, 2, 3, 4, 5, 6)",
    "#(c, bogus=1)",
    "#(c, c=1)",
    "#(*(1, 2, 3))",
    "#(**{'bogus': 1})",
    "_keyword_only(1)",
    "_keyword_only(b=1)",
    "_generator()",
    "_coroutine(1, 2)",
    "_method(1, 2, 3)",
    "Strict()",
    "Strict(1, 2, bogus=3)",
    "any(map(#, (1,), (2,), (3,)))",
    "_functools.partial(#, 1, 2)()",
    "sorted((1, 2), key=_keyword_only)",
];

pub(super) const SPEC: FamilySpec = FamilySpec::new(emit);

/// Emits `main` and the functions whose calls fail; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let leaf = parts::leaf(p, "leaf", 0);
    p.text("def _keyword_only(*, a, b):\n    pass\n\n");
    p.text("def _generator(a, b):\n    yield\n\n");
    p.text("async def _coroutine(a):\n    pass\n\n");
    p.class("Strict");
    p.text("def __init__(self, a, b):\n    pass\n");
    p.text("def method(self):\n    pass\n");
    p.end();
    p.line("_method = Strict(1, 2).method");
    p.line("");
    let dying = Dying::emit(p, leaf);
    let depth = p.parameters().depth;
    let first = random.random_range(0..MISFITS.len());
    let count = (p.parameters().width * 2) as usize;
    let callers: Vec<_> = (0..)
        .zip(MISFITS.iter().cycle().skip(first).take(count))
        .map(|(index, misfit)| {
            let caller = caller(p, index, misfit, leaf, &dying, random);
            parts::chain(p, &format!("to_{index}"), if index % 2 == 0 { 0 } else { depth }, caller)
        })
        .collect();
    p.open(main, "def main(c):");
    p.rounds();
    for caller in callers {
        p.invoke(caller);
    }
    p.gate();
    p.end();
    p.close();
    1
}

/// A function that makes a failing call, catches the exception, and makes a correct call.
fn caller(p: &mut Program<'_>, index: u32, misfit: &str, leaf: Fun, dying: &Dying, random: &mut ChaCha8Rng) -> Fun {
    let leaf_name = p.identifier(leaf);
    let fun = p.define(&format!("caller_{index}"), "c");
    p.locals(p.parameters().frame_size.locals(index));
    p.gate();
    p.block("try:");
    p.line(&misfit.replace('#', &leaf_name));
    p.beside("except TypeError:");
    p.gate();
    p.invoke(leaf);
    p.end();
    match random.random_range(0..3) {
        // The argument dies with the frame that never ran.
        0 => {
            p.block("try:");
            let del = p.site(dying.del);
            let context = p.context(del);
            p.line(&format!("{leaf_name}(c, Dying({context}))"));
            p.here(&[del]);
            dying.made_here(p);
            p.beside("except TypeError:");
            p.gate();
            p.end();
        }
        // One call instruction, specialised for arguments that fit, gets others.
        1 => {
            let site = p.site(leaf);
            let context = p.context(site);
            p.block(&format!("for a in (({context},), (), ({context},), (1, 2)):"));
            p.block("try:");
            p.line(&format!("{leaf_name}(*a)"));
            p.here(&[site]);
            p.beside("except TypeError:");
            p.gate();
            p.end();
            p.end();
        }
        _ => {
            p.invoke(leaf);
        }
    }
    p.gate();
    p.close();
    fun
}
