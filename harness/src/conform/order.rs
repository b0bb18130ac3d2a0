//! In which order a build stores anchor and sequence.
//!
//! The source stores the anchor first; compilers turn that round or not. An interpreter without a JIT has one order, which
//! its first update tells and all others must have. One with a JIT has that of its own code and that of the compiled one,
//! and which of them runs is up to its heuristics: there each update tells its own.

use crate::lane::stepped::{RigPlan, SteppedRun};
use crate::schedule::event::{Event, ThreadWord};
use crate::sim::interpreter::First;

/// The order of each update of a schedule.
pub(super) enum Orders {
    One(Option<First>),
    Each(std::vec::IntoIter<First>),
}

impl Orders {
    /// That of the next one; none if it is not known: then it does not come, or it is the simulated interpreter's own.
    pub(super) fn next(&mut self) -> Option<First> {
        match self {
            Self::One(first) => *first,
            Self::Each(orders) => orders.next(),
        }
    }
}

/// What is known of a build's order.
pub(super) enum Order {
    One(Option<First>),
    Each,
}

impl Order {
    pub(super) fn of(plan: &RigPlan) -> Self {
        if plan.jit == Some(true) { Self::Each } else { Self::One(None) }
    }

    /// What a run of the real interpreter tells.
    pub(super) fn learn(&mut self, run: &SteppedRun) -> Orders {
        let firsts = firsts(&run.history);
        match self {
            Self::Each => Orders::Each(firsts.into_iter()),
            Self::One(known) => {
                *known = known.or(firsts.first().copied());
                Orders::One(*known)
            }
        }
    }
}

/// The first store of each update. The two stores of an update follow each other: nothing but an access of the walker
/// comes between.
fn firsts(history: &[Event]) -> Vec<First> {
    let mut updates = history.iter().filter_map(|event| match event {
        Event::Step(ThreadWord::Anchor, _) => Some(First::Anchor),
        Event::Step(ThreadWord::Sequence, _) => Some(First::Sequence),
        _ => None,
    });
    let mut firsts = Vec::new();
    while let Some(first) = updates.next() {
        firsts.push(first);
        updates.next();
    }
    firsts
}
