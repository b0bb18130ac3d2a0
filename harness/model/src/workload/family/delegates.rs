//! Generators that delegate to an iterator that is not a generator. An exception thrown into them goes to a method of
//! the iterator. C calls that method while the generator is linked as its caller.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program, Site};

/// A method of the iterator.
struct Method {
    name: &'static str,
    arguments: &'static str,
    first: Option<&'static str>,
    last: &'static str,
}

const METHODS: [Method; 4] = [
    Method { name: "__iter__", arguments: "self", first: None, last: "return self" },
    Method { name: "__next__", arguments: "self", first: None, last: "return 1" },
    Method { name: "send", arguments: "self, x", first: None, last: "return 1" },
    Method {
        name: "throw",
        arguments: "self, *x",
        first: Some("if isinstance(x[0], KeyError) or x[0] is KeyError: raise KeyError"),
        last: "return 1",
    },
];

pub(super) const SPEC: FamilySpec = FamilySpec {
    yields: true,
    // gh-126091.
    linked_since: Some((
        (3, 14),
        "releases of 3.13 do not link a generator while the `throw` of what it delegates to runs",
    )),
    ..FamilySpec::new(emit)
};

/// Emits `main`, the iterator, its generator and the functions that resume it; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let leaf = parts::leaf(p, "leaf", 0);
    let methods: Vec<(&Method, Fun)> =
        METHODS.iter().map(|method| (method, p.declare(&format!("Delegate.{}", method.name)))).collect();

    // The generator comes first, because the methods must know the sites that call them.
    let outer = p.name("outer");
    let outer_fun = p.declare(&outer);
    p.open(outer_fun, &format!("def {outer}():"));
    p.locals(p.parameters().frame_size.locals(1));
    let sites: Vec<Site> = methods.iter().map(|(_, fun)| p.site(*fun)).collect();
    p.line("yield from _delegate");
    p.here(&sites);
    p.close();

    p.class("Delegate");
    for ((method, fun), site) in methods.into_iter().zip(sites) {
        p.open(fun, &format!("def {}({}):", method.name, method.arguments));
        let context = p.context_from("_w[0]", site);
        p.take_from(&context);
        p.gate();
        if let Some(first) = method.first {
            p.line(first);
        }
        p.invoke(leaf);
        p.gate();
        p.line(method.last);
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
