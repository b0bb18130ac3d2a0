//! Direct, mutual and branching recursion.
//!
//! The same code object is on the stack many times. Only addresses and callers distinguish its frames.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::FamilySpec;
use super::parts;
use super::program::{Fuel, Fun, Program};
use crate::workload::parameters::MOST_DEEP;

pub(super) const SPEC: FamilySpec = FamilySpec {
    draw_depth: |random| random.random_range(3..=40),
    deepest: MOST_DEEP,
    is_straight: true,
    ..FamilySpec::new(emit)
};

/// Emits `main` and its recursions; returns the number of threads.
fn emit(p: &mut Program<'_>, main: Fun, random: &mut ChaCha8Rng) -> u32 {
    let depth = p.parameters().depth;
    let leaf = parts::leaf(p, "leaf", 0);
    let mut recursions = vec![
        (direct(p, leaf), depth),
        (ring(p, leaf), depth),
        (tree(p, leaf), depth.min(random.random_range(2..=5))),
        (lambda(p, leaf), depth.min(60)),
        (method(p, leaf), depth.min(60)),
    ];
    let first = random.random_range(0..recursions.len());
    recursions.rotate_left(first);
    p.open(main, "def main(c):");
    p.rounds();
    for ((fun, name), fuel) in recursions {
        let site = p.fuelled(fun, Fuel::Set(fuel));
        p.through(site, &format!("{name}({fuel}, @)"));
        p.gate();
    }
    p.end();
    p.close();
    1
}

fn end_at(p: &mut Program<'_>, leaf: Fun) {
    let site = p.fuelled(leaf, Fuel::WhenSpent);
    let name = p.identifier(leaf);
    p.through(site, &format!("{name}(@)"));
}

fn direct(p: &mut Program<'_>, leaf: Fun) -> (Fun, String) {
    let fun = p.define("direct", "n, c");
    let name = p.identifier(fun);
    p.locals(p.parameters().frame_size.locals(1));
    p.block("if n:");
    let site = p.fuelled(fun, Fuel::Spend);
    p.through(site, &format!("{name}(n - 1, @)"));
    p.gate();
    p.beside("else:");
    end_at(p, leaf);
    p.end();
    p.close();
    (fun, name)
}

/// Functions that call each other in a ring.
fn ring(p: &mut Program<'_>, leaf: Fun) -> (Fun, String) {
    let width = p.parameters().width;
    let names: Vec<_> = (0..width).map(|index| p.name(&format!("ring_{index}"))).collect();
    let funs: Vec<_> = names.iter().map(|name| p.declare(name)).collect();
    let following = names.iter().zip(&funs).cycle().skip(1);
    for (index, ((name, &fun), (next, &next_fun))) in (0..).zip(names.iter().zip(&funs).zip(following)) {
        p.open(fun, &format!("def {name}(n, c):"));
        p.locals(p.parameters().frame_size.locals(2 + index));
        if index % 2 == 1 {
            p.gate();
        }
        p.block("if n:");
        let site = p.fuelled(next_fun, Fuel::Spend);
        p.through(site, &format!("{next}(n - 1, @)"));
        p.beside("else:");
        end_at(p, leaf);
        p.end();
        p.close();
    }
    (funs.first().copied().unwrap_or(leaf), names.first().cloned().unwrap_or_default())
}

/// A function in which each call makes two more: equal functions at equal addresses, with callers on different lines.
fn tree(p: &mut Program<'_>, leaf: Fun) -> (Fun, String) {
    let fun = p.define("tree", "n, c");
    let name = p.identifier(fun);
    p.block("if n:");
    let left = p.fuelled(fun, Fuel::Spend);
    p.through(left, &format!("{name}(n - 1, @)"));
    p.gate();
    let right = p.fuelled(fun, Fuel::Spend);
    p.through(right, &format!("{name}(n - 1, @)"));
    p.beside("else:");
    end_at(p, leaf);
    p.end();
    p.close();
    (fun, name)
}

fn lambda(p: &mut Program<'_>, leaf: Fun) -> (Fun, String) {
    let fun = p.declare("<lambda>");
    let name = p.name("lambda_");
    let (deeper, end) = p.sites_of(fun, [(fun, Fuel::Spend), (leaf, Fuel::WhenSpent)]);
    let (deeper_context, end_context) = (p.context(deeper), p.context(end));
    let leaf_name = p.identifier(leaf);
    let line =
        p.line(&format!("{name} = lambda n, c: {name}(n - 1, {deeper_context}) if n else {leaf_name}({end_context})"));
    p.here(&[deeper, end]);
    p.on_line(fun, line);
    p.line("");
    (fun, name)
}

fn method(p: &mut Program<'_>, leaf: Fun) -> (Fun, String) {
    p.class("Node");
    let fun = p.method("Node", "visit", "self, n, c");
    p.locals(p.parameters().frame_size.locals(3));
    p.block("if n:");
    let site = p.fuelled(fun, Fuel::Spend);
    p.through(site, "self.visit(n - 1, @)");
    p.beside("else:");
    end_at(p, leaf);
    p.end();
    p.gate();
    p.close();
    p.end();
    p.line("");
    p.line("_node = Node()");
    (fun, "_node.visit".into())
}
