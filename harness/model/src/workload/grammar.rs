//! The set of legal stacks of a workload, as data: a tree of call contexts.
//!
//! A [`Context`] is a function reached by one chain of callers. A stack is legal if its frames, from the root down,
//! follow a path of the tree, every caller is on a line that calls the next context, and the leaf is on any line of its
//! function. Two branches can therefore never mix: the only callers of a context are its ancestors.

use std::collections::HashMap;

use framewalk::frame::Frame;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::workload::positions::Positions;

/// Index of a function in [`Grammar::functions`].
pub type FunctionId = u32;
/// Index of a context in [`Grammar::contexts`]. Gates report it.
pub type ContextId = u32;

/// The file name of the generated program. A frame's file matches if its last component is this name.
pub const WORKLOAD_FILE: &str = "workload.py";

/// Name and file of the trampoline frame that a specialised instantiation pushes between the caller and a Python
/// `__init__`. Its owner is the thread, so a walker sees it, without a line. The target's own account does not contain
/// it.
pub const TRAMPOLINE: &str = "__init__";

/// Whether `frame` is the interpreter's trampoline to an `__init__`, which no account contains.
#[must_use]
pub fn is_trampoline(frame: &Frame) -> bool {
    *frame.function == *TRAMPOLINE && *frame.file == *TRAMPOLINE
}

/// One code object of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// The code object's `co_qualname`.
    pub name: String,
    /// `co_filename`: [`WORKLOAD_FILE`], or a synthetic name such as `<exec>`.
    pub file: String,
    /// Its first line (the `def` line).
    pub first_line: u32,
    /// The last line of its body, inclusive.
    pub last_line: u32,
}

/// The lines that a caller can be on while the callee runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallLines {
    /// Exactly these lines of the caller, from 1.
    At(Vec<u32>),
    /// Any line of the caller: finalizers, monitoring callbacks.
    Anywhere,
}

/// A function reached by one chain of callers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The function that runs.
    pub function: FunctionId,
    /// The context of the caller; `None` for the root of a thread.
    pub parent: Option<ContextId>,
    /// The lines that the caller can be on; meaningless for a root.
    pub called_from: CallLines,
}

/// The set of legal stacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grammar {
    /// The program's code objects.
    pub functions: Vec<Function>,
    /// The tree. A parent always comes before its children.
    pub contexts: Vec<Context>,
    /// The functions that a collection calls, and nothing else does. Nothing else in the program runs in a collection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collected: Vec<FunctionId>,
    /// The children of each context, by function. The roots are under `None`. Used by [`Grammar::judge`].
    #[serde(skip)]
    index: HashMap<(Option<ContextId>, FunctionId), Vec<ContextId>>,
    /// Functions by name. Used by [`Grammar::judge`].
    #[serde(skip)]
    by_name: HashMap<String, Vec<FunctionId>>,
    /// The exact positions of the functions, and the whole path of their file. Set once the build has reported them.
    #[serde(skip)]
    positions: Option<Positions>,
}

/// Why a stack is not legal. Frame indices count from the leaf.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Illegal {
    /// There is no frame.
    #[error("the stack is empty")]
    Empty,
    /// A frame does not belong to a function of the program.
    #[error("frame {index} is not a function of the program")]
    ForeignFrame {
        /// The index of the frame.
        index: usize,
    },
    /// The root frame is not the root of any thread: callers are missing.
    #[error("the stack starts with a frame that starts no thread: callers are missing")]
    CutShort,
    /// A frame is under callers that never call it.
    #[error("frame {index} never runs under these callers: the stack mixes branches")]
    MixedBranches {
        /// The first frame, counted from the root, that does not belong there.
        index: usize,
    },
    /// A frame is on a line that it cannot be on.
    #[error("frame {index} cannot be on that line")]
    WrongLine {
        /// The index of the frame.
        index: usize,
    },
    /// A frame is at a position that its code object does not have: the line exists, but its end or the columns do not
    /// match.
    #[error("frame {index} is at a position where its code object has no instruction")]
    WrongPosition {
        /// The index of the frame.
        index: usize,
    },
}

impl Illegal {
    /// The name used in tables and fingerprints.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ForeignFrame { .. } => "foreign-frame",
            Self::CutShort => "cut-short",
            Self::MixedBranches { .. } => "mixed-branches",
            Self::WrongLine { .. } => "wrong-line",
            Self::WrongPosition { .. } => "wrong-position",
        }
    }
}

/// The largest number of characters of a name or path that CPython's unwinder returns (`Modules/_remote_debugging`).
const LONGEST_NAME: usize = 1024;

/// A name or path as CPython's unwinder cuts it; `None` if it is not cut.
#[must_use]
pub fn as_cpython_tells(name: &str) -> Option<&str> {
    name.char_indices().nth(LONGEST_NAME).and_then(|(end, _)| name.get(..end))
}

impl Grammar {
    /// Adds a function and returns its id.
    pub fn function(&mut self, function: Function) -> FunctionId {
        let id = FunctionId::try_from(self.functions.len()).unwrap_or(FunctionId::MAX);
        self.name(id, &function.name);
        self.functions.push(function);
        id
    }

    /// Makes a function findable by its name, and by its name as CPython's unwinder cuts it.
    fn name(&mut self, id: FunctionId, name: &str) {
        self.by_name.entry(name.to_owned()).or_default().push(id);
        if let Some(reported) = as_cpython_tells(name) {
            self.by_name.entry(reported.to_owned()).or_default().push(id);
        }
    }

    /// Adds the root context of a thread.
    pub fn root(&mut self, function: FunctionId) -> ContextId {
        self.push(Context { function, parent: None, called_from: CallLines::Anywhere })
    }

    /// Adds a context: `function`, called by `parent` from the lines `called_from`.
    pub fn call(&mut self, parent: ContextId, function: FunctionId, called_from: CallLines) -> ContextId {
        self.push(Context { function, parent: Some(parent), called_from })
    }

    fn push(&mut self, context: Context) -> ContextId {
        let id = ContextId::try_from(self.contexts.len()).unwrap_or(ContextId::MAX);
        self.index.entry((context.parent, context.function)).or_default().push(id);
        self.contexts.push(context);
        id
    }

    /// From here on, a frame must be at a position that its code object has.
    pub fn learn_positions(&mut self, positions: Positions) {
        self.positions = Some(positions);
    }

    /// Rebuilds the lookup tables after deserialisation.
    pub fn reindex(&mut self) {
        self.index.clear();
        self.by_name.clear();
        for (id, context) in (0..).zip(&self.contexts) {
            self.index.entry((context.parent, context.function)).or_default().push(id);
        }
        for (id, function) in (0..).zip(self.functions.clone()) {
            self.name(id, &function.name);
        }
    }

    /// Where collections stand in `stack` (leaf first): the indices of the frames in which they began. A collection that
    /// runs without Python on top of it cannot be seen in a stack.
    #[must_use]
    pub fn collections_in(&self, stack: &[Frame]) -> Vec<usize> {
        let is_collected = |frame: &Frame| self.functions_of(frame).any(|function| self.collected.contains(&function));
        stack.iter().enumerate().filter(|(_, frame)| is_collected(frame)).map(|(index, _)| index + 1).collect()
    }

    /// The functions on the path from `context` to its root, leaf first.
    #[must_use]
    pub fn path(&self, context: ContextId) -> Vec<&Function> {
        let mut path = Vec::new();
        let mut next = Some(context);
        while let Some(entry) = next.and_then(|id| self.contexts.get(id as usize)) {
            path.extend(self.functions.get(entry.function as usize));
            next = entry.parent;
        }
        path
    }

    /// Checks whether `stack` (leaf first) is legal.
    ///
    /// # Errors
    /// The first rule that it breaks, seen from the root.
    pub fn judge(&self, stack: &[Frame]) -> Result<(), Illegal> {
        self.contexts_of(stack).map(drop)
    }

    /// The contexts in which `stack` (leaf first) can be.
    ///
    /// # Errors
    /// The rule that it breaks, if there is no such context.
    pub fn contexts_of(&self, stack: &[Frame]) -> Result<Vec<ContextId>, Illegal> {
        let root = stack.len().checked_sub(1).ok_or(Illegal::Empty)?;
        for (index, frame) in stack.iter().enumerate().rev() {
            if self.functions_of(frame).next().is_none() {
                return Err(Illegal::ForeignFrame { index });
            }
        }
        let mut here: Vec<ContextId> = Vec::new();
        for (index, frame) in stack.iter().enumerate().rev() {
            let below: Vec<ContextId> = if index == root {
                self.functions_of(frame).flat_map(|function| self.children(None, function)).collect()
            } else {
                here.iter()
                    .flat_map(|&parent| {
                        self.functions_of(frame).flat_map(move |function| self.children(Some(parent), function))
                    })
                    .collect()
            };
            if below.is_empty() {
                return Err(if index == root { Illegal::CutShort } else { Illegal::MixedBranches { index } });
            }
            let caller = stack.get(index + 1);
            let reachable: Vec<ContextId> =
                below.into_iter().filter(|&id| caller.is_none_or(|caller| self.called_from(id, caller))).collect();
            if reachable.is_empty() {
                return Err(Illegal::WrongLine { index: index + 1 });
            }
            here = reachable;
            here.retain(|&id| self.is_on_line_of(id, frame));
            if here.is_empty() {
                return Err(Illegal::WrongLine { index });
            }
        }
        match &self.positions {
            Some(positions) => match stack.iter().rposition(|frame| !positions.allow(frame)) {
                Some(index) => Err(Illegal::WrongPosition { index }),
                None => Ok(here),
            },
            None => Ok(here),
        }
    }

    fn functions_of<'a>(&'a self, frame: &'a Frame) -> impl Iterator<Item = FunctionId> + 'a {
        let candidates = self.by_name.get(&*frame.function).map_or(&[][..], Vec::as_slice);
        candidates.iter().copied().filter(|&id| {
            self.functions.get(id as usize).is_some_and(|function| {
                self.is_file_of(function, &frame.file) || as_cpython_tells(&function.file) == Some(&frame.file)
            })
        })
    }

    /// Whether `file` is the function's file. Compares the whole path if it is known.
    fn is_file_of(&self, function: &Function, file: &str) -> bool {
        match &self.positions {
            Some(positions) if function.file == WORKLOAD_FILE => positions.is_program(file),
            _ => function.file == file || file.rsplit('/').next() == Some(function.file.as_str()),
        }
    }

    fn children(&self, parent: Option<ContextId>, function: FunctionId) -> impl Iterator<Item = ContextId> + '_ {
        self.index.get(&(parent, function)).into_iter().flatten().copied()
    }

    fn called_from(&self, context: ContextId, caller: &Frame) -> bool {
        match self.contexts.get(context as usize).map(|context| &context.called_from) {
            Some(CallLines::At(lines)) => {
                caller.location.line.and_then(|line| u32::try_from(line).ok()).is_some_and(|line| lines.contains(&line))
            }
            Some(CallLines::Anywhere) => true,
            None => false,
        }
    }

    fn is_on_line_of(&self, context: ContextId, frame: &Frame) -> bool {
        let function =
            self.contexts.get(context as usize).and_then(|context| self.functions.get(context.function as usize));
        match (function, frame.location.line) {
            // The lines of this function are unknown.
            (Some(Function { last_line: u32::MAX, .. }), _) => true,
            (Some(function), Some(line)) => {
                u32::try_from(line).is_ok_and(|line| (function.first_line..=function.last_line).contains(&line))
            }
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use framewalk::frame::Location;

    use super::*;

    fn branches() -> Grammar {
        let mut grammar = Grammar::default();
        let mut function = |name: &str, first_line, last_line| {
            grammar.function(Function { name: name.into(), file: WORKLOAD_FILE.into(), first_line, last_line })
        };
        let module = function("<module>", 1, 30);
        let [a1, a2, b1, b2, leaf] = [("a1", 1), ("a2", 4), ("b1", 7), ("b2", 10), ("leaf", 13)]
            .map(|(name, line)| function(name, line, line + 2));
        let root = grammar.root(module);
        for (first, second, line) in [(a1, a2, 2), (b1, b2, 8)] {
            let outer = grammar.call(root, first, CallLines::At(vec![20]));
            let inner = grammar.call(outer, second, CallLines::At(vec![line]));
            grammar.call(inner, leaf, CallLines::At(vec![line + 3]));
        }
        grammar
    }

    fn stack(frames: &[(&str, i32)]) -> Vec<Frame> {
        frames
            .iter()
            .map(|&(function, line)| Frame {
                function: function.into(),
                file: "/somewhere/workload.py".into(),
                location: Location { line: Some(line), ..Location::default() },
            })
            .collect()
    }

    #[test]
    fn legal_paths_are_accepted_at_any_leaf() {
        let grammar = branches();
        for legal in [
            &[("leaf", 14), ("a2", 5), ("a1", 2), ("<module>", 20)][..],
            &[("b2", 12), ("b1", 8), ("<module>", 20)],
            &[("<module>", 30)],
        ] {
            assert_eq!(grammar.judge(&stack(legal)), Ok(()), "{legal:?}");
        }
    }

    #[test]
    fn a_known_path_is_compared_as_a_whole() {
        let mut grammar = branches();
        let of = |file: &str| {
            let frames = stack(&[("leaf", 14), ("a2", 5), ("a1", 2), ("<module>", 20)]).into_iter();
            frames.map(|frame| Frame { file: file.into(), ..frame }).collect::<Vec<_>>()
        };
        assert_eq!(grammar.judge(&of("/elsewhere/workload.py")), Ok(()));
        grammar.learn_positions(Positions::new("/somewhere/workload.py", []));
        assert_eq!(grammar.judge(&of("/somewhere/workload.py")), Ok(()));
        for other in ["/elsewhere/workload.py", WORKLOAD_FILE] {
            assert_eq!(grammar.judge(&of(other)), Err(Illegal::ForeignFrame { index: 3 }), "{other}");
        }
    }

    #[test]
    fn each_broken_rule_has_a_name() {
        let grammar = branches();
        for (illegal, expected) in [
            (&[][..], Illegal::Empty),
            (&[("leaf", 14), ("b2", 5), ("a1", 2), ("<module>", 20)], Illegal::MixedBranches { index: 1 }),
            (&[("leaf", 14), ("a1", 2), ("<module>", 20)], Illegal::MixedBranches { index: 0 }),
            (&[("leaf", 14), ("a2", 5), ("a1", 2)], Illegal::CutShort),
            (&[("leaf", 14), ("a2", 6), ("a1", 2), ("<module>", 20)], Illegal::WrongLine { index: 1 }),
            (&[("leaf", 99), ("a2", 5), ("a1", 2), ("<module>", 20)], Illegal::WrongLine { index: 0 }),
            (&[("zzz", 1), ("<module>", 20)], Illegal::ForeignFrame { index: 0 }),
        ] {
            assert_eq!(grammar.judge(&stack(illegal)), Err(expected), "{illegal:?}");
        }
    }
}
