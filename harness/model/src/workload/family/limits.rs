//! Stacks, names and threads on both sides of the limits of CPython's unwinder: 32 threads and 1,024 addresses in its
//! cache, chains of 1,536 frames, and names of 1,024 characters. Over time, there are more threads than the cache has
//! entries. Some positions need many bits.

use rand_chacha::ChaCha8Rng;

use super::program::{Fuel, Fun, Program};
use super::{FamilySpec, FamilyThreads};

/// More threads than the cache of CPython's unwinder has entries.
const THREADS: u32 = 33;
/// The number of threads in a round that come and go, one at a time.
const VISITORS: u32 = 3;
/// Heights of towers: more than the addresses of an entry, nearly the longest chain (the few frames below complete it),
/// and beyond that.
const TOWERS: [u32; 5] = [1026, 1410, 1526, 1540, 5000];
/// Heights of towers without gates of their own. With them, `main` has the last address that an entry holds, or the
/// first that it does not. Above `main` are the tower's frames, which are one more than its height, and the five that
/// it calls. An entry is made at the leaf, and `main` is the next frame to be the anchor. At index 1,023 it gives a
/// partial hit, with the module's frame from the cache. At 1,024 it gives a miss. Each height occurs twice, because the
/// sequence may jump in between, which turns the hit into a miss.
const PLAIN_TOWERS: [u32; 4] = [1017, 1018, 1017, 1018];
/// The number of lines without code. The lines after them need more than 16 bits.
const LINES: u32 = 1 << 16;
/// The columns before a call. The columns of the call need more than 8 bits.
const COLUMNS: usize = 300;
/// A tower has a gate every this many frames, on the way up and down.
const STRIDE: u32 = 500;

pub(super) const SPEC: FamilySpec =
    FamilySpec { threads: FamilyThreads::Waiting, exceeds_limits: true, ..FamilySpec::new(emit) };

/// Emits `main`, its towers, and the threads that wait; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, _random: &mut ChaCha8Rng) -> u32 {
    p.line("_ready = _thread.allocate_lock()");
    p.line("_go = _thread.allocate_lock()");
    p.line("_ready.acquire()");
    p.line("_go.acquire()");
    p.line("");
    let waits = p.define("waits", "c");
    p.line("_ready.release()");
    p.line("_go.acquire()");
    p.line("_go.release()");
    p.close();
    let calls = caller(p, "calls", waits);
    let waiter = {
        let name = p.name("waiter");
        let fun = p.declare_root(&name);
        p.open(fun, &format!("def {name}(c):"));
        p.invoke(calls);
        p.close();
        fun
    };
    let leaf = p.define("leaf", "c");
    p.gate();
    p.gate();
    p.close();
    // A column and a line that need more bits than usual.
    p.gap(LINES);
    let wide = p.define("wide", "c");
    let site = p.site(leaf);
    let leaf_name = p.identifier(leaf);
    p.through(site, &format!("{:?}, {leaf_name}(@)", "-".repeat(COLUMNS)));
    p.close();
    // A name that is longer than the unwinder returns, and two that are not.
    let long = caller(p, &"n".repeat(1100), wide);
    let named = caller(p, &"n".repeat(1010), long);
    let named = caller(p, &"n".repeat(150), named);
    let plain_tower = tower(p, "plain_tower", named, false);
    let tower = tower(p, "tower", named, true);

    p.open(main, "def main(c):");
    p.rounds();
    // The threads that come together are first. A cache that is new or was just swept then has entries for 32 living
    // threads. After the visitors it also has entries for threads that have ended. The cache is usually new or swept
    // among the towers.
    p.line(&format!("h = [({}, _ready.acquire())[0] for j in range({THREADS})]", start(p, waiter)));
    p.invoke(named);
    p.gate();
    leave(p);
    for _ in 0..VISITORS {
        p.line(&format!("h = [{}]", start(p, waiter)));
        p.line("_ready.acquire()");
        p.invoke(named);
        p.gate();
        leave(p);
    }
    let plain = PLAIN_TOWERS.map(|height| (plain_tower, height));
    for (tower, height) in plain.into_iter().chain(TOWERS.map(|height| (tower, height))) {
        let name = p.identifier(tower);
        let site = p.fuelled(tower, Fuel::Set(height));
        p.through(site, &format!("{name}({height}, @)"));
        p.gate();
    }
    p.end();
    p.close();
    THREADS + 1
}

/// The expression that starts a thread.
fn start(p: &Program<'_>, waiter: Fun) -> String {
    let (name, context) = (p.identifier(waiter), p.root_context(waiter));
    format!("_thread.start_joinable_thread(_functools.partial({name}, {context}))")
}

/// Lets all threads end, and waits for them.
fn leave(p: &mut Program<'_>) {
    p.line("_go.release()");
    p.block("for t in h:");
    p.line("t.join()");
    p.end();
    p.line("_go.acquire()");
    p.gate();
}

fn caller(p: &mut Program<'_>, base: &str, below: Fun) -> Fun {
    let fun = p.define(base, "c");
    p.invoke(below);
    p.close();
    fun
}

/// Emits a function that calls itself `n` times and then calls `top`.
fn tower(p: &mut Program<'_>, base: &str, top: Fun, has_gates: bool) -> Fun {
    let fun = p.define(base, "n, c");
    let (name, top_name) = (p.identifier(fun), p.identifier(top));
    let gate = |p: &mut Program<'_>, rest: u32| {
        if has_gates {
            p.block(&format!("if n % {STRIDE} == {rest}:"));
            p.gate();
            p.end();
        }
    };
    p.block("if n:");
    gate(p, 0);
    let up = p.fuelled(fun, Fuel::Spend);
    p.through(up, &format!("{name}(n - 1, @)"));
    gate(p, 1);
    p.beside("else:");
    let site = p.fuelled(top, Fuel::WhenSpent);
    p.through(site, &format!("{top_name}(@)"));
    p.end();
    p.close();
    fun
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use framewalk::cache::Limits;

    use crate::workload::{Family, FrameSize, Mode, Names, Parameters, generate};

    /// The number of frames above `main` at the gates of the leaf, which come right before the gate in `main`.
    #[test]
    fn main_is_the_last_address_in_an_entry_or_the_first_beyond_it() {
        let parameters =
            Parameters { depth: 2, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
        let grammar = generate(Family::Limits, Mode::Gated, &parameters, 1).grammar;
        let is_leaf = |function: u32| grammar.functions[function as usize].name == "leaf";
        let leaves = (0..).zip(&grammar.contexts).filter(|(_, context)| is_leaf(context.function));
        let mut above = BTreeSet::new();
        for (context, _) in leaves {
            let path: Vec<&str> = grammar.path(context).iter().map(|function| &*function.name).collect();
            if path.contains(&"plain_tower") {
                assert_eq!(path[path.len() - 2..], ["main", "<module>"]);
                above.insert(path.len() - 2);
            }
        }
        let last = Limits::CPYTHON.addresses - 1;
        assert_eq!(above, [last, last + 1].into());
    }
}
