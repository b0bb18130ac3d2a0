//! Exceptions that unwind through handlers, `finally` blocks and context managers.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fun, Program};

pub(super) const SPEC: FamilySpec =
    FamilySpec { draw_depth: |random| random.random_range(2..=24), ..FamilySpec::new(emit) };

/// Emits `main` and the levels between a handler and the function that raises; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let helper = parts::leaf(p, "helper", 0);
    p.block("class Oops(Exception):");
    let init = p.method("Oops", "__init__", "self, c");
    p.gate();
    p.close();
    p.end();
    p.class("Guard");
    let init_guard = p.method("Guard", "__init__", "self, c, a, b");
    p.line("self.a = a");
    p.line("self.b = b");
    p.gate();
    p.close();
    let guard = Guard {
        init: init_guard,
        trampoline: p.trampoline(init_guard),
        enter: {
            let fun = p.method("Guard", "__enter__", "self");
            p.take_from("self.a");
            p.gate();
            p.close();
            fun
        },
        exit: {
            let fun = p.method("Guard", "__exit__", "self, kind, value, traceback");
            p.take_from("self.b");
            p.gate();
            p.invoke(helper);
            p.close();
            fun
        },
    };
    p.end();

    let branches: Vec<_> = (0..p.parameters().width.min(4))
        .map(|branch| {
            let mut below = thrower(p, branch, helper, init);
            for level in (0..p.parameters().depth).rev() {
                below = unwound(p, branch, level, below, helper, &guard, random);
            }
            below
        })
        .collect();
    p.open(main, "def main(c):");
    p.rounds();
    for branch in branches {
        p.block("try:");
        p.invoke(branch);
        p.beside("except Exception:");
        p.gate();
        p.end();
    }
    p.end();
    p.close();
    1
}

struct Guard {
    init: Fun,
    trampoline: Fun,
    enter: Fun,
    exit: Fun,
}

fn thrower(p: &mut Program<'_>, branch: u32, helper: Fun, init: Fun) -> Fun {
    let fun = p.define(&format!("thrower_{branch}"), "c");
    p.locals(p.parameters().frame_size.locals(branch));
    p.gate();
    p.invoke(helper);
    match branch % 3 {
        0 => {
            p.line("raise ValueError");
        }
        1 => {
            p.call(init, "raise Oops(@)");
        }
        _ => {
            // Raised by C.
            p.line("return {}[c]");
        }
    }
    p.close();
    fun
}

/// One level that the exception passes through.
fn unwound(
    p: &mut Program<'_>,
    branch: u32,
    level: u32,
    below: Fun,
    helper: Fun,
    guard: &Guard,
    random: &mut ChaCha8Rng,
) -> Fun {
    let fun = p.define(&format!("e{branch}_{level}"), "c");
    p.locals(p.parameters().frame_size.locals(branch + level));
    match random.random_range(0..10) {
        0 | 1 => {
            p.block("try:");
            p.invoke(below);
            p.beside("finally:");
            p.gate();
            p.invoke(helper);
            p.end();
        }
        2 => {
            p.block("try:");
            p.invoke(below);
            p.beside("except Exception:");
            p.invoke(helper);
            p.gate();
            p.line("raise");
            p.end();
        }
        3 => {
            p.block("try:");
            p.invoke(below);
            p.beside("except Exception as e:");
            p.gate();
            p.line("raise KeyError(1) from e");
            p.end();
        }
        4 => {
            p.block("try:");
            p.invoke(below);
            p.beside("except (ValueError, KeyError):");
            p.gate();
            p.invoke(helper);
            p.beside("else:");
            p.gate();
            p.end();
            p.gate();
            p.line("raise ValueError");
        }
        5 | 6 => {
            let sites = [guard.init, guard.enter, guard.exit].map(|method| p.site(method));
            let contexts = sites.map(|site| p.context(site)).join(", ");
            p.block(&format!("with Guard({contexts}):"));
            p.here(&sites);
            p.instantiates(guard.trampoline);
            p.invoke(below);
            p.end();
        }
        7 => {
            p.block("try:");
            p.invoke(below);
            p.beside("except* ValueError:");
            p.gate();
            p.end();
        }
        _ => {
            p.invoke(below);
            p.gate();
        }
    }
    p.close();
    fun
}
