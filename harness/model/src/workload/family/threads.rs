//! Threads with their own branches. Some of the threads come and go.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::parts;
use super::program::{Fun, Program};
use super::{FamilySpec, FamilyThreads};

pub(super) const SPEC: FamilySpec = FamilySpec { threads: FamilyThreads::Running, ..FamilySpec::new(emit) };

/// Emits `main`, the workers that stay and the visitors that come and go; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    p.lock_gates();
    let (width, depth) = (p.parameters().width, p.parameters().depth);
    let leaf = parts::leaf(p, "leaf", 0);
    // Besides the workers, there are the main thread and at most one visitor.
    let workers: Vec<_> = (0..width.min(6))
        .map(|index| {
            let top = parts::chain(p, &format!("w{index}"), depth + index % 2, leaf);
            let other = parts::chain(p, &format!("o{index}"), depth, leaf);
            root(p, &format!("worker_{index}"), &[top, other], true)
        })
        .collect();
    let visitors: Vec<_> = (0..2)
        .map(|index| {
            let top = parts::chain(p, &format!("v{index}"), depth, leaf);
            root(p, &format!("visitor_{index}"), &[top], false)
        })
        .collect();
    let own = parts::chain(p, "own", depth, leaf);

    // CPython's own walker rejects the whole process while a thread has no Python frame yet. A new thread has none
    // until its first turn. Turns are therefore short, and `main` does other things between visits.
    p.line(&format!("sys.setswitchinterval({})", if random.random_bool(0.5) { "0.0005" } else { "0.00005" }));
    p.line("");
    let pause = if p.gated() { 3 } else { 10 + 50_000 / (p.parameters().speed + 10) };
    p.open(main, "def main(c):");
    for &worker in &workers {
        let (name, context) = (p.identifier(worker), p.root_context(worker));
        p.line(&format!("_thread.start_new_thread({name}, ({context},))"));
    }
    p.rounds();
    for visitor in visitors {
        let (name, context) = (p.identifier(visitor), p.root_context(visitor));
        p.line(&format!("h = _thread.start_joinable_thread(_functools.partial({name}, {context}))"));
        p.invoke(own);
        p.gate();
        p.line("h.join()");
        p.block(&format!("for j in range({pause}):"));
        p.invoke(own);
        p.end();
    }
    p.end();
    p.close();
    u32::try_from(workers.len()).unwrap_or(0) + 2
}

/// The function that a thread starts with.
fn root(p: &mut Program<'_>, base: &str, branches: &[Fun], stays: bool) -> Fun {
    let name = p.name(base);
    let fun = p.declare_root(&name);
    p.open(fun, &format!("def {name}(c):"));
    if stays {
        p.block("while True:");
    }
    p.gate();
    for &branch in branches {
        p.invoke(branch);
    }
    if stays {
        p.end();
    }
    p.gate();
    p.close();
    fun
}
