//! Generators as leaves and as callers, resumed in every possible way by different callers.
//!
//! A generator's frame is outside the data stack. It keeps its address from one resumption to the next, while its
//! callers change. Every resumption therefore passes the context again.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::program::{Fun, Program};

pub(super) const SPEC: FamilySpec = FamilySpec {
    // Contexts along a chain of delegation are nested expressions, and the parser accepts only 200 nested brackets.
    deepest: 60,
    yields: true,
    ..FamilySpec::new(emit)
};

/// Emits `main`, its generators and the functions that resume them; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let size = p.parameters().frame_size;
    let helper = p.name("helper");
    let helper_fun = p.declare(&helper);
    p.open(helper_fun, &format!("def {helper}(c):"));
    p.gate();
    p.work();
    p.close();

    // A plain producer. Each value asks for the next context.
    let count = p.name("count");
    let count_fun = p.declare(&count);
    p.open(count_fun, &format!("def {count}(n):"));
    p.locals(size.locals(1));
    p.block("for j in range(n):");
    p.take();
    p.gate();
    p.call(helper_fun, &format!("{helper}(@)"));
    p.gate();
    p.line("yield j");
    p.end();
    p.take();
    p.gate();
    p.close();

    let inner = chain(p, helper_fun, &helper);
    let sum = p.name("consume");
    let sum_fun = consume(p, &sum, helper_fun, &helper);

    let width = p.parameters().width;
    let resumers: Vec<_> =
        (0..width).map(|index| resumer(p, index, random.random_range(0..4), &inner, count_fun)).collect();

    p.open(main, "def main(c):");
    p.rounds();
    p.make(count_fun, &format!("n = {count}({})", width * 3));
    p.make(inner.outermost(), &format!("k = {}()", inner.outer_name));
    for (name, fun) in &resumers {
        p.call(*fun, &format!("{name}(@, k, n)"));
        if random.random_bool(0.3) {
            p.gate();
        }
    }
    p.call(sum_fun, &format!("{sum}(@)"));
    p.aimed(count_fun, "for j in n:");
    p.line("    g = j");
    p.aimed(inner.outermost(), "k.throw(ValueError)");
    for (name, fun) in resumers.iter().rev() {
        p.call(*fun, &format!("{name}(@, k, n)"));
    }
    let ending = random.random_range(0..3);
    for way in 0..3 {
        // Every way to end a suspended generator, in random order.
        match (way + ending) % 3 {
            0 => inner.end(p, "k.close()"),
            1 => inner.end(p, "k = None"),
            _ => {
                p.block("try:");
                p.aimed(inner.outermost(), "k.throw(KeyError)");
                p.beside("except KeyError:");
                p.gate();
                p.end();
            }
        }
        if way < 2 {
            p.make(inner.outermost(), &format!("k = {}()", inner.outer_name));
            p.aimed(inner.outermost(), "next(k)");
        }
    }
    p.end();
    p.close();
    1
}

/// A chain of delegation.
struct Chain {
    /// The generators, innermost first.
    funs: Vec<Fun>,
    inner: Fun,
    outer_name: String,
}

impl Chain {
    fn outermost(&self) -> Fun {
        self.funs.last().copied().unwrap_or(self.inner)
    }

    /// Emits a line that ends a suspended chain. Closing goes from the innermost generator outwards and does not link
    /// the outer frames. Each of them runs its last lines directly under the frame that closed the chain.
    fn end(&self, p: &mut Program<'_>, text: &str) {
        let site = p.site(self.inner);
        p.aim_second(site);
        p.line(text);
        p.here(&[site]);
        for &fun in self.funs.iter().skip(1) {
            p.makes(fun);
        }
        if p.gated() {
            p.line("_w[1] = 0");
        }
    }
}

/// Emits the chain, outermost first, because the innermost generator must know the sites that reach it.
fn chain(p: &mut Program<'_>, helper_fun: Fun, helper: &str) -> Chain {
    let (size, depth) = (p.parameters().frame_size, p.parameters().depth);
    let names: Vec<_> =
        std::iter::once(p.name("inner")).chain((0..depth).map(|level| p.name(&format!("outer_{level}")))).collect();
    let funs: Vec<_> = names.iter().map(|name| p.declare(name)).collect();
    let mut context = String::from("_w[0]");
    let members: Vec<_> = names.iter().zip(&funs).collect();
    for (level, pair) in (0..).zip(members.windows(2)).collect::<Vec<(u32, _)>>().into_iter().rev() {
        let [(below, below_fun), (name, fun)] = pair else { continue };
        p.open(**fun, &format!("def {name}():"));
        p.locals(size.locals(3 + level));
        let site = p.site(**below_fun);
        p.line(&format!("yield from {below}()"));
        p.here(&[site]);
        p.makes(**below_fun);
        p.close();
        context = p.context_from(&context, site);
    }
    let inner = funs.first().copied().unwrap_or(helper_fun);
    let name = names.first().cloned().unwrap_or_default();
    p.open(inner, &format!("def {name}():"));
    p.locals(size.locals(2));
    p.take_from(&context);
    p.block("try:");
    p.block("while True:");
    p.gate();
    p.call(helper_fun, &format!("{helper}(@)"));
    p.block("try:");
    p.line("y = yield 1");
    p.take_from(&context);
    p.gate();
    p.beside("except ValueError:");
    p.take_from(&context);
    p.gate();
    p.call(helper_fun, &format!("{helper}(@)"));
    p.end();
    p.end();
    p.beside("finally:");
    p.take_from(&format!("_w[1] or {context}"));
    p.gate();
    p.call(helper_fun, &format!("{helper}(@)"));
    p.end();
    p.close();
    Chain { inner, outer_name: names.last().cloned().unwrap_or(name), funs }
}

/// A function that consumes a generator expression through C.
fn consume(p: &mut Program<'_>, name: &str, helper_fun: Fun, helper: &str) -> Fun {
    let fun = p.declare(name);
    let genexpr = p.declare(&format!("{name}.<locals>.<genexpr>"));
    p.open(fun, &format!("def {name}(c):"));
    p.gate();
    let outer = p.site(genexpr);
    let inner = p.site_of(genexpr, helper_fun);
    let context = p.context_from(&p.context(outer), inner);
    let line = p.line(&format!("any({helper}({context}) for j in (1, 2, 3))"));
    p.here(&[outer, inner]);
    p.makes(genexpr);
    p.on_line(genexpr, line);
    p.gate();
    p.close();
    fun
}

/// A function that resumes generators it did not create.
fn resumer(p: &mut Program<'_>, index: u32, kind: u32, chain: &Chain, count: Fun) -> (String, Fun) {
    let name = p.name(&format!("resume_{index}"));
    let fun = p.declare(&name);
    p.open(fun, &format!("def {name}(c, k, n):"));
    p.locals(p.parameters().frame_size.locals(10 + index));
    p.gate();
    p.aimed(chain.outermost(), if kind.is_multiple_of(2) { "next(k)" } else { "k.send(None)" });
    match kind {
        0 => {
            p.aimed(count, "next(n, None)");
        }
        1 => {
            p.aimed(count, "for j in n:");
            p.line("    break");
        }
        2 => {
            p.aimed(count, "any(itertools.islice(n, 2))");
        }
        _ => {
            p.aimed(count, "a = [j for j in itertools.islice(n, 1)]");
        }
    }
    p.gate();
    p.aimed(chain.outermost(), if kind == 3 { "k.throw(ValueError)" } else { "k.send(1)" });
    p.close();
    (name, fun)
}
