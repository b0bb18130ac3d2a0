//! Generators: creating, resuming, suspending, delegating and throwing.

use super::{Activation, Generator, Interpreter, Kind, State, Status};
use crate::map::FrameSlot;
use crate::program::{SimFunctionId, SimInstruction, Variable};
use crate::variation::Variation;

impl Interpreter {
    /// Calls a generator function.
    pub(super) fn create(&self, state: &mut State, thread: usize, variable: Variable, function: SimFunctionId) {
        let Some(generator) = state.generators.get_mut(usize::from(variable)) else { return };
        if generator.status != Status::Absent {
            return;
        }
        generator.status = Status::Running;
        let caller = self.top(state, thread);
        let Some((place, covered, grown)) = self.take(state, thread, function) else {
            state.generators[usize::from(variable)] = Generator::default();
            return;
        };
        self.operation(state, thread, |operation, state| {
            if grown {
                self.grow(state, operation, thread);
            }
            operation.initialise(place, function, Some(caller), &covered);
            operation.current_frame(place);
        });
        self.push(state, thread, place, function, 0, Kind::Making(variable));
    }

    /// RETURN_GENERATOR: the frame is copied into the generator and leaves the stack.
    pub(super) fn return_generator(&self, state: &mut State, thread: usize, top: Activation, variable: Variable) {
        state.threads[thread].frames.pop();
        let caller = self.top(state, thread);
        let index = usize::from(variable);
        self.operation(state, thread, |operation, _| {
            operation.copy_to_generator(FrameSlot::Generator(index), top.function);
            operation.advance(self.map.address(top.place), caller, Variation::AnchorKeptOnReturnGenerator);
            operation.current_frame(caller);
        });
        if let Some(generator) = state.generators.get_mut(index) {
            *generator = Generator { status: Status::Suspended, function: top.function, ..Generator::default() };
        }
        self.give_back(state, thread, top);
    }

    /// The generator in the variable if it is suspended. It is marked as running.
    pub(super) fn wake(&self, state: &mut State, variable: Variable) -> Option<Generator> {
        let generator = state.generators.get_mut(usize::from(variable))?;
        if generator.status != Status::Suspended {
            return None;
        }
        generator.status = Status::Running;
        Some(*generator)
    }

    pub(super) fn resume(&self, state: &mut State, thread: usize, variable: Variable, from_c: bool) -> bool {
        let shim = if from_c { self.shim(state, thread) } else { None };
        if from_c && shim.is_none() {
            return false;
        }
        let Some(generator) = self.wake(state, variable) else { return false };
        let place = FrameSlot::Generator(usize::from(variable));
        let caller = self.top(state, thread);
        self.append(state, thread, |operation| {
            match shim {
                Some(shim) => operation.enter(shim, place, caller),
                None => operation.previous(place, Some(caller)),
            }
            operation.current_frame(place);
        });
        if let Some(shim) = shim {
            self.push(state, thread, shim, 0, 0, Kind::Shim);
        }
        self.push(state, thread, place, generator.function, generator.next, Kind::Running);
        true
    }

    /// The topmost frame yields. Does nothing if it is not a generator's frame.
    pub(super) fn suspend(&self, state: &mut State, thread: usize, top: Activation) {
        let FrameSlot::Generator(variable) = top.place else { return };
        let next = state.threads[thread].frames.pop().map_or(0, |top| top.next);
        let caller = self.top(state, thread);
        self.operation(state, thread, |operation, _| {
            operation.suspend(top.place, caller, Variation::AnchorKeptOnYield);
        });
        if let Some(generator) = state.generators.get_mut(variable) {
            generator.status = Status::Suspended;
            generator.next = next;
        }
        let Some(&outer) = state.threads[thread].frames.last() else { return };
        if let (Kind::Running, FrameSlot::Generator(outer_variable)) = (outer.kind, outer.place)
            && self.instruction(&outer) == Some(SimInstruction::Delegate(u8::try_from(variable).unwrap_or(u8::MAX)))
            && let Some(generator) = state.generators.get_mut(outer_variable)
        {
            generator.passes_on = true;
        }
    }

    pub(super) fn delegate(&self, state: &mut State, thread: usize, top: Activation, variable: Variable) {
        if let FrameSlot::Generator(own) = top.place
            && let Some(generator) = state.generators.get_mut(own)
            && std::mem::take(&mut generator.passes_on)
        {
            self.suspend(state, thread, top);
            return;
        }
        if !self.resume(state, thread, variable, false)
            && let Some(top) = state.threads[thread].frames.last_mut()
        {
            top.next = top.next.saturating_add(1);
        }
    }

    pub(super) fn throw(&self, state: &mut State, thread: usize, variable: Variable) {
        let index = usize::from(variable);
        let Some(&generator) = state.generators.get(index) else { return };
        if generator.status != Status::Suspended {
            return;
        }
        let outer = Activation {
            place: FrameSlot::Generator(index),
            function: generator.function,
            next: generator.next,
            kind: Kind::Throwing,
        };
        if let Some(SimInstruction::Delegate(inner)) = self.instruction(&outer)
            && inner != variable
            && state.generators.get(usize::from(inner)).is_some_and(|inner| inner.status == Status::Suspended)
            && self.shim(state, thread).is_some()
        {
            self.wake(state, variable);
            let caller = self.top(state, thread);
            self.append(state, thread, |operation| {
                operation.previous(outer.place, Some(caller));
                operation.current_frame(outer.place);
            });
            state.threads[thread].frames.push(outer);
            state.threads[thread].raising = self.resume(state, thread, inner, true);
        } else if self.resume(state, thread, variable, true) {
            state.threads[thread].raising = true;
        }
    }

    /// The throw into the delegate is finished: the outer generator's frame leaves the stack. If the exception passed
    /// through, it is thrown into the outer generator itself.
    pub(super) fn thrown(&self, state: &mut State, thread: usize, top: Activation) {
        state.threads[thread].frames.pop();
        let caller = self.top(state, thread);
        self.operation(state, thread, |operation, _| {
            operation.suspend(top.place, caller, Variation::AnchorKeptOnThrow);
        });
        let FrameSlot::Generator(variable) = top.place else { return };
        if let Some(generator) = state.generators.get_mut(variable) {
            generator.status = Status::Suspended;
            generator.passes_on = false;
        }
        // If the delegate ended without an exception, the generator continues after the delegation, still called from
        // C.
        let ended = match self.instruction(&top) {
            Some(SimInstruction::Delegate(inner)) => {
                state.generators.get(usize::from(inner)).is_none_or(|inner| inner.status == Status::Absent)
            }
            _ => false,
        };
        let raising = state.threads[thread].raising;
        if ended
            && !raising
            && let Some(generator) = state.generators.get_mut(variable)
        {
            generator.next = generator.next.saturating_add(1);
        }
        if raising || ended {
            self.resume(state, thread, u8::try_from(variable).unwrap_or(u8::MAX), true);
        }
    }
}
