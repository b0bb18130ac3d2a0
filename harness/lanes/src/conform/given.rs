//! Facts of a real run that the simulated interpreter takes over, because the interpreter's source does not determine
//! them.
//!
//! - **The order of anchor and sequence.** The source stores the anchor first; some compilers swap the two stores. An
//!   interpreter without a JIT has one order: its first update shows it, and all others must follow it. An interpreter
//!   with a JIT has two, that of its own code and that of the compiled code, and its heuristics decide which of them
//!   runs. There the order is taken from each update.
//! - **The addresses of shim frames.** They are on the C stack, and the C functions in between decide how deep. So the
//!   simulation takes over which shim frames share an address.

use std::collections::HashMap;

use framewalk::memory::Address;
use model::schedule::event::{ChainFrame, StepEvent, ThreadWord};
use sim::interpreter::First;
use sim::map::MOST_SHIMS;

use crate::stepped::{RigPlan, SteppedRun};

/// Facts of one real run; see the module.
pub(super) struct RealRunFacts {
    pub(super) orders: Orders,
    /// The number of the shim frame's address at each entry from C, the last entry first.
    pub(super) shims: Vec<usize>,
}

/// The order of each update of a schedule.
pub(super) enum Orders {
    One(Option<First>),
    Each(std::vec::IntoIter<First>),
}

impl Orders {
    /// The order of the next update. `None` if it is unknown: either no update follows, or only the simulated
    /// interpreter makes one.
    pub(super) fn next(&mut self) -> Option<First> {
        match self {
            Self::One(first) => *first,
            Self::Each(orders) => orders.next(),
        }
    }
}

/// What is known about the order of a build.
pub(super) enum Order {
    One(Option<First>),
    Each,
}

impl Order {
    pub(super) fn of(plan: &RigPlan) -> Self {
        if plan.jit == Some(true) { Self::Each } else { Self::One(None) }
    }

    /// Extracts the facts from a run of the real interpreter.
    pub(super) fn learn(&mut self, run: &SteppedRun) -> RealRunFacts {
        let firsts = firsts(&run.history);
        let orders = match self {
            Self::Each => Orders::Each(firsts.into_iter()),
            Self::One(known) => {
                *known = known.or(firsts.first().copied());
                Orders::One(*known)
            }
        };
        RealRunFacts { orders, shims: shims(&run.history) }
    }
}

/// The first store of each update. The second store of an update follows directly: only accesses of the walker can come
/// between.
fn firsts(history: &[StepEvent]) -> Vec<First> {
    let mut updates = history.iter().filter_map(|event| match event {
        StepEvent::Step(ThreadWord::Anchor, _) => Some(First::Anchor),
        StepEvent::Step(ThreadWord::Sequence, _) => Some(First::Sequence),
        _ => None,
    });
    let mut firsts = Vec::new();
    while let Some(first) = updates.next() {
        firsts.push(first);
        updates.next();
    }
    firsts
}

/// The number of the shim frame's address at each entry from C, the last entry first. Number 0 is the shim frame below
/// `main`.
fn shims(history: &[StepEvent]) -> Vec<usize> {
    let chains = history.iter().filter_map(|event| match event {
        StepEvent::Truth(chain) => Some(chain.as_slice()),
        _ => None,
    });
    let mut numbers: HashMap<Address, usize> = HashMap::new();
    let mut entries = Vec::new();
    let mut before: Option<&[ChainFrame]> = None;
    for chain in chains {
        // Only an entry from C makes a chain grow by two.
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
