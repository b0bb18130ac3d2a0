//! Starting and ending threads, and forking.

use framewalk::memory::Address;

use super::{Control, Interpreter, Kind, State};
use crate::map::FrameSlot;

impl Interpreter {
    /// Creates and links a thread state, and enters its function.
    pub(super) fn start_thread(&self, state: &mut State, thread: usize) {
        let Some(entry) = self.program.threads.get(thread).copied() else { return };
        state.threads[thread] = Control::default();
        let Some((place, covered, _)) = self.take(state, thread, entry.entry) else { return };
        let Some(shim) = self.shim(state, thread) else { return };
        let words = *self.map.thread_words(thread);
        let interpreter = self.map.interpreter_of(thread);
        let head = self.siblings(state, interpreter).next().map_or(0, |head| self.map.thread_address(head));
        self.operation(state, thread, |operation, state| {
            operation.current_frame(FrameSlot::Base(thread));
            operation.fresh_cache();
            operation.word(words.native_thread_id, entry.native_thread_id);
            operation.word(words.next, head);
            operation.word(self.map.threads_head(interpreter), self.map.thread_address(thread));
            self.grow(state, operation, thread);
            operation.initialise(place, entry.entry, None, &covered);
            operation.enter(shim, place, FrameSlot::Base(thread));
            operation.current_frame(place);
        });
        state.threads[thread].starting = true;
        state.list.insert(0, thread);
        self.push(state, thread, shim, 0, 0, Kind::Shim);
        self.push(state, thread, place, entry.entry, 0, Kind::Running);
    }

    /// The child process that `thread` forks while no thread is inside an operation: the same memory, including anchors
    /// and sequences, without the other threads. (The kernel's thread id is left unchanged: nothing here depends on
    /// it.)
    #[must_use]
    pub fn fork(&self, state: &State, thread: usize) -> State {
        let mut child = state.clone();
        for other in state.list.iter().copied().filter(|&other| other != thread) {
            child.threads[other].frames.clear();
            self.free_thread(&mut child, other);
            for store in std::mem::take(&mut child.threads[other].stores) {
                self.perform(&mut child, other, store, true);
            }
            child.threads[other] = Control::default();
        }
        child
    }

    /// Unlinks a thread state after its last frame has left the stack.
    pub(super) fn free_thread(&self, state: &mut State, thread: usize) {
        if !state.list.contains(&thread) {
            return;
        }
        let interpreter = self.map.interpreter_of(thread);
        let before = self.siblings(state, interpreter).take_while(|&other| other != thread).last();
        let next = self.siblings(state, interpreter).skip_while(|&other| other != thread).nth(1);
        let next: Address = next.map_or(0, |next| self.map.thread_address(next));
        let link = before.map_or(self.map.threads_head(interpreter), |before| self.map.thread_words(before).next);
        state.list.retain(|&other| other != thread);
        state.threads[thread].ending = false;
        let mut chunks: Vec<usize> = state.threads[thread].chunks.drain(..).map(|(chunk, _)| chunk).collect();
        chunks.extend(state.threads[thread].spare.take());
        for &chunk in &chunks {
            if let Some(taken) = state.chunk_taken.get_mut(chunk) {
                *taken = false;
            }
        }
        self.append(state, thread, |operation| {
            operation.word(link, next);
            for chunk in chunks {
                if let Some((_, mapped)) = self.map.chunk_words(chunk) {
                    operation.word(mapped, 0);
                }
            }
        });
    }
    /// The live threads of an interpreter, in list order.
    fn siblings(&self, state: &State, interpreter: usize) -> impl Iterator<Item = usize> {
        state.list.iter().copied().filter(move |&thread| self.map.interpreter_of(thread) == interpreter)
    }
}
