//! Deep stacks that grow and shrink across the borders of data-stack chunks.
//!
//! A tower of small frames brings the stack to some depth. On top of it, tails of frames of at least a kilobyte grow
//! and shrink. A chunk holds 16 KiB, so every tail leaves its chunk and comes back.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fuel, Fun, Program};
use crate::workload::parameters::MOST_DEEP;

/// The smallest number of extra locals in a tail's frames. With it, the shortest tail is longer than a chunk.
const LARGE: u32 = 120;

pub(super) const SPEC: FamilySpec = FamilySpec {
    // CPython's walker keeps at most 1024 frames of a stack. The depths are on both sides of that.
    draw_depth: |random| match random.random_bool(0.5) {
        true => random.random_range(1030..=1300),
        false => random.random_range(100..=900),
    },
    deepest: MOST_DEEP,
    is_straight: true,
    ..FamilySpec::new(emit)
};

/// Emits `main` and its towers; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let depth = p.parameters().depth;
    let leaf = parts::leaf(p, "leaf", 0);
    let towers: Vec<(Fun, u32)> = (0..p.parameters().width.min(4))
        .map(|index| {
            let swing = swing(p, index, leaf, random);
            // The first two are about equally high, above the number of frames that a cache keeps, so that the same
            // addresses hold different functions. The others put the swing at different distances from a border.
            let height = if index < 2 { depth.saturating_sub(index * 3) } else { depth / index }.max(1);
            (tower(p, index, swing, (height / 8).max(1)), height)
        })
        .collect();
    p.open(main, "def main(c):");
    p.rounds();
    for (tower, height) in towers {
        let name = p.identifier(tower);
        let site = p.fuelled(tower, Fuel::Set(height));
        p.through(site, &format!("{name}({height}, @)"));
        p.gate();
    }
    p.end();
    p.close();
    1
}

/// Small frames up to the swing. Every `stride`-th frame has a gate on the way up and down.
fn tower(p: &mut Program<'_>, index: u32, swing: Fun, stride: u32) -> Fun {
    let fun = p.define(&format!("tower_{index}"), "n, c");
    let name = p.identifier(fun);
    let swing_name = p.identifier(swing);
    p.locals(p.parameters().frame_size.locals(index) % LARGE);
    p.block("if n:");
    p.block(&format!("if n % {stride} == 0:"));
    p.gate();
    p.end();
    let up = p.fuelled(fun, Fuel::Spend);
    p.through(up, &format!("{name}(n - 1, @)"));
    p.block(&format!("if n % {stride} == 1:"));
    p.gate();
    p.end();
    p.beside("else:");
    let top = p.fuelled(swing, Fuel::WhenSpent);
    p.through(top, &format!("{swing_name}(@)"));
    p.end();
    p.close();
    fun
}

/// Grows and shrinks tails of several lengths.
fn swing(p: &mut Program<'_>, index: u32, leaf: Fun, random: &mut ChaCha8Rng) -> Fun {
    let tail = p.define(&format!("tail_{index}"), "n, c");
    let name = p.identifier(tail);
    p.locals(LARGE + p.parameters().frame_size.locals(index));
    p.block("if n:");
    let up = p.fuelled(tail, Fuel::Spend);
    p.through(up, &format!("{name}(n - 1, @)"));
    p.block(&format!("if n % {} == 0:", 3 + index));
    p.gate();
    p.end();
    p.beside("else:");
    let top = p.fuelled(leaf, Fuel::WhenSpent);
    let leaf_name = p.identifier(leaf);
    p.through(top, &format!("{leaf_name}(@)"));
    p.end();
    p.close();

    let swing = p.define(&format!("swing_{index}"), "c");
    p.block("for j in range(3):");
    for length in [random.random_range(18..=24), random.random_range(1..=17), random.random_range(18..=24)] {
        let site = p.fuelled(tail, Fuel::Set(length));
        p.through(site, &format!("{name}({length}, @)"));
    }
    p.gate();
    p.end();
    p.close();
    swing
}
