//! Sets of interpreter states that look the same to the walker, and what the interpreter makes of them.

use crate::prove::graph::{Config, Edge, Graph, GraphError};
use crate::prove::space::{Id, Space};
use crate::prove::trace::{Trace, TraceId};

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

/// The same with the state's number in one [`Space`].
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// See [`Element::seen`].
    pub seen: u128,
    /// The state.
    pub id: Id,
    /// Its [`Config::node`].
    pub node: u32,
    /// See [`Element::cost`].
    pub cost: u32,
    /// See [`Element::trace`].
    pub trace: TraceId,
}

impl Member {
    /// Whether whatever can go wrong from `other` on can go wrong from here, at no more cost: fewer stacks were seen.
    fn covers(&self, other: &Self) -> bool {
        self.seen & other.seen == self.seen && self.cost <= other.cost
    }
}

/// No further member.
const END: u32 = u32::MAX;

/// The members that are kept so far, with a list of them for each state.
#[derive(Default)]
pub struct Scratch {
    /// Lists of states whose mark is another are from an earlier set, thus empty.
    mark: u32,
    /// By state: the mark, and the first member.
    lists: Vec<(u32, u32)>,
    /// In the order in which they came.
    kept: Vec<Kept>,
}

struct Kept {
    member: Member,
    /// The next one of the same state.
    next: u32,
    /// Whether another one came to cover it.
    covered: bool,
}

impl Scratch {
    fn begin(&mut self) {
        self.kept.clear();
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            self.lists.fill((0, END));
            self.mark = 1;
        }
    }

    /// Keeps a member unless others cover it. Gives its place, for its trace.
    fn keep(&mut self, member: Member) -> Option<&mut Member> {
        let state = member.id as usize;
        if state >= self.lists.len() {
            self.lists.resize((state + 1).next_power_of_two(), (0, END));
        }
        let (mark, first) = self.lists[state];
        let first = if mark == self.mark { first } else { END };
        let mut index = first;
        while let Some(there) = self.kept.get(index as usize) {
            if !there.covered && there.member.covers(&member) {
                return None;
            }
            index = there.next;
        }
        let mut index = first;
        while let Some(there) = self.kept.get_mut(index as usize) {
            there.covered |= member.covers(&there.member);
            index = there.next;
        }
        let index = self.kept.len() as u32;
        self.lists[state] = (self.mark, index);
        self.kept.push(Kept { member, next: first, covered: false });
        self.kept.last_mut().map(|kept| &mut kept.member)
    }
}

/// Adds every state that the interpreter can reach from those in `set`, at a cost up to `limit` if costs are counted.
/// Stacks on the way are noted if `watching`.
///
/// # Errors
/// [`GraphError::SequenceTooFar`].
pub fn close(
    set: &mut Vec<Member>,
    space: &mut Space<'_>,
    watching: bool,
    limit: Option<u32>,
    trace: &mut Trace,
) -> Result<(), GraphError> {
    let mut scratch = std::mem::take(&mut space.scratch);
    scratch.begin();
    for member in set.drain(..) {
        scratch.keep(member);
    }
    let closed = steps(&mut scratch, space, watching, limit, trace);
    set.extend(scratch.kept.iter().filter(|kept| !kept.covered).map(|kept| kept.member));
    space.scratch = scratch;
    closed
}

/// Takes all steps of all members, oldest first: so most states are reached at the least cost first.
fn steps(
    scratch: &mut Scratch,
    space: &mut Space<'_>,
    watching: bool,
    limit: Option<u32>,
    trace: &mut Trace,
) -> Result<(), GraphError> {
    let mut next = 0;
    while let Some(kept) = scratch.kept.get(next) {
        next += 1;
        let member = kept.member;
        let cost = member.cost + u32::from(limit.is_some());
        if kept.covered || limit.is_some_and(|limit| cost > limit) {
            continue;
        }
        for index in space.steps(member.id)? {
            let step = space.step(index);
            let seen = if watching { member.seen | space.stacks(step.to) } else { 0 };
            let after = Member { id: step.to, node: step.node, seen, cost, trace: member.trace };
            if let Some(kept) = scratch.keep(after)
                && trace.is_kept()
            {
                kept.trace = trace.push(member.trace, space.event(member.id, step));
            }
        }
    }
    Ok(())
}

/// The edge that an event names.
#[must_use]
pub fn edge<'a>(graph: &'a Graph, before: &Config, index: u8) -> Option<&'a Edge> {
    graph.edges(before).get(usize::from(index))
}
