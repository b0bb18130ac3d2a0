//! Whether a sample is one of the stacks that its target had meanwhile.

use std::sync::Arc;

use super::truth::Moment;
use crate::frame::{Frame, Stack};
use crate::invariants::Difference;
use crate::oracle::differential::difference;
use crate::walk::rejection::Rejection;
use crate::workload::grammar::{Grammar, Illegal};

/// What a sample is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is a stack that the target had between the sample's first access and its last.
    Right,
    /// It is none.
    Wrong(Wrong),
    /// The walker gave no stack.
    Rejected(Rejection),
}

impl Verdict {
    /// Whether it is a stack that was not there.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong(_))
    }
}

/// What is wrong with a stack that the target did not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The rule of the program's grammar that it breaks; none if the program could have it at another time.
    pub illegal: Option<Illegal>,
    /// Which of the stacks that were there comes nearest: the one that has most in common, seen from the root.
    pub nearest: usize,
    /// Where it parts from that one; none if the leaf alone stands where it cannot.
    pub difference: Option<Difference>,
}

/// Judges what a walker returned: every frame but the leaf is to be equal in function, file and position, and the leaf
/// in function and file, on a line that the function has. The leaf moves without a store, so its position at the time of
/// the read is not known.
pub(super) fn judge(outcome: &Result<Stack, Rejection>, moments: &[Arc<Moment>], grammar: &Grammar) -> Verdict {
    let stack = match outcome {
        Ok(stack) => stack,
        Err(rejection) => return Verdict::Rejected(rejection.clone()),
    };
    if moments.iter().any(|moment| fits(stack, moment)) {
        return Verdict::Right;
    }
    let common = |moment: &Moment| {
        let pairs = stack.iter().rev().zip(moment.stack.iter().rev());
        pairs.take_while(|(seen, there)| seen == there || same_function(seen, there)).count()
    };
    // The first of the best.
    let nearest = (0..moments.len()).rev().max_by_key(|&index| moments.get(index).map_or(0, |moment| common(moment)));
    let nearest = nearest.unwrap_or(0);
    let difference = moments.get(nearest).and_then(|moment| difference(stack, &moment.stack));
    Verdict::Wrong(Wrong { illegal: grammar.judge(stack).err(), nearest, difference })
}

fn same_function(left: &Frame, right: &Frame) -> bool {
    left.function == right.function && left.file == right.file
}

fn fits(stack: &[Frame], moment: &Moment) -> bool {
    let (Some((leaf, callers)), Some((there, callers_there))) = (stack.split_first(), moment.stack.split_first())
    else {
        return false;
    };
    callers == callers_there && same_function(leaf, there) && moment.leaf_lines.contains(&leaf.location.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Location;
    use crate::workload::grammar::{CallLines, Function, WORKLOAD_FILE};

    fn stack(frames: &[(&str, u32)]) -> Stack {
        let frame = |&(function, line): &(&str, u32)| Frame {
            function: function.into(),
            file: WORKLOAD_FILE.into(),
            location: Location { line: Some(line), ..Location::default() },
        };
        frames.iter().map(frame).collect()
    }

    fn moment(frames: &[(&str, u32)], leaf_lines: &[u32]) -> Arc<Moment> {
        let leaf_lines = Arc::new(leaf_lines.iter().copied().map(Some).collect());
        Arc::new(Moment { chain: Vec::new(), stack: stack(frames), leaf_lines })
    }

    fn grammar() -> Grammar {
        let mut grammar = Grammar::default();
        let mut function = |name: &str| {
            grammar.function(Function { name: name.into(), file: WORKLOAD_FILE.into(), first_line: 1, last_line: 99 })
        };
        let [main, a, b, leaf] = ["main", "a", "b", "leaf"].map(&mut function);
        let root = grammar.root(main);
        for branch in [a, b] {
            let context = grammar.call(root, branch, CallLines::Anywhere);
            grammar.call(context, leaf, CallLines::At(vec![5]));
        }
        grammar
    }

    fn verdict(seen: &[(&str, u32)]) -> Verdict {
        let moments = [moment(&[("main", 1)], &[1, 2]), moment(&[("leaf", 7), ("a", 5), ("main", 2)], &[7, 8])];
        judge(&Ok(stack(seen)), &moments, &grammar())
    }

    #[test]
    fn a_stack_that_was_there_is_right_wherever_its_leaf_stood() {
        for right in [&[("main", 1)][..], &[("main", 2)], &[("leaf", 8), ("a", 5), ("main", 2)]] {
            assert_eq!(verdict(right), Verdict::Right, "{right:?}");
        }
    }

    #[test]
    fn everything_else_is_wrong_and_compared_with_the_nearest() {
        for (wrong, illegal, nearest, difference) in [
            // Another time's.
            (&[("leaf", 7), ("b", 5), ("main", 2)][..], None, 1, Some(Difference::Function { index: 1 })),
            (&[("a", 5), ("main", 2)], None, 1, Some(Difference::Length)),
            // Nobody's.
            (&[("leaf", 7), ("main", 2)], Some(Illegal::MixedBranches { index: 0 }), 0, Some(Difference::Length)),
            // A caller's line is not free.
            (
                &[("leaf", 7), ("a", 6), ("main", 2)],
                Some(Illegal::WrongLine { index: 1 }),
                1,
                Some(Difference::Line { index: 1 }),
            ),
            // The leaf's is, within its function.
            (&[("main", 3)], None, 0, Some(Difference::Line { index: 0 })),
        ] {
            assert_eq!(verdict(wrong), Verdict::Wrong(Wrong { illegal, nearest, difference }), "{wrong:?}");
        }
        let rejected = judge(&Err(Rejection::Moved), &[], &grammar());
        assert_eq!(rejected, Verdict::Rejected(Rejection::Moved));
        assert!(verdict(&[]).is_wrong());
    }
}
