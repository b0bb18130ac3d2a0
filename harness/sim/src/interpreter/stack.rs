//! The data stack: pushing and popping frames, and their chunks.

use super::{Activation, Generator, Interpreter, Kind, State};
use crate::map::FrameSlot;
use crate::operations::Operation;
use crate::program::SimFunctionId;
use crate::variation::Variation;

impl Interpreter {
    /// Allocates a frame on the thread's data stack. Returns its slot, the slots that its locals cover, and whether a
    /// new chunk was taken. Returns `None` if there is no room, or the function's code object does not exist.
    pub(super) fn take(
        &self,
        state: &mut State,
        thread: usize,
        function: SimFunctionId,
    ) -> Option<(FrameSlot, Vec<FrameSlot>, bool)> {
        if !self.has_code(state, thread, function) {
            return None;
        }
        let slots = self.map.slots();
        let size = usize::from(self.function(function)?.slots).clamp(1, slots);
        let control = &mut state.threads[thread];
        let mut grown = false;
        if control.chunks.last().is_none_or(|&(_, taken)| taken + size > slots) {
            let chunk = match control.spare.take() {
                Some(chunk) => chunk,
                None => state.chunk_taken.iter().position(|taken| !taken)?,
            };
            *state.chunk_taken.get_mut(chunk)? = true;
            control.chunks.push((chunk, 0));
            grown = true;
        }
        let (chunk, taken) = control.chunks.last_mut()?;
        let first = *taken;
        *taken += size;
        let chunk = *chunk;
        Some((
            FrameSlot::Slot(chunk, first),
            (first + 1..first + size).map(|slot| FrameSlot::Slot(chunk, slot)).collect(),
            grown,
        ))
    }

    /// The stores that link a new chunk.
    pub(super) fn grow(&self, state: &State, operation: &mut Operation<'_>, thread: usize) {
        let mut chunks = state.threads[thread].chunks.iter().rev().map(|&(chunk, _)| chunk);
        let (Some(new), old) = (chunks.next(), chunks.next()) else { return };
        if let Some((previous, mapped)) = self.map.chunk_words(new) {
            operation.word(mapped, 1);
            operation.word(previous, old.map_or(0, |old| self.map.chunk_address(old)));
        }
        operation.word(self.map.thread_words(thread).chunk, self.map.chunk_address(new));
    }

    /// Frees the slots of a frame. Also frees its chunk if the frame was the first in it, except for the first chunk of
    /// the thread.
    pub(super) fn give_back(&self, state: &mut State, thread: usize, activation: Activation) {
        let FrameSlot::Slot(chunk, slot) = activation.place else { return };
        let control = &mut state.threads[thread];
        if let Some((_, taken)) = control.chunks.last_mut() {
            *taken = slot;
        }
        if slot > 0 || control.chunks.len() < 2 {
            return;
        }
        control.chunks.pop();
        let before = control.chunks.last().map_or(0, |&(chunk, _)| self.map.chunk_address(chunk));
        let surplus = control.spare.replace(chunk);
        if let Some(taken) = surplus.and_then(|surplus| state.chunk_taken.get_mut(surplus)) {
            *taken = false;
        }
        self.append(state, thread, |operation| {
            operation.word(self.map.thread_words(thread).chunk, before);
            if let Some((previous, _)) = self.map.chunk_words(chunk) {
                operation.word(previous, 0);
            }
            if let Some((_, mapped)) = surplus.and_then(|surplus| self.map.chunk_words(surplus)) {
                operation.word(mapped, 0);
            }
        });
    }

    /// Frees the storage of a frame that has left the stack.
    pub(super) fn pop(&self, state: &mut State, thread: usize, activation: Activation) {
        if let FrameSlot::Slot(..) = activation.place {
            self.append(state, thread, |operation| operation.clear(activation.place));
            self.give_back(state, thread, activation);
        }
    }

    pub(super) fn shim(&self, state: &State, thread: usize) -> Option<FrameSlot> {
        let depth = state.threads[thread].frames.iter().filter(|activation| activation.kind == Kind::Shim).count();
        let place = state.shims_ahead.last().copied().unwrap_or(depth);
        (place < self.map.shims()).then_some(FrameSlot::Shim(thread, place))
    }

    pub(super) fn push(
        &self,
        state: &mut State,
        thread: usize,
        place: FrameSlot,
        function: SimFunctionId,
        next: u8,
        kind: Kind,
    ) {
        if kind == Kind::Shim {
            state.shims_ahead.pop();
        }
        state.threads[thread].frames.push(Activation { place, function, next, kind });
    }

    pub(super) fn call(&self, state: &mut State, thread: usize, function: SimFunctionId, from_c: bool) {
        if self.program.is_generator(function) {
            return;
        }
        let caller = self.top(state, thread);
        let shim = if from_c { self.shim(state, thread) } else { None };
        if from_c && shim.is_none() {
            return;
        }
        let Some((place, covered, grown)) = self.take(state, thread, function) else { return };
        self.operation(state, thread, |operation, state| {
            if grown {
                self.grow(state, operation, thread);
            }
            operation.initialise(place, function, shim.is_none().then_some(caller), &covered);
            if let Some(shim) = shim {
                operation.enter(shim, place, caller);
            }
            operation.current_frame(place);
        });
        if let Some(shim) = shim {
            self.push(state, thread, shim, 0, 0, Kind::Shim);
        }
        self.push(state, thread, place, function, 0, Kind::Running);
    }

    /// Allocates and fills a frame that never becomes the current one.
    pub(super) fn failed_call(&self, state: &mut State, thread: usize, function: SimFunctionId) {
        let caller = self.top(state, thread);
        let Some((place, covered, grown)) = self.take(state, thread, function) else { return };
        self.operation(state, thread, |operation, state| {
            if grown {
                self.grow(state, operation, thread);
            }
            operation.initialise(place, function, Some(caller), &covered);
            operation.advance(self.map.address(place), caller, Variation::AnchorKeptOnFailedBind);
            operation.clear(place);
        });
        self.give_back(state, thread, Activation { place, function, next: 0, kind: Kind::Running });
    }

    /// The topmost frame returns or is unwound.
    pub(super) fn leave(&self, state: &mut State, thread: usize, top: Activation, finalizer: Option<SimFunctionId>) {
        state.threads[thread].frames.pop();
        let caller = self.top(state, thread);
        self.operation(state, thread, |operation, state| {
            operation.leave(top.place, caller);
            if let FrameSlot::Generator(variable) = top.place {
                operation.previous(top.place, None);
                if let Some(generator) = state.generators.get_mut(variable) {
                    *generator = Generator::default();
                }
            }
        });
        if finalizer.is_some() && matches!(top.place, FrameSlot::Slot(..)) {
            self.push(state, thread, top.place, top.function, 0, Kind::Clearing(finalizer));
        } else {
            self.pop(state, thread, top);
        }
    }

    pub(super) fn propagate(&self, state: &mut State, thread: usize, top: Activation) {
        let is_entry = state.threads[thread].frames.len() == 2;
        let handler = self.function(top.function).and_then(|function| function.handler);
        match handler.or(is_entry.then_some(0)) {
            Some(handler) => {
                state.threads[thread].raising = false;
                if let Some(top) = state.threads[thread].frames.last_mut() {
                    top.next = handler;
                }
            }
            None => self.leave(state, thread, top, None),
        }
    }
}
