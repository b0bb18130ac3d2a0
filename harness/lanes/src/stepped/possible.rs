//! The stacks that a target had during a sample of the stepped lane.

use std::sync::Arc;

use framewalk::frame::Frame;
use framewalk::stack::Stack;
use model::invariants::PossibleStacks;
use model::workload::grammar::{Grammar, Illegal};

use super::truth::Moment;

/// The moments of a sample, and the grammar of the program.
pub(super) struct PossibleMoments<'a> {
    pub(super) moments: &'a [Arc<Moment>],
    pub(super) grammar: &'a Grammar,
}

impl PossibleStacks for PossibleMoments<'_> {
    /// Every frame but the leaf must be equal in function, file and position. The leaf must be equal in function and
    /// file, and on a line that the function has. The leaf moves without a store, so its position at the time of the
    /// read is unknown.
    fn had(&self, seen: &[Frame]) -> bool {
        self.moments.iter().any(|moment| fits(seen, moment))
    }

    fn stacks(&self) -> Vec<Stack> {
        self.moments.iter().map(|moment| moment.stack.clone()).collect()
    }

    fn illegal(&self, seen: &[Frame]) -> Option<Illegal> {
        self.grammar.judge(seen).err()
    }
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
    use model::invariants::{SampleFault, WrongStack, judge};
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

    fn judged(seen: &[(&str, i32)]) -> Result<(), WrongStack> {
        let moments = [moment(&[("main", 1)], &[1, 2]), moment(&[("leaf", 7), ("a", 5), ("main", 2)], &[7, 8])];
        let provenance = Provenance { lookup: Lookup::Uncached, from_cache: 0 };
        judge(&stack(seen), &PossibleMoments { moments: &moments, grammar: &grammar() }, provenance)
    }

    #[test]
    fn a_stack_that_was_there_is_right_wherever_its_leaf_stood() {
        for right in [&[("main", 1)][..], &[("main", 2)], &[("leaf", 8), ("a", 5), ("main", 2)]] {
            assert_eq!(judged(right), Ok(()), "{right:?}");
        }
    }

    #[test]
    fn everything_else_is_wrong() {
        let mixed = Illegal::MixedBranches { index: 0 };
        for (wrong, fault, illegal) in [
            // A stack of another time.
            (&[("leaf", 7), ("b", 5), ("main", 2)][..], SampleFault::Stale, None),
            (&[("a", 5), ("main", 2)], SampleFault::Stale, None),
            // A stack that the program never has.
            (&[("leaf", 7), ("main", 2)], SampleFault::CallersErased, Some(mixed)),
            // A caller's line must be equal.
            (&[("leaf", 7), ("a", 6), ("main", 2)], SampleFault::WrongLocation, Some(Illegal::WrongLine { index: 1 })),
            // A leaf's line must be one of its function's lines.
            (&[("main", 3)], SampleFault::WrongLocation, None),
        ] {
            let found = judged(wrong).unwrap_err();
            assert_eq!((found.fault, found.illegal), (fault, illegal), "{wrong:?}");
        }
        assert!(judged(&[]).is_err());
    }
}
