//! Functions that several families share.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::program::{Fun, Program};

/// Shuffles items. Programs depend on the algorithm, so no library function is used.
pub(super) fn shuffle<T>(items: &mut [T], random: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.random_range(0..=last));
    }
}

/// A leaf with gates on several lines: the frame stays, but its line changes.
pub(super) fn leaf(p: &mut Program<'_>, base: &str, index: u32) -> Fun {
    let fun = p.define(base, "c");
    p.locals(p.parameters().frame_size.locals(index));
    p.gate();
    p.work();
    p.gate();
    p.gate();
    p.close();
    fun
}

/// A chain of plain calls with `depth` functions down to `below`. Returns the outermost one.
pub(super) fn chain(p: &mut Program<'_>, base: &str, depth: u32, below: Fun) -> Fun {
    let mut below = below;
    for level in (0..depth).rev() {
        let fun = p.define(&format!("{base}_{level}"), "c");
        p.locals(p.parameters().frame_size.locals(level));
        if level % 2 == 1 {
            p.gate();
        }
        p.invoke(below);
        if level % 3 == 0 {
            p.gate();
        }
        p.close();
        below = fun;
    }
    below
}

/// A class whose finalizer runs Python code, in the context passed to its constructor.
pub(super) struct Dying {
    pub(super) del: Fun,
    init: Fun,
    trampoline: Fun,
}

impl Dying {
    /// Emits the class `Dying`. Its finalizer calls `leaf`.
    pub(super) fn emit(p: &mut Program<'_>, leaf: Fun) -> Self {
        p.class("Dying");
        p.line("__slots__ = ('c',)");
        let init = p.method("Dying", "__init__", "self, c");
        p.line("self.c = c");
        p.close();
        let del = p.method("Dying", "__del__", "self");
        p.take_from("self.c");
        p.gate();
        p.invoke(leaf);
        p.gate();
        p.close();
        p.end();
        let trampoline = p.trampoline(init);
        Self { del, init, trampoline }
    }

    /// Records that the last emitted line creates an instance.
    pub(super) fn made_here(&self, p: &mut Program<'_>) {
        let site = p.site(self.init);
        p.here(&[site]);
        p.instantiates(self.trampoline);
    }
}
