//! Sets of interpreter states that look the same to the walker, and what the interpreter makes of them.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::prove::graph::{Config, Edge, Graph, GraphError};
use crate::prove::trace::{Event, Trace, TraceId};

/// A state that the interpreter may be in, with what matters of how it came there.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// The state.
    pub config: Config,
    /// The stacks that were there since the sample began, by their numbers in the graph.
    pub seen: u128,
    /// Accesses of the interpreter since the first sample began; 0 unless traced.
    pub cost: u32,
    /// How it came there, if traced.
    pub trace: TraceId,
}

impl Element {
    /// Whether whatever can go wrong from `other` on can go wrong from here, at no more cost: fewer stacks were seen.
    fn covers(&self, other: &Self) -> bool {
        self.seen & other.seen == self.seen && self.cost <= other.cost
    }
}

/// How far the interpreter may go.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// What it can do.
    pub graph: &'a Graph,
    /// The threads whose stacks are noted.
    pub watched: &'a [usize],
    /// The highest [`Element::cost`]; none if costs are not counted.
    pub cost: Option<u32>,
    /// Whether another profiler may anchor a thread's current frame at any time.
    pub other_profiler: bool,
}

type Kept = FxHashMap<Config, SmallVec<[Element; 1]>>;

fn keep(kept: &mut Kept, element: Element) -> bool {
    let there = kept.entry(element.config).or_default();
    if there.iter().any(|other| other.covers(&element)) {
        return false;
    }
    there.retain(|other| !element.covers(other));
    there.push(element);
    true
}

/// Adds every state that the interpreter can reach from those in `set`.
///
/// # Errors
/// [`GraphError::SequenceTooFar`].
pub fn close(set: &mut Vec<Element>, reach: &Reach<'_>, trace: &mut Trace) -> Result<(), GraphError> {
    let mut kept = Kept::default();
    let mut open = Vec::with_capacity(set.len());
    for element in set.drain(..) {
        if keep(&mut kept, element) {
            open.push(element);
        }
    }
    while let Some(element) = open.pop() {
        let current = kept
            .get(&element.config)
            .is_some_and(|there| there.iter().any(|other| other.seen == element.seen && other.cost == element.cost));
        if !current {
            continue;
        }
        let mut add = |config: Config, event: Event| {
            let cost = element.cost + u32::from(reach.cost.is_some());
            if reach.cost.is_some_and(|limit| cost > limit) {
                return;
            }
            let seen =
                if reach.watched.is_empty() { 0 } else { element.seen | reach.graph.stacks_of(&config, reach.watched) };
            let mut next = Element { config, seen, cost, trace: element.trace };
            if kept.get(&config).is_some_and(|there| there.iter().any(|other| other.covers(&next))) {
                return;
            }
            next.trace = trace.push(element.trace, event);
            keep(&mut kept, next);
            open.push(next);
        };
        for (index, edge) in (0..).zip(reach.graph.edges(&element.config)) {
            let config = reach.graph.follow(&element.config, edge)?;
            add(config, Event::Step { before: element.config, edge: index });
        }
        if reach.other_profiler {
            for thread in 0..reach.graph.interpreter.map.threads() {
                if let Some(config) = reach.graph.anchored(&element.config, thread) {
                    add(config, Event::OtherProfiler { thread });
                }
            }
        }
    }
    set.extend(kept.into_values().flatten());
    Ok(())
}

/// The edge that an event names.
#[must_use]
pub fn edge<'a>(graph: &'a Graph, before: &Config, index: u8) -> Option<&'a Edge> {
    graph.edges(before).get(usize::from(index))
}
