//! Counts a wrong answer once for as long as it repeats.
//!
//! A target that waits for a core stays in one state, and a fast walker samples that state a thousand times. One
//! unlucky stored walk was once served 1133 times in a row. Such a run of equal answers is one event, an *episode*,
//! however long the kernel lets it last. The leaf of an impossible stack may change during an episode, since a full hit
//! decodes it afresh. The callers stay the same.
//!
//! A share of episodes is a share of the good stacks and the episodes together, so repeated answers are excluded from
//! both numbers. A target that waits in a good state makes the share smaller, never larger. A walker that is wrong in
//! most of its samples is still noticed, although each run of its answers counts once: its right answers are then just
//! as rare.

use std::collections::HashMap;

use framewalk::stack::Stack;

/// Follows one walker's samples and reports where an episode begins.
#[derive(Debug, Default)]
pub struct Episodes {
    /// The last answer of each thread, if it was not a good stack.
    last: HashMap<u64, Last>,
}

#[derive(Debug)]
enum Last {
    Impossible(Stack),
    Rejected(String),
}

impl Episodes {
    /// Records a possible stack. The thread's next wrong answer begins an episode.
    pub fn good(&mut self, thread: u64) {
        self.last.remove(&thread);
    }

    /// Whether an impossible stack is the first of an episode.
    pub fn is_new_impossible(&mut self, thread: u64, stack: &Stack) -> bool {
        let again = matches!(self.last.get(&thread), Some(Last::Impossible(last)) if last.get(1..) == stack.get(1..));
        self.last.insert(thread, Last::Impossible(stack.clone()));
        !again
    }

    /// Whether a rejection for the reason `what` is the first of an episode.
    pub fn is_new_rejection(&mut self, thread: u64, what: &str) -> bool {
        let again = matches!(self.last.get(&thread), Some(Last::Rejected(last)) if last == what);
        if !again {
            self.last.insert(thread, Last::Rejected(what.to_owned()));
        }
        !again
    }
}

#[cfg(test)]
mod tests {
    use framewalk::frame::{Frame, Location};

    use super::*;

    fn stack(frames: &[(&str, i32)]) -> Stack {
        let frame = |&(function, line): &(&str, i32)| Frame {
            function: function.into(),
            file: "w.py".into(),
            location: Location { line: Some(line), ..Location::default() },
        };
        frames.iter().map(frame).collect::<Vec<_>>().into()
    }

    #[test]
    fn equal_answers_in_a_row_are_one_episode() {
        let mut episodes = Episodes::default();
        let wrong = stack(&[("leaf", 1), ("b", 2), ("main", 3)]);
        let begun: Vec<bool> = (0..1133).map(|_| episodes.is_new_impossible(1, &wrong)).collect();
        assert_eq!(begun.iter().filter(|begun| **begun).count(), 1);
        // A full hit decodes the leaf afresh. Different callers, or another thread, begin a new episode.
        assert!(!episodes.is_new_impossible(1, &stack(&[("leaf", 9), ("b", 2), ("main", 3)])));
        assert!(episodes.is_new_impossible(1, &stack(&[("leaf", 9), ("b", 4), ("main", 3)])));
        assert!(episodes.is_new_impossible(2, &wrong));
    }

    #[test]
    fn a_good_stack_ends_an_episode() {
        let mut episodes = Episodes::default();
        let wrong = stack(&[("leaf", 1), ("main", 3)]);
        for _ in 0..3 {
            assert!(episodes.is_new_impossible(1, &wrong));
            assert!(episodes.is_new_rejection(1, "moved"));
            assert!(!episodes.is_new_rejection(1, "moved"));
            assert!(episodes.is_new_rejection(1, "loops"));
            episodes.good(1);
            assert!(episodes.is_new_rejection(1, "loops"));
            episodes.good(1);
        }
    }
}
