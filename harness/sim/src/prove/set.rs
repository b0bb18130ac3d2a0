//! Sets of interpreter states that the walker cannot distinguish, and the steps that the interpreter can take from
//! them.

use crate::prove::element::Member;
use crate::prove::graph::{Config, Edge, Graph, GraphError};
use crate::prove::scratch::Scratch;
use crate::prove::space::Space;
use crate::prove::trace::ProofTrace;

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
