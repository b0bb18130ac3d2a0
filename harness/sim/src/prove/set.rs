//! Sets of interpreter states that the walker cannot distinguish, and the steps that the interpreter can take from
//! them.

use crate::prove::graph::{Config, Edge, Graph, GraphError};
use crate::prove::space::{Id, Space};
use crate::prove::trace::{ProofTrace, TraceId};

/// A state that the interpreter may be in, with what matters of the way there.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// The state.
    pub config: Config,
    /// The stacks since the sample began, as a bit set of their numbers in the graph.
    pub seen: u128,
    /// Accesses of the interpreter since the first sample began. 0 if not traced.
    pub cost: u32,
    /// The last event before this state, if traced.
    pub trace: TraceId,
}

/// An [`Element`] with the state's id in one [`Space`].
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
    fn covers(&self, other: &Self) -> bool {
        self.seen & other.seen == self.seen && self.cost <= other.cost
    }
}

/// Marks the end of a member list.
const END: u32 = u32::MAX;

/// The members kept so far, with a list of them per state.
#[derive(Default)]
pub struct Scratch {
    /// Mark of the current set. A list with another mark belongs to an earlier set and counts as empty.
    mark: u32,
    /// By state: the mark, and the first member.
    lists: Vec<(u32, u32)>,
    /// The members, in the order in which they were added.
    kept: Vec<Kept>,
}

struct Kept {
    member: Member,
    /// The next member with the same state.
    next: u32,
    /// Whether a later member covers this one.
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

    /// Keeps a member unless another one covers it. Returns it, so that the caller can set its trace.
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

/// Adds every state that the interpreter can reach from `set`, up to the cost `limit` if costs are counted. Records the
/// stacks on the way if `watching`.
///
/// # Errors
/// [`GraphError::SequenceTooFar`] if a sequence runs too far away.
pub fn close(
    set: &mut Vec<Member>,
    space: &mut Space<'_>,
    watching: bool,
    limit: Option<u32>,
    trace: &mut ProofTrace,
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

/// Takes all steps of all members, oldest first. Most states are then first reached at their least cost.
fn steps(
    scratch: &mut Scratch,
    space: &mut Space<'_>,
    watching: bool,
    limit: Option<u32>,
    trace: &mut ProofTrace,
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

/// The edge with index `index` in the state `before`.
#[must_use]
pub fn edge<'a>(graph: &'a Graph, before: &Config, index: u8) -> Option<&'a Edge> {
    graph.edges(before).get(usize::from(index))
}
