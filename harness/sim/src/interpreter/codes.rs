//! Creating and freeing code objects that take turns at one address.

use super::{Interpreter, Kind, State, Status};
use crate::map::{FIRST_GENERATION, Word};
use crate::program::SimFunctionId;

impl Interpreter {
    /// Whether the function's code object exists in the thread's interpreter.
    pub(super) fn has_code(&self, state: &State, thread: usize, function: SimFunctionId) -> bool {
        let codes = self.map.codes();
        codes.words(function).is_none()
            || state.codes.get(codes.place(function)) == Some(&Some((function, self.map.interpreter_of(thread))))
    }

    /// Creates a function's code object. Frees the one at its address first.
    pub(super) fn compile(&self, state: &mut State, thread: usize, function: SimFunctionId) {
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
    pub(super) fn free_code(&self, state: &mut State, thread: usize, function: SimFunctionId) {
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

    /// Code-object generation of the thread's interpreter.
    fn freed(&self, state: &State, thread: usize) -> u64 {
        let word = self.map.code_generation(self.map.interpreter_of(thread));
        word.and_then(|word| state.words.get(usize::from(word)).copied()).unwrap_or(FIRST_GENERATION)
    }

    /// Whether the function's code object exists and the thread's interpreter may free it.
    fn can_free(&self, state: &State, thread: usize, function: SimFunctionId) -> bool {
        let may_free = self.program.frees.is_none_or(|most| self.freed(state, thread) - FIRST_GENERATION < most.into());
        may_free && self.has_code(state, thread, function) && !self.is_run(state, function)
    }

    /// Whether a frame, running or suspended, uses the function's code object.
    fn is_run(&self, state: &State, function: SimFunctionId) -> bool {
        let mut frames = state.threads.iter().flat_map(|control| &control.frames);
        let mut generators = state.generators.iter().filter(|generator| generator.status != Status::Absent);
        frames.any(|frame| frame.kind != Kind::Shim && frame.function == function)
            || generators.any(|generator| generator.function == function)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::map::Role;
    use crate::program::SimInstruction::{Call, Compile, Create, Drop, Line, Resume, Yield};
    use crate::program::{SimFunction, SimProgram, Thread};
    use crate::store::SimStore;
    use crate::truth::{TrueChain, chain};
    use crate::workloads;

    /// Runs a program and switches threads whenever a code object is freed. Calls `tell` for each access with the state
    /// after it.
    fn run(program: SimProgram, accesses: usize, mut tell: impl FnMut(&Interpreter, &State, SimStore)) {
        let (interpreter, mut state) = Interpreter::start(program, [].into());
        let mut turn = 0;
        for _ in 0..accesses {
            let movable: Vec<usize> = interpreter.movable(&state).collect();
            let Some(&thread) = movable.get(turn % movable.len().max(1)) else { return };
            if let Some((store, _)) = interpreter.step(&mut state, thread, &mut || false, 0, &|_, anchor| anchor) {
                turn += usize::from(matches!(role(&interpreter, store), Some(Role::CodeGeneration(_))));
                tell(&interpreter, &state, store);
            }
        }
    }

    fn role(interpreter: &Interpreter, store: SimStore) -> Option<Role> {
        match store {
            SimStore::Word { word, .. } => interpreter.map.role(word),
            _ => None,
        }
    }

    fn chains(interpreter: &Interpreter, state: &State) -> Vec<TrueChain> {
        let mut chains = Vec::new();
        for &thread in interpreter.threads(state) {
            let mut found = TrueChain::new();
            chain(&interpreter.map, thread, |word| state.words[usize::from(word)], &mut found).unwrap();
            chains.push(found);
        }
        chains
    }

    #[test]
    fn freeing_a_code_object_is_counted_before_its_address_is_reused() {
        let (mut last, mut reused) = (None, 0);
        run(workloads::code_reuse(), 200, |interpreter, state, store| {
            let role = role(interpreter, store);
            if matches!(role, Some(Role::CodeName(_))) {
                assert_eq!(last, Some(Role::CodeGeneration(0)));
                assert!(chains(interpreter, state).iter().flatten().all(|&(function, _)| function < 2));
                reused += 1;
            }
            last = role;
        });
        assert_eq!(reused, 2, "as many as the program frees");
    }

    #[test]
    fn interpreters_alternate_with_their_own_functions() {
        let (mut seen, mut counted) = (BTreeSet::new(), BTreeSet::new());
        run(workloads::code_reuse_interpreters(), 400, |interpreter, state, store| {
            for (thread, chain) in interpreter.threads(state).iter().zip(chains(interpreter, state)) {
                seen.extend(chain.iter().map(|&(function, _)| (*thread, function)));
            }
            if let Some(Role::CodeGeneration(interpreter)) = role(interpreter, store) {
                counted.insert(interpreter);
            }
        });
        assert_eq!(seen, BTreeSet::from([(0, 0), (0, 2), (1, 1), (1, 3)]));
        assert_eq!(counted, BTreeSet::from([0, 1]));
    }

    #[test]
    fn a_suspended_generator_keeps_its_code_object() {
        let program = SimProgram {
            functions: vec![
                SimFunction::new(
                    "main",
                    &[Create(0, 1), Resume(0), Compile(2), Call(2), Line(9), Drop(0), Compile(2), Call(2)],
                ),
                SimFunction::new("numbers", &[Yield]),
                SimFunction::new("leaf", &[]).at(1),
            ],
            threads: vec![Thread::new(0, 7, true)],
            slots_per_chunk: 8,
            frees: Some(1),
        };
        let (mut line_nine, mut before, mut words) = (false, None, Vec::new());
        run(program, 100, |interpreter, state, store| {
            let Some(role) = role(interpreter, store) else { return };
            line_nine |=
                matches!(store, SimStore::Word { value, .. } if interpreter.map.codes().line_of(0, value) == Some(9));
            if matches!(role, Role::CodeGeneration(_) | Role::CodeName(_) | Role::CodeFlags(_)) {
                words.push(role);
            }
            let runs_leaf = chains(interpreter, state).iter().flatten().any(|&(function, _)| function == 2);
            if runs_leaf && before.is_none() {
                before = Some(line_nine);
            }
        });
        assert_eq!(before, Some(true), "the generator was dropped on line 9");
        assert_eq!(words, [Role::CodeGeneration(0), Role::CodeName(1), Role::CodeFlags(1)]);
    }

    #[test]
    fn without_freed_code_objects_no_code_word_changes() {
        for workload in workloads::ALL {
            let program = (workload.make)();
            let (interpreter, _) = Interpreter::start(program, [].into());
            let words = (0..interpreter.map.len()).filter_map(|word| interpreter.map.role(word));
            let of_code = |role: &Role| {
                matches!(role, Role::CodeGeneration(_) | Role::CodeName(_) | Role::CodeFlags(_) | Role::ThreadsHead(1))
            };
            assert_eq!(words.filter(of_code).count() > 0, interpreter.program.frees_code(), "{}", workload.name);
        }
    }
}
