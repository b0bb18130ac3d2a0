//! Branches called in turn by one caller.
//!
//! With frames of equal size, the branches use the same addresses. A cache that trusts an address puts the leaf of one
//! branch under the callers of another.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::program::{Fun, Program};

pub(super) const SPEC: FamilySpec = FamilySpec {
    draw_depth: |random| random.random_range(1..=12),
    is_straight: true,
    // It finds the splices of gh-151613, and more samples give tighter bounds.
    live_weight: 6.0,
    ..FamilySpec::new(emit)
};

/// Emits `main` and its branches; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let (width, depth) = (p.parameters().width, p.parameters().depth);
    let shared = random.random_bool(0.5).then(|| leaf(p, "leaf", 0, random));
    let mut branches = Vec::new();
    for branch in 0..width {
        let below = shared.clone().unwrap_or_else(|| leaf(p, &format!("leaf_{branch}"), branch, random));
        branches.push(chain(p, branch, depth, below, random));
    }
    p.open(main, "def main(c):");
    p.rounds();
    for (name, fun) in &branches {
        p.call(*fun, &format!("{name}(@)"));
        if random.random_bool(0.2) {
            p.gate();
        }
    }
    if random.random_bool(0.5) {
        // Two branches called from one line: only their own frames distinguish them.
        let sites: Vec<_> = branches.iter().take(2).map(|(_, fun)| p.site(*fun)).collect();
        let calls: Vec<_> =
            branches.iter().zip(&sites).map(|((name, _), s)| format!("{name}({})", p.context(*s))).collect();
        p.line(&calls.join("; "));
        p.here(&sites);
    }
    p.end();
    p.close();
    1
}

/// A leaf with gates on several lines, near and far. The frame stays, but its line changes.
fn leaf(p: &mut Program<'_>, base: &str, index: u32, random: &mut ChaCha8Rng) -> (String, Fun) {
    let name = p.name(base);
    let fun = p.declare(&name);
    p.open(fun, &format!("def {name}(c):"));
    p.locals(p.parameters().frame_size.locals(index));
    p.gate();
    p.work();
    p.gate();
    p.gap([0, 0, 20, 70, 300][random.random_range(0..5)]);
    p.gate();
    p.close();
    (name, fun)
}

/// One branch from its outermost function to the leaf. Returns the outermost one.
fn chain(p: &mut Program<'_>, branch: u32, depth: u32, leaf: (String, Fun), random: &mut ChaCha8Rng) -> (String, Fun) {
    let mut below = leaf;
    // Each such call doubles the number of contexts below it.
    let mut doubled = 0;
    for level in (0..depth).rev() {
        let name = p.name(&format!("b{branch}_{level}"));
        let fun = p.declare(&name);
        p.open(fun, &format!("def {name}(c):"));
        p.locals(p.parameters().frame_size.locals(branch * depth + level));
        // All branches have the same probability of a gate on each level, but not the same gates.
        if random.random_bool(0.2) {
            p.gate();
        }
        if random.random_bool(0.2) {
            p.invoke_spread(below.1);
        } else {
            p.invoke(below.1);
        }
        if random.random_bool(0.3) {
            p.gate();
        }
        if doubled < 2 && random.random_bool(0.2) {
            doubled += 1;
            p.call(below.1, &format!("return {}(@)", below.0));
        }
        p.close();
        below = (name, fun);
    }
    below
}
