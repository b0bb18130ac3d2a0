//! What lies on both sides of the limits of CPython's unwinder: 32 threads and 1,024 addresses in its cache, chains of 1,536 frames, names
//! of 1,024 characters, more threads, one after the other, than the cache has entries; and positions that need many bits.

use super::program::{Fuel, Fun, Program};

/// More threads than the cache of CPython's unwinder has entries.
const THREADS: u32 = 33;
/// So many threads come and go, one at a time, in a round.
const VISITORS: u32 = 3;
/// Heights of towers: beyond the addresses of an entry, and the longest chain but for the few frames below; and beyond that.
const TOWERS: [u32; 5] = [1026, 1410, 1526, 1540, 5000];
/// Lines without code, so that the next ones need more than 16 bits.
const LINES: u32 = 1 << 16;
/// Columns before a call, so that its own need more than 8 bits.
const COLUMNS: usize = 300;
/// A tower has a gate at every so many frames, on the way up and down.
const STRIDE: u32 = 500;

/// Emits `main`, its towers, and the threads that wait; returns the number of threads.
pub(super) fn emit(p: &mut Program<'_>, main: Fun) -> u32 {
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
    // A column and a line that need more bits than most.
    p.gap(LINES);
    let wide = p.define("wide", "c");
    let site = p.site(leaf);
    let leaf_name = p.identifier(leaf);
    p.through(site, &format!("{:?}, {leaf_name}(@)", "-".repeat(COLUMNS)));
    p.close();
    // A name that is longer than the unwinder tells, and two that are not.
    let long = caller(p, &"n".repeat(1100), wide);
    let named = caller(p, &"n".repeat(1010), long);
    let named = caller(p, &"n".repeat(150), named);
    let tower = tower(p, named);

    p.open(main, "def main(c):");
    p.rounds();
    for _ in 0..VISITORS {
        p.line(&format!("h = [{}]", start(p, waiter)));
        p.line("_ready.acquire()");
        p.invoke(named);
        p.gate();
        leave(p);
    }
    p.line(&format!("h = [({}, _ready.acquire())[0] for j in range({THREADS})]", start(p, waiter)));
    p.invoke(named);
    p.gate();
    leave(p);
    for height in TOWERS {
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

/// Lets all threads end, and waits for that.
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

fn tower(p: &mut Program<'_>, top: Fun) -> Fun {
    let fun = p.define("tower", "n, c");
    let (name, top_name) = (p.identifier(fun), p.identifier(top));
    p.block("if n:");
    p.block(&format!("if n % {STRIDE} == 0:"));
    p.gate();
    p.end();
    let up = p.fuelled(fun, Fuel::Spend);
    p.through(up, &format!("{name}(n - 1, @)"));
    p.block(&format!("if n % {STRIDE} == 1:"));
    p.gate();
    p.end();
    p.beside("else:");
    let site = p.fuelled(top, Fuel::WhenSpent);
    p.through(site, &format!("{top_name}(@)"));
    p.end();
    p.close();
    fun
}
