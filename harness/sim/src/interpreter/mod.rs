//! Runs a program store by store.
//!
//! The interpreter's own state is Python's: which function stands at which instruction. What a walker sees is only the
//! words. Threads take turns between operations, as the GIL has it, never inside one.

mod codes;
mod generators;
mod stack;
mod threads;

use framewalk::memory::Address;

use crate::map::{CHUNK_COUNT, Map, Place};
use crate::operations::Operation;
use crate::program::{Function, FunctionId, Instruction, Program, VARIABLES, Variable};
use crate::store::Store;
use crate::variation::Variations;

/// Instructions without a store that a thread may run through at once; a thread with more of them loops, and rests.
const SILENT_LIMIT: usize = 64;

/// A program in its memory.
pub struct Interpreter {
    /// What runs.
    pub program: Program,
    /// Where.
    pub map: Map,
    /// How it differs from CPython.
    pub variations: Variations,
}

/// Which store of an update comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum First {
    /// The anchor, as the source has it.
    Anchor,
    /// The sequence.
    Sequence,
}

/// Everything that changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// By the numbers of [`Map`].
    pub words: Vec<u64>,
    threads: Vec<Control>,
    generators: [Generator; VARIABLES],
    chunk_taken: [bool; CHUNK_COUNT],
    /// The live threads in the order of their interpreters' lists.
    list: Vec<usize>,
    /// By the number of an address at which functions take turns: whose code object is there, and its interpreter.
    codes: Vec<Option<(FunctionId, usize)>>,
    /// Where the next shim frames are to stand, the next one last. Without it a shim frame stands where its depth is: where
    /// C has its frames is no matter of the interpreter.
    pub shims_ahead: Vec<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Control {
    frames: Vec<Activation>,
    /// Chunks, and how many slots of each are taken.
    chunks: Vec<(usize, usize)>,
    /// A chunk that was given back and is kept, mapped, for the next time.
    spare: Option<usize>,
    /// The operation in progress, and how much of it is done.
    stores: Vec<Store>,
    done: usize,
    /// The frames that leave the stack by it.
    leaving: Vec<Address>,
    raising: bool,
    rests: bool,
    /// Its thread state is not linked yet.
    starting: bool,
    /// Its thread state is to be freed once its last frame has left.
    ending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Activation {
    place: Place,
    function: FunctionId,
    next: u8,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Runs Python code.
    Running,
    /// Stands between C and Python.
    Shim,
    /// Has left the stack; its locals are cleared, which is to run this function.
    Clearing(Option<FunctionId>),
    /// A generator into whose delegate an exception is thrown.
    Throwing,
    /// A generator function that is to make a generator for this variable.
    Making(Variable),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Generator {
    status: Status,
    function: FunctionId,
    next: u8,
    /// The generator that it delegates to has yielded, and so must it.
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
    /// The program, and the state in which it starts.
    #[must_use]
    pub fn start(program: Program, variations: Variations) -> (Self, State) {
        let map = Map::new(&program);
        Self::start_in(map, program, variations)
    }

    /// The same in the memory `map`, which was made for the program.
    #[must_use]
    pub fn start_in(map: Map, program: Program, variations: Variations) -> (Self, State) {
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

    /// The threads that can move: the one inside an operation, else all that have something to do.
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

    /// Whether no thread is inside an operation or stands on a shim frame.
    #[must_use]
    pub fn is_at_rest(&self, state: &State) -> bool {
        let on_shim = |&thread: &usize| {
            let current = state.words[usize::from(self.map.thread_words(thread).current_frame)];
            matches!(self.map.place(current), Some(Place::Shim(..)) | None)
        };
        self.is_between_operations(state) && !self.threads(state).iter().any(on_shim)
    }

    /// The threads in the order of their interpreters' lists.
    #[must_use]
    pub fn threads<'a>(&self, state: &'a State) -> &'a [usize] {
        &state.list
    }

    /// The thread's next access. If its last operation is over, the next one is begun; at branches `choice` is asked.
    /// Nothing if the thread has nothing left to do.
    pub fn prepare(&self, state: &mut State, thread: usize, choice: &mut dyn FnMut() -> bool) -> Option<Store> {
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
        // It runs in circles without ever touching memory.
        state.threads.get_mut(thread)?.rests = true;
        None
    }

    /// Does the access that [`Interpreter::prepare`] gave, but for what concerns anchor and sequence: that is left to the
    /// caller. `equal` says whether a compared anchor was equal. If the operation is over, gives the frames that left.
    pub fn perform(&self, state: &mut State, thread: usize, store: Store, equal: bool) -> Vec<Address> {
        match store {
            Store::Word { word, value } => {
                if let Some(there) = state.words.get_mut(usize::from(word)) {
                    *there = value;
                }
            }
            Store::CompareAnchor { skip, .. } if !equal => state.threads[thread].done += skip,
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

    /// One access with anchor and sequence in the words. Gives what it was, and the frames that have left if it was the
    /// last of an operation.
    pub fn step(
        &self,
        state: &mut State,
        thread: usize,
        choice: &mut dyn FnMut() -> bool,
        first_sequence: u64,
    ) -> Option<(Store, Vec<Address>)> {
        let store = self.prepare(state, thread, choice)?;
        let mut equal = true;
        let words = |thread: usize| self.map.thread_words(thread);
        match store {
            Store::Word { .. } => {}
            Store::CompareAnchor { thread, frame, .. } => {
                equal = state.words[usize::from(words(thread).anchor)] == frame;
            }
            Store::IncrementSequence { thread } => {
                let word = &mut state.words[usize::from(words(thread).sequence)];
                *word = word.wrapping_add(1);
            }
            Store::ResetSequence { thread } => state.words[usize::from(words(thread).sequence)] = first_sequence,
            Store::Anchor { thread, value } => state.words[usize::from(words(thread).anchor)] = value,
        }
        let left = self.perform(state, thread, store, equal);
        Some((store, left))
    }

    /// Whether memory of the C stack or the heap belongs to the frame at that place: it is there, if only suspended. Places
    /// on the data stack keep what was there.
    #[must_use]
    pub fn is_kept(&self, state: &State, place: Place) -> bool {
        let mut frames = state.threads.iter().flat_map(|control| &control.frames);
        match place {
            Place::Base(_) | Place::Slot(..) => true,
            Place::Shim(..) => frames.any(|activation| activation.place == place),
            Place::Generator(variable) => {
                let being_made =
                    frames.any(|one| matches!(one.kind, Kind::Making(made) if usize::from(made) == variable));
                let status = state.generators.get(variable).map_or(Status::Absent, |generator| generator.status);
                status != Status::Absent && !being_made
            }
        }
    }

    /// Whether the thread's next two accesses store anchor and sequence: which of them comes first.
    #[must_use]
    pub fn next_update(&self, state: &State, thread: usize) -> Option<First> {
        let control = state.threads.get(thread)?;
        match control.stores.get(control.done..)? {
            [Store::Anchor { .. }, Store::IncrementSequence { .. }, ..] => Some(First::Anchor),
            [Store::IncrementSequence { .. }, Store::Anchor { .. }, ..] => Some(First::Sequence),
            _ => None,
        }
    }

    /// Lets these two come the other way round: compilers are free to order them, and one build can have both orders.
    pub fn swap_update(&self, state: &mut State, thread: usize) {
        if self.next_update(state, thread).is_some()
            && let Some(control) = state.threads.get_mut(thread)
        {
            control.stores.swap(control.done, control.done + 1);
        }
    }

    /// Where the thread stands: the frame of the function that runs.
    fn top(&self, state: &State, thread: usize) -> Place {
        state.threads[thread]
            .frames
            .iter()
            .rev()
            .find(|activation| !matches!(activation.kind, Kind::Clearing(_)))
            .map_or(Place::Base(thread), |activation| activation.place)
    }

    fn function(&self, id: FunctionId) -> Option<&Function> {
        self.program.functions.get(usize::from(id))
    }

    fn instruction(&self, activation: &Activation) -> Option<Instruction> {
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

    /// Replaces the (finished) operation of a thread.
    fn operation(&self, state: &mut State, thread: usize, build: impl FnOnce(&mut Operation<'_>, &mut State)) {
        let old = std::mem::take(&mut state.threads[thread].stores);
        let mut operation = Operation::new(&self.map, &self.variations, thread, old);
        build(&mut operation, state);
        let control = &mut state.threads[thread];
        (control.stores, control.leaving) = operation.done();
        control.done = 0;
    }

    /// Adds to it.
    fn append(&self, state: &mut State, thread: usize, build: impl FnOnce(&mut Operation<'_>)) {
        let mut operation = Operation::new(&self.map, &self.variations, thread, Vec::new());
        build(&mut operation);
        let (stores, leaving) = operation.done();
        state.threads[thread].stores.extend(stores);
        state.threads[thread].leaving.extend(leaving);
    }

    fn run(&self, state: &mut State, thread: usize, top: Activation, choice: &mut dyn FnMut() -> bool) {
        let is_entry = state.threads[thread].frames.len() == 2;
        let instruction = self.instruction(&top).unwrap_or(Instruction::Return);
        let set_next = |state: &mut State, next: u8| {
            if let Some(top) = state.threads[thread].frames.last_mut() {
                top.next = next;
            }
        };
        if !matches!(instruction, Instruction::Delegate(_)) {
            set_next(state, top.next.saturating_add(1));
        }
        match instruction {
            Instruction::Line(line) => {
                self.operation(state, thread, |operation, _| operation.line(top.place, top.function, line));
            }
            Instruction::Call(function) => self.call(state, thread, function, false),
            Instruction::CallFromC(function) => self.call(state, thread, function, true),
            Instruction::FailedCall(function) => self.failed_call(state, thread, function),
            Instruction::Return | Instruction::ReturnRunning(_) if is_entry => {
                if self.instruction(&Activation { next: 0, ..top }).is_none() {
                    state.threads[thread].rests = true;
                }
                set_next(state, 0);
            }
            Instruction::Return => self.leave(state, thread, top, None),
            Instruction::ReturnRunning(finalizer) => {
                let finalizer = self.function(finalizer).map(|_| finalizer);
                self.leave(state, thread, top, finalizer);
            }
            Instruction::Raise => state.threads[thread].raising = !is_entry,
            Instruction::Create(variable, function) => self.create(state, thread, variable, function),
            Instruction::Resume(variable) => {
                self.resume(state, thread, variable, false);
            }
            Instruction::ResumeFromC(variable) => {
                self.resume(state, thread, variable, true);
            }
            Instruction::Yield => self.suspend(state, thread, top),
            Instruction::Delegate(variable) => self.delegate(state, thread, top, variable),
            Instruction::Throw(variable) => self.throw(state, thread, variable),
            Instruction::Drop(variable) => {
                if let Some(generator) = state.generators.get_mut(usize::from(variable))
                    && generator.status == Status::Suspended
                {
                    *generator = Generator::default();
                    self.operation(state, thread, |operation, _| {
                        operation.clear_generator(Place::Generator(usize::from(variable)));
                    });
                }
            }
            Instruction::Jump(next) => set_next(state, next),
            Instruction::Branch(next) => {
                if choice() {
                    set_next(state, next);
                }
            }
            Instruction::StartThread(other) => {
                let other = usize::from(other);
                // The kernel gives no id to two threads at once.
                let id = |thread: usize| self.program.threads.get(thread).map(|thread| thread.native_thread_id);
                let free = state.list.iter().all(|&live| id(live) != id(other))
                    && (0..state.threads.len()).all(|thread| id(thread) != id(other) || !state.threads[thread].ending);
                if free && state.threads.get(other).is_some() {
                    self.start_thread(state, other);
                }
            }
            Instruction::EndThread => {
                if is_entry && thread != 0 {
                    state.threads[thread].ending = true;
                    self.leave(state, thread, top, None);
                }
            }
            Instruction::Compile(function) => self.compile(state, thread, function),
            Instruction::Free(function) => self.free_code(state, thread, function),
        }
    }
}
