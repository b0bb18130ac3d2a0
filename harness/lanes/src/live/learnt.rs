//! The grammar of a process, learnt from the stacks that the reference walker verified.

use std::collections::BTreeMap;

use model::workload::grammar::{CallLines, ContextId, Function, FunctionId, Grammar};

/// The most contexts learned of one process. A process with more different paths is not learned in full.
const CONTEXT_LIMIT: usize = 1 << 18;

/// A grammar that grows with each verified stack.
#[derive(Default)]
pub(super) struct Learnt {
    /// What was learnt so far.
    pub(super) grammar: Grammar,
    functions: BTreeMap<(String, String), FunctionId>,
    contexts: BTreeMap<(Option<ContextId>, FunctionId, Option<i32>), ContextId>,
}

impl Learnt {
    /// Adds the contexts of a verified stack.
    pub(super) fn learn(&mut self, stack: &[framewalk::frame::Frame]) {
        let mut parent: Option<(ContextId, Option<i32>)> = None;
        for frame in stack.iter().rev() {
            if self.grammar.contexts.len() >= CONTEXT_LIMIT {
                return;
            }
            let key = (frame.function.to_string(), frame.file.to_string());
            let function = *self.functions.entry(key).or_insert_with_key(|(name, file)| {
                self.grammar.function(Function {
                    name: name.clone(),
                    file: file.clone(),
                    first_line: 0,
                    last_line: u32::MAX,
                })
            });
            let line = parent.and_then(|(_, line)| line);
            let key = (parent.map(|(context, _)| context), function, line);
            let context = *self.contexts.entry(key).or_insert_with(|| match parent {
                None => self.grammar.root(function),
                Some((parent, line)) => {
                    let line = line.and_then(|line| u32::try_from(line).ok());
                    let lines = line.map_or(CallLines::Anywhere, |line| CallLines::At(vec![line]));
                    self.grammar.call(parent, function, lines)
                }
            });
            parent = Some((context, frame.location.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use framewalk::frame::{Frame, Location};

    use super::*;

    #[test]
    fn learned_stacks_are_legal_and_mixtures_are_not() {
        let stack = |frames: &[(&str, i32)]| -> Vec<Frame> {
            frames
                .iter()
                .map(|&(function, line)| Frame {
                    function: function.into(),
                    file: "/app/main.py".into(),
                    location: Location { line: Some(line), ..Location::default() },
                })
                .collect()
        };
        let mut learnt = Learnt::default();
        let first = stack(&[("leaf", 9), ("a", 3), ("<module>", 20)]);
        let second = stack(&[("leaf", 8), ("b", 5), ("<module>", 21)]);
        learnt.learn(&first);
        learnt.learn(&second);
        let legal = |stack: &[Frame]| learnt.grammar.judge(stack).is_ok();
        assert!(legal(&first) && legal(&second));
        assert!(legal(&stack(&[("leaf", 1), ("b", 5), ("<module>", 21)])));
        assert!(!legal(&stack(&[("leaf", 9), ("a", 5), ("<module>", 21)])));
    }
}
