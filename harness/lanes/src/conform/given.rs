//! What the simulated interpreter is told of a run of the real one, because it is no matter of the interpreter's source.
//!
//! - **The order of anchor and sequence.** The source stores the anchor first; compilers turn that round or not. An
//!   interpreter without a JIT has one order, which its first update tells and all others must have. One with a JIT has
//!   that of its own code and that of the compiled one, and which of them runs is up to its heuristics: there each update
//!   tells its own.
//! - **Where shim frames stand.** They are on the C stack: how deep is a matter of the C functions between. So where two of
//!   them stand at one address, and where not, is taken over.

use std::collections::HashMap;

use framewalk::memory::Address;
use model::schedule::event::{Event, Standing, ThreadWord};
use sim::interpreter::First;
use sim::map::MOST_SHIMS;

use crate::stepped::{RigPlan, SteppedRun};

/// See the module.
pub(super) struct Given {
    pub(super) orders: Orders,
    /// By entry from C, the last one first.
    pub(super) shims: Vec<usize>,
}

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

/// What is known of a build.
pub(super) enum Order {
    One(Option<First>),
    Each,
}

impl Order {
    pub(super) fn of(plan: &RigPlan) -> Self {
        if plan.jit == Some(true) { Self::Each } else { Self::One(None) }
    }

    /// What a run of the real interpreter tells.
    pub(super) fn learn(&mut self, run: &SteppedRun) -> Given {
        let firsts = firsts(&run.history);
        let orders = match self {
            Self::Each => Orders::Each(firsts.into_iter()),
            Self::One(known) => {
                *known = known.or(firsts.first().copied());
                Orders::One(*known)
            }
        };
        Given { orders, shims: shims(&run.history) }
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

/// The number of the shim frame's address at each entry from C, the last entry first. Number 0 is that under `main`.
fn shims(history: &[Event]) -> Vec<usize> {
    let chains = history.iter().filter_map(|event| match event {
        Event::Truth(chain) => Some(chain.as_slice()),
        _ => None,
    });
    let mut numbers: HashMap<Address, usize> = HashMap::new();
    let mut entries = Vec::new();
    let mut before: Option<&[Standing]> = None;
    for chain in chains {
        // An entry is the one thing that makes a stack grow by two.
        if let (Some(before), [_, shim, ..]) = (before, chain)
            && chain.len() == before.len() + 2
        {
            let next = numbers.len() + 1;
            entries.push(*numbers.entry(shim.address).or_insert(next.min(MOST_SHIMS - 1)));
        }
        before = Some(chain);
    }
    entries.reverse();
    entries
}
