//! Coroutines and asynchronous generators, driven by `send(None)` instead of an event loop.
//!
//! As with generators, the frames keep their addresses while the drivers at the root of the chain change.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program};

pub(super) const SPEC: FamilySpec = FamilySpec {
    // As for generators: contexts are nested expressions.
    deepest: 60,
    yields: true,
    ..FamilySpec::new(emit)
};

/// Emits `main`, the coroutines and their drivers; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let helper = parts::leaf(p, "helper", 0);
    p.class("Pause");
    let pause = p.method("Pause", "__await__", "self");
    p.line("yield");
    p.close();
    p.end();
    p.line("_pause = Pause()");
    p.line("");
    let (chain, outermost) = awaits(p, helper, pause);
    let (consumer, ticks) = asynchronous_for(p, helper, pause);
    let width = p.parameters().width;
    let drivers: Vec<_> = (0..width).map(|index| driver(p, index, outermost, consumer, random)).collect();
    let by_hand = by_hand(p, ticks);

    let (outer_name, consumer_name) = (p.identifier(outermost), p.identifier(consumer));
    p.open(main, "def main(c):");
    p.make(consumer, &format!("a = {consumer_name}()"));
    p.rounds();
    if p.has_rounds() {
        // The coroutine from the previous round may be anywhere in its loop.
        end(p, &[ticks, consumer], pause, &format!("a = {consumer_name}()"));
    }
    p.make(outermost, &format!("k = {outer_name}()"));
    // An exception can be thrown only into a coroutine that has started.
    p.aimed(outermost, "k.send(None)");
    for _ in 0..2 {
        for &driver in &drivers {
            let name = p.identifier(driver);
            p.call(driver, &format!("a = {name}(@, k, a) or {consumer_name}()"));
            p.makes(consumer);
            if random.random_bool(0.3) {
                p.gate();
            }
        }
    }
    p.invoke(by_hand);
    end(p, &chain, pause, if random.random_bool(0.5) { "k.close()" } else { "k = None" });
    p.end();
    p.close();
    1
}

/// Emits a line that ends the suspended chain. It is closed from the inside, and each frame runs directly under the
/// closer.
fn end(p: &mut Program<'_>, chain: &[Fun], pause: Fun, text: &str) {
    let Some((&inner, outer)) = chain.split_first() else { return };
    let site = p.site(inner);
    p.aim_second(site);
    p.line(text);
    p.here(&[site]);
    p.makes(pause);
    for &fun in outer {
        p.makes(fun);
    }
    if p.gated() {
        p.line("_w[1] = 0");
    }
}

/// A chain of awaits. Returns its functions, innermost first, and the outermost one.
fn awaits(p: &mut Program<'_>, helper: Fun, pause: Fun) -> (Vec<Fun>, Fun) {
    let (size, depth) = (p.parameters().frame_size, p.parameters().depth);
    let inner_name = p.name("inner");
    let inner = p.declare(&inner_name);
    let names: Vec<_> = (0..depth).map(|level| p.name(&format!("step_{level}"))).collect();
    let funs: Vec<_> = names.iter().map(|name| p.declare(name)).collect();
    let mut context = String::from("_w[0]");
    for level in (0..names.len()).rev() {
        let (Some(name), Some(&fun)) = (names.get(level), funs.get(level)) else { continue };
        let below = level.checked_sub(1).and_then(|level| funs.get(level)).copied().unwrap_or(inner);
        let below_name = p.identifier(below);
        p.open(fun, &format!("async def {name}():"));
        p.locals(size.locals(u32::try_from(level).unwrap_or(0)));
        let site = p.site(below);
        p.line(&format!("await {below_name}()"));
        p.here(&[site]);
        p.makes(below);
        p.close();
        context = p.context_from(&context, site);
    }
    p.open(inner, &format!("async def {inner_name}():"));
    p.block("try:");
    p.block("while True:");
    p.block("try:");
    p.take_from(&context);
    p.gate();
    p.invoke(helper);
    p.call(pause, "await _pause");
    p.take_from(&context);
    p.gate();
    p.call(pause, "await _pause");
    p.beside("except ValueError:");
    p.take_from(&context);
    p.invoke(helper);
    p.gate();
    p.end();
    p.end();
    p.beside("finally:");
    p.take_from(&format!("_w[1] or {context}"));
    p.gate();
    p.invoke(helper);
    p.end();
    p.close();
    let outermost = funs.last().copied().unwrap_or(inner);
    (std::iter::once(inner).chain(funs).collect(), outermost)
}

/// A coroutine that consumes an asynchronous generator. Returns both.
fn asynchronous_for(p: &mut Program<'_>, helper: Fun, pause: Fun) -> (Fun, Fun) {
    let ticks_name = p.name("ticks");
    let ticks = p.declare(&ticks_name);
    let consumer_name = p.name("consumer");
    let consumer = p.declare(&consumer_name);
    p.open(consumer, &format!("async def {consumer_name}():"));
    p.locals(p.parameters().frame_size.locals(5));
    let site = p.site(ticks);
    let context = p.context_from("_w[0]", site);
    p.block(&format!("async for j in {ticks_name}(2):"));
    p.here(&[site]);
    p.makes(ticks);
    p.line("g = j");
    p.end();
    p.line(&format!("g = [j async for j in {ticks_name}(2)]"));
    p.here(&[site]);
    p.makes(ticks);
    p.close();

    let context = format!("_w[1] or {context}");
    p.open(ticks, &format!("async def {ticks_name}(n):"));
    p.locals(p.parameters().frame_size.locals(6));
    p.block("try:");
    p.block("for j in range(n):");
    p.take_from(&context);
    p.gate();
    p.call(pause, "await _pause");
    p.take_from(&context);
    p.invoke(helper);
    p.line("yield j");
    p.end();
    p.beside("finally:");
    p.take_from(&context);
    p.gate();
    p.end();
    p.close();
    (consumer, ticks)
}

/// A function that resumes coroutines it did not create, and returns whether the second one is done.
fn driver(p: &mut Program<'_>, index: u32, outermost: Fun, consumer: Fun, random: &mut ChaCha8Rng) -> Fun {
    let fun = p.define(&format!("driver_{index}"), "c, k, a");
    p.locals(p.parameters().frame_size.locals(10 + index));
    p.gate();
    p.aimed(outermost, if random.random_bool(0.7) { "k.send(None)" } else { "k.throw(ValueError)" });
    p.block("try:");
    p.aimed(consumer, "a.send(None)");
    p.beside("except StopIteration:");
    p.gate();
    p.line("return None");
    p.end();
    p.gate();
    p.line("return a");
    p.close();
    fun
}

/// An asynchronous generator whose awaitables are driven by `send` without a coroutine.
fn by_hand(p: &mut Program<'_>, ticks: Fun) -> Fun {
    let name = p.identifier(ticks);
    let fun = p.define("by_hand", "c");
    p.make(ticks, &format!("t = {name}(2)"));
    p.line("w = t.__anext__()");
    let site = p.site(ticks);
    p.aim_second(site);
    p.line("w.send(None)");
    p.here(&[site]);
    p.gate();
    for text in ["w.send(None)", "t.aclose().send(None)"] {
        p.block("try:");
        p.line(text);
        p.here(&[site]);
        p.beside("except StopIteration:");
        p.gate();
        p.end();
    }
    if p.gated() {
        p.line("_w[1] = 0");
    }
    p.close();
    fun
}
