//! A state that the interpreter may be in, as the sets of a search contain it.

use crate::prove::graph::Config;
use crate::prove::trace::TraceId;

/// The id of a state in one [`Space`](crate::prove::space::Space).
pub type Id = u32;

/// A state that the interpreter may be in, with what matters of the way there.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// The state of the interpreter.
    pub config: Config,
    /// The stacks since the sample began, as a bit set of their numbers in the graph.
    pub seen: u128,
    /// Accesses of the interpreter since the first sample began. 0 if not traced.
    pub cost: u32,
    /// The last event before this state, if traced.
    pub trace: TraceId,
}

/// An [`Element`] with the state's id in one [`Space`](crate::prove::space::Space).
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// See [`Element::seen`].
    pub seen: u128,
    /// Id of the state.
    pub id: Id,
    /// Its [`Config::node`].
    pub node: u32,
    /// See [`Element::cost`].
    pub cost: u32,
    /// See [`Element::trace`].
    pub trace: TraceId,
}

impl Member {
    /// Whether everything that can go wrong from `other` can also go wrong from here, at no higher cost: no additional
    /// stacks were seen.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.seen & other.seen == self.seen && self.cost <= other.cost
    }
}

/// The walker's accesses up to a point, and the states that agree with them.
pub struct Branch<T> {
    /// The values read so far, except those of words that never change. For a write, the written value.
    pub script: Vec<u64>,
    /// The states immediately after the last of these accesses.
    pub set: Vec<T>,
    /// Whether the next word is read at the same moment.
    pub closed: bool,
}

impl<T> Branch<T> {
    /// The same branch with its states converted by `change`.
    pub fn map<U>(self, change: impl FnMut(&T) -> U) -> Branch<U> {
        Branch { script: self.script, set: self.set.iter().map(change).collect(), closed: self.closed }
    }
}

/// A state in which no stack has been recorded yet.
#[must_use]
pub fn fresh(config: Config, trace: u32) -> Element {
    Element { config, seen: 0, cost: 0, trace }
}
