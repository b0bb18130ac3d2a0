//! Runs a program one store at a time.
//!
//! The interpreter's own state is Python's: which function is at which instruction. A walker sees only the words.
//! Threads take turns between operations, as with the GIL, never inside one.

mod codes;
mod generators;
mod stack;
mod threads;

use framewalk::memory::Address;

use crate::map::{CHUNK_COUNT, FrameSlot, Map};
use crate::operations::Operation;
use crate::program::{SimFunction, SimFunctionId, SimInstruction, SimProgram, VARIABLES, Variable};
use crate::store::SimStore;
use crate::variation::Variations;

/// Instructions without a store that a thread may execute in a row. A thread that executes more is in a loop, and is
/// put to rest.
const SILENT_LIMIT: usize = 64;

/// A program with its memory.
pub struct Interpreter {
    /// The program that the threads run.
    pub program: SimProgram,
    /// The addresses and words of its memory.
    pub map: Map,
    /// The ways in which it differs from CPython 3.15.2.
    pub variations: Variations,
}

/// The store of an anchor update that comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum First {
    /// The anchor, as in the source.
    Anchor,
    /// The sequence, as in release builds of 3.15.
    Sequence,
}

/// Everything that changes: the words, and the interpreter's own state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The values of the words, by the indices of [`Map`].
    pub words: Vec<u64>,
    threads: Vec<Control>,
    generators: [Generator; VARIABLES],
    chunk_taken: [bool; CHUNK_COUNT],
    /// The live threads, in the order of their interpreters' lists.
    list: Vec<usize>,
    /// By the number of an address at which functions take turns: the function whose code object is there, and its
    /// interpreter.
    codes: Vec<Option<(SimFunctionId, usize)>>,
    /// The places of the next shim frames; the last entry is used first. If empty, a shim frame's depth is its place.
    /// The interpreter does not depend on where C puts its frames.
    pub shims_ahead: Vec<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Control {
    frames: Vec<Activation>,
    /// Index and number of used slots of each chunk.
    chunks: Vec<(usize, usize)>,
    /// An emptied chunk that stays mapped for reuse.
    spare: Option<usize>,
    /// The stores of the operation in progress, and how many of them are done.
    stores: Vec<SimStore>,
    done: usize,
    /// The frames that leave the stack in this operation.
    leaving: Vec<Address>,
    raising: bool,
    rests: bool,
    /// Its thread state is not linked yet.
    starting: bool,
    /// Its thread state is freed once its last frame has left the stack.
    ending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Activation {
    place: FrameSlot,
    function: SimFunctionId,
    next: u8,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// It runs Python code.
    Running,
    /// It is a shim frame between C and Python.
    Shim,
    /// It has left the stack. Its locals are being cleared, which runs this function.
    Clearing(Option<SimFunctionId>),
    /// A generator with an exception being thrown into its delegate.
    Throwing,
    /// A generator function that is about to create a generator for this variable.
    Making(Variable),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Generator {
    status: Status,
    function: SimFunctionId,
    next: u8,
    /// The generator that it delegates to has yielded, so it must yield, too.
    passes_on: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Status {
    #[default]
    Absent,
    Suspended,
    Running,
}

impl Interpreter {
    /// Returns the interpreter for a program and its initial state.
    #[must_use]
    pub fn start(program: SimProgram, variations: Variations) -> (Self, State) {
        let map = Map::new(&program);
        Self::start_in(map, program, variations)
    }

    /// As [`Interpreter::start`], in the memory `map`, which must have been made for the program.
    #[must_use]
    pub fn start_in(map: Map, program: SimProgram, variations: Variations) -> (Self, State) {
        let interpreter = Self { program, map, variations };
        let mut state = State {
            words: interpreter.map.initial().to_vec(),
            threads: vec![Control::default(); interpreter.map.threads()],
            generators: [Generator::default(); VARIABLES],
            chunk_taken: [false; CHUNK_COUNT],
            list: Vec::new(),
            codes: interpreter.map.codes().first().map(|first| first.map(|function| (function, 0))).collect(),
            shims_ahead: Vec::new(),
        };
        for thread in (0..interpreter.map.threads()).rev() {
            let started = interpreter.program.threads.get(thread).is_some_and(|thread| thread.started);
            if thread == 0 || started {
                interpreter.start_thread(&mut state, thread);
                while state.threads[thread].starting {
                    let Some(store) = interpreter.prepare(&mut state, thread, &mut || false) else { break };
                    interpreter.perform(&mut state, thread, store, true);
                }
            }
        }
        (interpreter, state)
    }

    /// The threads that can move: the thread inside an operation if there is one, otherwise every thread with something
    /// left to do.
    pub fn movable<'a>(&self, state: &'a State) -> impl Iterator<Item = usize> + use<'a> {
        let inside = state.threads.iter().position(|control| control.done > 0 || control.starting);
        (0..state.threads.len())
            .filter(move |&thread| inside.is_none_or(|inside| inside == thread))
            .filter(|&thread| !state.threads[thread].frames.is_empty() || state.threads[thread].done > 0)
            .filter(|&thread| !state.threads[thread].rests)
    }

    /// Whether no thread is inside an operation.
    #[must_use]
    pub fn is_between_operations(&self, state: &State) -> bool {
        state.threads.iter().all(|control| control.done == 0 && !control.starting)
    }

    /// Whether no thread is inside an operation or has a shim frame as its current frame.
    #[must_use]
    pub fn is_at_rest(&self, state: &State) -> bool {
        let on_shim = |&thread: &usize| {
            let current = state.words[usize::from(self.map.thread_words(thread).current_frame)];
            matches!(self.map.place(current), Some(FrameSlot::Shim(..)) | None)
        };
        self.is_between_operations(state) && !self.threads(state).iter().any(on_shim)
    }

    /// The live threads, in the order of their interpreters' lists.
    #[must_use]
    pub fn threads<'a>(&self, state: &'a State) -> &'a [usize] {
        &state.list
    }

    /// Returns the thread's next access. Starts its next operation if the last one is finished. `choice` decides
    /// branches. Returns `None` if the thread has nothing left to do.
    pub fn prepare(&self, state: &mut State, thread: usize, choice: &mut dyn FnMut() -> bool) -> Option<SimStore> {
        for _ in 0..SILENT_LIMIT {
            let control = state.threads.get(thread)?;
            if let Some(&store) = control.stores.get(control.done) {
                return Some(store);
            }
            if control.frames.is_empty() || control.rests {
                return None;
            }
            self.fetch(state, thread, choice);
        }
        // It loops without accessing memory.
        state.threads.get_mut(thread)?.rests = true;
        None
    }

    /// Performs the access that [`Interpreter::prepare`] returned, except for anchor and sequence, which are left to
    /// the caller. `equal` is the result of an anchor comparison. Returns the frames that have left the stack if this
    /// access ends the operation.
    pub fn perform(&self, state: &mut State, thread: usize, store: SimStore, equal: bool) -> Vec<Address> {
        match store {
            SimStore::Word { word, value } => {
                if let Some(there) = state.words.get_mut(usize::from(word)) {
                    *there = value;
                }
            }
            SimStore::CompareAnchor { skip, .. } if !equal => state.threads[thread].done += skip,
            _ => {}
        }
        let control = &mut state.threads[thread];
        control.done += 1;
        if control.done >= control.stores.len() {
            control.stores.clear();
            control.done = 0;
            control.starting = false;
            return std::mem::take(&mut control.leaving);
        }
        Vec::new()
    }

    /// Performs one access, with anchor and sequence in the words. `load` is what a comparison of this thread loads, given
    /// the anchor in memory. Returns the access, and the frames that have left the stack if it was the last one of an
    /// operation.
    pub fn step(
        &self,
        state: &mut State,
        thread: usize,
        choice: &mut dyn FnMut() -> bool,
        first_sequence: u64,
        load: &dyn Fn(usize, Address) -> Address,
    ) -> Option<(SimStore, Vec<Address>)> {
        let store = self.prepare(state, thread, choice)?;
        let mut equal = true;
        let words = |thread: usize| self.map.thread_words(thread);
        match store {
            SimStore::Word { .. } => {}
            SimStore::CompareAnchor { thread, frame, .. } => {
                equal = load(thread, state.words[usize::from(words(thread).anchor)]) == frame;
            }
            SimStore::IncrementSequence { thread } => {
                let word = &mut state.words[usize::from(words(thread).sequence)];
                *word = word.wrapping_add(1);
            }
            SimStore::ResetSequence { thread } => state.words[usize::from(words(thread).sequence)] = first_sequence,
            SimStore::Anchor { thread, value } => state.words[usize::from(words(thread).anchor)] = value,
        }
        let left = self.perform(state, thread, store, equal);
        Some((store, left))
    }

    /// Whether the C stack or the heap still holds the frame at that place, running or suspended. Places on the data
    /// stack always keep their content.
    #[must_use]
    pub fn is_kept(&self, state: &State, place: FrameSlot) -> bool {
        let mut frames = state.threads.iter().flat_map(|control| &control.frames);
        match place {
            FrameSlot::Base(_) | FrameSlot::Slot(..) => true,
            FrameSlot::Shim(..) => frames.any(|activation| activation.place == place),
            FrameSlot::Generator(variable) => {
                let being_made =
                    frames.any(|one| matches!(one.kind, Kind::Making(made) if usize::from(made) == variable));
                let status = state.generators.get(variable).map_or(Status::Absent, |generator| generator.status);
                status != Status::Absent && !being_made
            }
        }
    }

    /// If the thread's next two accesses store anchor and sequence: which of them comes first.
    #[must_use]
    pub fn next_update(&self, state: &State, thread: usize) -> Option<First> {
        let control = state.threads.get(thread)?;
        match control.stores.get(control.done..)? {
            [SimStore::Anchor { .. }, SimStore::IncrementSequence { .. }, ..] => Some(First::Anchor),
            [SimStore::IncrementSequence { .. }, SimStore::Anchor { .. }, ..] => Some(First::Sequence),
            _ => None,
        }
    }

    /// Swaps these two stores. Compilers may order them either way, and one build can have both orders.
    pub fn swap_update(&self, state: &mut State, thread: usize) {
        if self.next_update(state, thread).is_some()
            && let Some(control) = state.threads.get_mut(thread)
        {
            control.stores.swap(control.done, control.done + 1);
        }
    }

    /// The frame of the thread's running function.
    fn top(&self, state: &State, thread: usize) -> FrameSlot {
        state.threads[thread]
            .frames
            .iter()
            .rev()
            .find(|activation| !matches!(activation.kind, Kind::Clearing(_)))
            .map_or(FrameSlot::Base(thread), |activation| activation.place)
    }

    fn function(&self, id: SimFunctionId) -> Option<&SimFunction> {
        self.program.functions.get(usize::from(id))
    }

    fn instruction(&self, activation: &Activation) -> Option<SimInstruction> {
        self.function(activation.function)?.body.get(usize::from(activation.next)).copied()
    }

    /// Starts the thread's next operation.
    fn fetch(&self, state: &mut State, thread: usize, choice: &mut dyn FnMut() -> bool) {
        let Some(&top) = state.threads[thread].frames.last() else { return };
        match top.kind {
            Kind::Clearing(Some(finalizer)) => {
                if let Some(top) = state.threads[thread].frames.last_mut() {
                    top.kind = Kind::Clearing(None);
                }
                self.call(state, thread, finalizer, true);
            }
            Kind::Clearing(None) => {
                state.threads[thread].frames.pop();
                self.operation(state, thread, |_, _| {});
                self.pop(state, thread, top);
            }
            Kind::Shim => {
                state.threads[thread].frames.pop();
                let caller = self.top(state, thread);
                self.operation(state, thread, |operation, _| operation.leave_shim(top.place, caller));
                if state.threads[thread].frames.is_empty() && state.threads[thread].ending {
                    self.free_thread(state, thread);
                }
            }
            Kind::Throwing => self.thrown(state, thread, top),
            Kind::Making(variable) => self.return_generator(state, thread, top, variable),
            Kind::Running if state.threads[thread].raising => self.propagate(state, thread, top),
            Kind::Running => self.run(state, thread, top, choice),
        }
    }

    /// Replaces the finished operation of a thread.
    fn operation(&self, state: &mut State, thread: usize, build: impl FnOnce(&mut Operation<'_>, &mut State)) {
        let old = std::mem::take(&mut state.threads[thread].stores);
        let mut operation = Operation::new(&self.map, &self.variations, thread, old);
        build(&mut operation, state);
        let control = &mut state.threads[thread];
        (control.stores, control.leaving) = operation.done();
        control.done = 0;
    }

    /// Appends to the operation of a thread.
    fn append(&self, state: &mut State, thread: usize, build: impl FnOnce(&mut Operation<'_>)) {
        let mut operation = Operation::new(&self.map, &self.variations, thread, Vec::new());
        build(&mut operation);
        let (stores, leaving) = operation.done();
        state.threads[thread].stores.extend(stores);
        state.threads[thread].leaving.extend(leaving);
    }

    fn run(&self, state: &mut State, thread: usize, top: Activation, choice: &mut dyn FnMut() -> bool) {
        let is_entry = state.threads[thread].frames.len() == 2;
        let instruction = self.instruction(&top).unwrap_or(SimInstruction::Return);
        let set_next = |state: &mut State, next: u8| {
            if let Some(top) = state.threads[thread].frames.last_mut() {
                top.next = next;
            }
        };
        if !matches!(instruction, SimInstruction::Delegate(_)) {
            set_next(state, top.next.saturating_add(1));
        }
        match instruction {
            SimInstruction::Line(line) => {
                self.operation(state, thread, |operation, _| operation.line(top.place, top.function, line));
            }
            SimInstruction::Call(function) => self.call(state, thread, function, false),
            SimInstruction::CallFromC(function) => self.call(state, thread, function, true),
            SimInstruction::FailedCall(function) => self.failed_call(state, thread, function),
            SimInstruction::Return | SimInstruction::ReturnRunning(_) if is_entry => {
                if self.instruction(&Activation { next: 0, ..top }).is_none() {
                    state.threads[thread].rests = true;
                }
                set_next(state, 0);
            }
            SimInstruction::Return => self.leave(state, thread, top, None),
            SimInstruction::ReturnRunning(finalizer) => {
                let finalizer = self.function(finalizer).map(|_| finalizer);
                self.leave(state, thread, top, finalizer);
            }
            SimInstruction::Raise => state.threads[thread].raising = !is_entry,
            SimInstruction::Create(variable, function) => self.create(state, thread, variable, function),
            SimInstruction::Resume(variable) => {
                self.resume(state, thread, variable, false);
            }
            SimInstruction::ResumeFromC(variable) => {
                self.resume(state, thread, variable, true);
            }
            SimInstruction::Yield => self.suspend(state, thread, top),
            SimInstruction::Delegate(variable) => self.delegate(state, thread, top, variable),
            SimInstruction::Throw(variable) => self.throw(state, thread, variable),
            SimInstruction::Drop(variable) => {
                if let Some(generator) = state.generators.get_mut(usize::from(variable))
                    && generator.status == Status::Suspended
                {
                    *generator = Generator::default();
                    self.operation(state, thread, |operation, _| {
                        operation.clear_generator(FrameSlot::Generator(usize::from(variable)));
                    });
                }
            }
            SimInstruction::Jump(next) => set_next(state, next),
            SimInstruction::Branch(next) => {
                if choice() {
                    set_next(state, next);
                }
            }
            SimInstruction::StartThread(other) => {
                let other = usize::from(other);
                // The kernel never gives one id to two threads at the same time.
                let id = |thread: usize| self.program.threads.get(thread).map(|thread| thread.native_thread_id);
                let free = state.list.iter().all(|&live| id(live) != id(other))
                    && (0..state.threads.len()).all(|thread| id(thread) != id(other) || !state.threads[thread].ending);
                if free && state.threads.get(other).is_some() {
                    self.start_thread(state, other);
                }
            }
            SimInstruction::EndThread => {
                if is_entry && thread != 0 {
                    state.threads[thread].ending = true;
                    self.leave(state, thread, top, None);
                }
            }
            SimInstruction::Compile(function) => self.compile(state, thread, function),
            SimInstruction::Free(function) => self.free_code(state, thread, function),
        }
    }
}
