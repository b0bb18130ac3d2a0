//! Code objects that take turns at one address: made, and freed again.

use super::{Interpreter, Kind, State, Status};
use crate::sim::map::{FIRST_GENERATION, Word};
use crate::sim::program::FunctionId;

impl Interpreter {
    /// Whether the thread's interpreter has the function's code object.
    pub(super) fn has_code(&self, state: &State, thread: usize, function: FunctionId) -> bool {
        let codes = self.map.codes();
        codes.words(function).is_none()
            || state.codes.get(codes.place(function)) == Some(&Some((function, self.map.interpreter_of(thread))))
    }

    /// Makes a function's code object; what is at its address is freed before.
    pub(super) fn compile(&self, state: &mut State, thread: usize, function: FunctionId) {
        let codes = self.map.codes();
        let place = codes.place(function);
        if codes.words(function).is_none() || self.function(function).is_none() {
            return;
        }
        let frees = match state.codes.get(place) {
            Some(None) => false,
            Some(&Some((there, _))) if there != function && self.can_free(state, thread, there) => true,
            _ => return,
        };
        if let Some(there) = state.codes.get_mut(place) {
            *there = Some((function, self.map.interpreter_of(thread)));
        }
        self.operation(state, thread, |operation, state| {
            if frees {
                operation.free_code(self.map.interpreter_of(thread), self.freed(state, thread));
            }
            operation.make_code(function, |word: Word| state.words.get(usize::from(word)).copied().unwrap_or(0));
        });
    }

    /// Frees a function's code object.
    pub(super) fn free_code(&self, state: &mut State, thread: usize, function: FunctionId) {
        if self.map.codes().words(function).is_none() || !self.can_free(state, thread, function) {
            return;
        }
        if let Some(there) = state.codes.get_mut(self.map.codes().place(function)) {
            *there = None;
        }
        self.operation(state, thread, |operation, state| {
            operation.free_code(self.map.interpreter_of(thread), self.freed(state, thread));
        });
    }

    /// The generation of the thread's interpreter.
    fn freed(&self, state: &State, thread: usize) -> u64 {
        let word = self.map.code_generation(self.map.interpreter_of(thread));
        word.and_then(|word| state.words.get(usize::from(word)).copied()).unwrap_or(FIRST_GENERATION)
    }

    /// Whether the function's code object is there and the thread's interpreter may free it.
    fn can_free(&self, state: &State, thread: usize, function: FunctionId) -> bool {
        let may_free = self.program.frees.is_none_or(|most| self.freed(state, thread) - FIRST_GENERATION < most.into());
        may_free && self.has_code(state, thread, function) && !self.is_run(state, function)
    }

    /// Whether a frame, on a stack or suspended, runs the function's code object, which is there.
    fn is_run(&self, state: &State, function: FunctionId) -> bool {
        let mut frames = state.threads.iter().flat_map(|control| &control.frames);
        let mut generators = state.generators.iter().filter(|generator| generator.status != Status::Absent);
        frames.any(|frame| frame.kind != Kind::Shim && frame.function == function)
            || generators.any(|generator| generator.function == function)
    }
}
