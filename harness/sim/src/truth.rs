//! The true stack of a thread in the simulated interpreter.

use framewalk::frame::{Frame, Location};
use framewalk::stack::Stack;
use model::invariants::PossibleStacks;
use model::workload::grammar::Illegal;

use crate::map::{FrameSlot, Map};
use crate::program::{SimFunctionId, SimProgram};

/// A stack as functions and lines, leaf first.
pub type TrueChain = Vec<(SimFunctionId, u8)>;

/// More frames than any program can have. A longer chain is a bug of the simulated interpreter.
const LONGEST: usize = 1024;

/// Follows a thread's frames from the current one to the base frame. `get` returns the words. Returns `None` if the
/// frames do not lead there; only a wrong order of stores can cause that.
pub fn chain(map: &Map, thread: usize, get: impl Fn(u16) -> u64, into: &mut TrueChain) -> Option<()> {
    into.clear();
    let mut address = get(map.thread_words(thread).current_frame);
    for _ in 0..LONGEST {
        let place = map.place(address)?;
        if let FrameSlot::Base(_) = place {
            return Some(());
        }
        if let Some(words) = map.frame_words(place) {
            let function = map.codes().function_of(get(words.code), &get)?;
            into.push((function, map.codes().line_of(function, get(words.instruction))?));
        }
        address = get(map.previous_word(place)?);
    }
    None
}

/// The frames of a chain in the form that walkers return.
#[must_use]
pub fn frames(program: &SimProgram, chain: &[(SimFunctionId, u8)]) -> Vec<Frame> {
    chain
        .iter()
        .map(|&(function, line)| Frame {
            function: program.functions.get(usize::from(function)).map_or("", |function| &function.name).into(),
            file: "workload.py".into(),
            location: Location { line: Some(line.into()), end_line: Some(line.into()), ..Location::default() },
        })
        .collect()
}

/// Whether a walker's frames equal this chain.
#[must_use]
pub fn matches(program: &SimProgram, chain: &[(SimFunctionId, u8)], stack: &[Frame]) -> bool {
    stack.len() == chain.len()
        && stack.iter().zip(chain).all(|(frame, &(function, line))| {
            frame.location.line == Some(line.into())
                && program
                    .functions
                    .get(usize::from(function))
                    .is_some_and(|function| *function.name == *frame.function)
        })
}

/// The stacks that a thread had during a sample, and the rules of its program.
#[derive(Clone, Copy, Debug)]
pub struct PossibleChains<'a> {
    /// The program that the interpreter runs.
    pub program: &'a SimProgram,
    /// The id of the thread.
    pub native_thread_id: u64,
    /// The stacks that the thread had.
    pub chains: &'a [TrueChain],
}

impl PossibleStacks for PossibleChains<'_> {
    fn had(&self, seen: &[Frame]) -> bool {
        self.chains.iter().any(|chain| matches(self.program, chain, seen))
    }

    fn stacks(&self) -> Vec<Stack> {
        self.chains.iter().map(|chain| frames(self.program, chain).into()).collect()
    }

    /// The rules are those of single calls: a stack that mixes branches may break none of them.
    fn illegal(&self, seen: &[Frame]) -> Option<Illegal> {
        let id = |frame: &Frame| {
            let position = self.program.functions.iter().position(|function| *function.name == *frame.function)?;
            SimFunctionId::try_from(position).ok()
        };
        let mut ids = Vec::with_capacity(seen.len());
        for (index, frame) in seen.iter().enumerate() {
            let Some(id) = id(frame) else { return Some(Illegal::ForeignFrame { index }) };
            ids.push(id);
        }
        let Some(&root) = ids.last() else { return Some(Illegal::Empty) };
        let mut threads = self.program.threads.iter();
        if !threads.any(|thread| thread.native_thread_id == self.native_thread_id && thread.entry == root) {
            return Some(Illegal::CutShort);
        }
        let index = ids.windows(2).rposition(|pair| !self.program.may_call(pair[1], pair[0]))?;
        Some(Illegal::MixedBranches { index })
    }
}
