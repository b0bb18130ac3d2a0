//! Generators that delegate to an iterator that is none: what is thrown into them goes to a method of it, called from C
//! while the generator is linked as its caller.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::parts;
use super::program::{Fun, Program};

/// Emits `main`, the iterator, its generator and those who resume it; returns the number of threads.
pub(super) fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let leaf = parts::leaf(p, "leaf", 0);
    let methods = ["__next__", "send", "throw"].map(|method| p.declare(&format!("Delegate.{method}")));
    let [next, send, throw] = methods;

    // The generator comes first: the methods must know through which sites they are reached.
    let outer = p.name("outer");
    let outer_fun = p.declare(&outer);
    p.open(outer_fun, &format!("def {outer}():"));
    p.locals(p.parameters().frame_size.locals(1));
    let sites = methods.map(|method| p.site(method));
    p.line("yield from _delegate");
    p.here(&sites);
    p.close();

    p.class("Delegate");
    p.line("def __iter__(self): return self");
    for ((method, site), arguments) in [next, send, throw].into_iter().zip(sites).zip(["self", "self, x", "self, *x"]) {
        let name = ["__next__", "send", "throw"].into_iter().zip(methods).find(|(_, fun)| *fun == method);
        p.open(method, &format!("def {}({arguments}):", name.map_or("", |(name, _)| name)));
        let context = p.context_from("_w[0]", site);
        p.take_from(&context);
        p.gate();
        if method == throw {
            p.line("if x[0] is KeyError: raise KeyError");
        }
        p.invoke(leaf);
        p.gate();
        p.line("return 1");
        p.close();
    }
    p.end();
    p.line("_delegate = Delegate()");
    p.line("");

    let resumers: Vec<Fun> = (0..p.parameters().width)
        .map(|index| {
            let kind = random.random_range(0..4);
            let fun = p.define(&format!("resume_{index}"), "c, k");
            p.locals(p.parameters().frame_size.locals(2 + index));
            p.gate();
            p.aimed(outer_fun, ["next(k)", "k.send(1)", "k.throw(ValueError)", "any(itertools.islice(k, 1))"][kind]);
            p.aimed(outer_fun, "k.throw(ValueError)");
            p.gate();
            p.close();
            fun
        })
        .collect();

    p.open(main, "def main(c):");
    p.rounds();
    p.make(outer_fun, &format!("k = {outer}()"));
    p.aimed(outer_fun, "next(k)");
    for resumer in resumers {
        let name = p.identifier(resumer);
        p.call(resumer, &format!("{name}(@, k)"));
    }
    p.block("try:");
    p.aimed(outer_fun, "k.throw(KeyError)");
    p.beside("except KeyError:");
    p.gate();
    p.end();
    p.end();
    p.close();
    1
}
