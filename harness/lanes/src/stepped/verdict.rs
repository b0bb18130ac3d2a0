//! Judges whether a sample is one of the stacks that its target had meanwhile.

use std::sync::Arc;

use framewalk::frame::Frame;
use framewalk::rejection::Rejection;
use framewalk::sample::ThreadSample;
use framewalk::stack::Stack;
use model::schedule::clause::{Clause, FirstDifference, classify, parting};
use model::workload::grammar::{Grammar, Illegal};

use super::truth::Moment;

/// The verdict on a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleVerdict {
    /// The sample is a stack that the target had between the sample's first access and its last.
    Right,
    /// The sample is a stack that the target did not have.
    Wrong(WrongStack),
    /// The walker returned no stack.
    Rejected(Rejection),
}

impl SampleVerdict {
    /// Whether the sample is a stack that the target did not have.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong(_))
    }
}

/// What is wrong with a stack that the target did not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongStack {
    /// The clause that the stack breaks.
    pub clause: Clause,
    /// The rule of the program's grammar that it breaks. `None` if the program can have this stack at another time.
    pub illegal: Option<Illegal>,
    /// Where it departs from the nearest stack that the target had.
    pub parting: Option<FirstDifference>,
}

impl WrongStack {
    /// The walker should have returned a stack, and did not.
    pub(super) const REJECTED: Self = Self { clause: Clause::Rejected, illegal: None, parting: None };
}

/// Judges what a walker returned. Every frame but the leaf must be equal in function, file and position. The leaf must
/// be equal in function and file, and on a line that the function has. The leaf moves without a store, so its position
/// at the time of the read is unknown.
pub(super) fn judge(sample: &ThreadSample, moments: &[Arc<Moment>], grammar: &Grammar) -> SampleVerdict {
    let stack = match &sample.outcome {
        Ok(stack) => stack,
        Err(rejection) => return SampleVerdict::Rejected(rejection.clone()),
    };
    if moments.iter().any(|moment| fits(stack, moment)) {
        return SampleVerdict::Right;
    }
    let possible: Vec<Stack> = moments.iter().map(|moment| moment.stack.clone()).collect();
    let illegal = grammar.judge(stack).err();
    let clause = classify(stack, &possible, illegal.as_ref(), sample.provenance);
    SampleVerdict::Wrong(WrongStack { clause, illegal, parting: parting(stack, &possible) })
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
    use framewalk::frame::Location;
    use framewalk::sample::{Lookup, Provenance};
    use model::schedule::fingerprint::LeafKind;
    use model::workload::grammar::{CallLines, Function, WORKLOAD_FILE};

    use super::*;

    fn stack(frames: &[(&str, i32)]) -> Stack {
        let frame = |&(function, line): &(&str, i32)| Frame {
            function: function.into(),
            file: WORKLOAD_FILE.into(),
            location: Location { line: Some(line), ..Location::default() },
        };
        frames.iter().map(frame).collect()
    }

    fn moment(frames: &[(&str, i32)], leaf_lines: &[i32]) -> Arc<Moment> {
        let leaf_lines = Arc::new(leaf_lines.iter().copied().map(Some).collect());
        Arc::new(Moment { chain: Vec::new(), stack: stack(frames), leaf_lines, leaf: LeafKind::Function })
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

    fn verdict(outcome: Result<Stack, Rejection>) -> SampleVerdict {
        let moments = [moment(&[("main", 1)], &[1, 2]), moment(&[("leaf", 7), ("a", 5), ("main", 2)], &[7, 8])];
        let provenance = Provenance { lookup: Lookup::Uncached, from_cache: 0 };
        judge(&ThreadSample { native_thread_id: 1, outcome, provenance }, &moments, &grammar())
    }

    #[test]
    fn a_stack_that_was_there_is_right_wherever_its_leaf_stood() {
        for right in [&[("main", 1)][..], &[("main", 2)], &[("leaf", 8), ("a", 5), ("main", 2)]] {
            assert_eq!(verdict(Ok(stack(right))), SampleVerdict::Right, "{right:?}");
        }
    }

    #[test]
    fn everything_else_is_wrong() {
        let mixed = Illegal::MixedBranches { index: 0 };
        for (wrong, clause, illegal) in [
            // A stack of another time.
            (&[("leaf", 7), ("b", 5), ("main", 2)][..], Clause::Stale, None),
            (&[("a", 5), ("main", 2)], Clause::Stale, None),
            // A stack that the program never has.
            (&[("leaf", 7), ("main", 2)], Clause::CallersErased, Some(mixed)),
            // A caller's line must be equal.
            (&[("leaf", 7), ("a", 6), ("main", 2)], Clause::WrongLocation, Some(Illegal::WrongLine { index: 1 })),
            // A leaf's line must be one of its function's lines.
            (&[("main", 3)], Clause::WrongLocation, None),
        ] {
            let SampleVerdict::Wrong(found) = verdict(Ok(stack(wrong))) else { panic!("{wrong:?}") };
            assert_eq!((found.clause, found.illegal), (clause, illegal), "{wrong:?}");
        }
        assert_eq!(verdict(Err(Rejection::Moved)), SampleVerdict::Rejected(Rejection::Moved));
        assert!(verdict(Ok(stack(&[]))).is_wrong());
    }
}
