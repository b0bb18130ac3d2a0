//! Tests that the simulated interpreter makes the stores of each operation in the same order as the real one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use sim::interpreter::{Interpreter, State};
use sim::map::{FrameSlot, Map, Role};
use sim::program::SimInstruction::{
    Call, CallFromC, Create, Delegate, Drop, FailedCall, Line, Raise, Resume, ResumeFromC, Return, ReturnRunning,
    Throw, Yield,
};
use sim::program::{SimFunction, SimInstruction, SimProgram, Thread};
use sim::store::SimStore as Done;

use crate::stores::operations::{Mode, OPERATIONS, assert_same};
use crate::stores::{Code, FrameName as Named, Store};

/// The operation is between these two lines of `main`.
const BEFORE: u8 = 9;
const AFTER: u8 = 10;

fn program(functions: Vec<SimFunction>, slots_per_chunk: u8) -> SimProgram {
    SimProgram { functions, threads: vec![Thread::new(0, 7, true)], slots_per_chunk, frees: None }
}

/// `main` prepares, performs the operation and ends on a line of its own, which is also its exception handler.
fn main_with(prepare: &[SimInstruction], operation: &[SimInstruction]) -> SimFunction {
    let body = [prepare, &[Line(BEFORE)], operation, &[Line(AFTER), Line(1)]].concat();
    let handler = u8::try_from(prepare.len() + 1 + operation.len()).unwrap();
    SimFunction::new("main", &body).handling(handler)
}

fn function(name: &str, body: &[SimInstruction]) -> SimFunction {
    SimFunction::new(name, body)
}

fn operation(name: &str) -> SimProgram {
    let values = function("values", &[Yield, Yield]);
    let functions = match name {
        "call" | "chunk" => vec![main_with(&[], &[Call(1)]), function("leaf", &[])],
        "entry" => vec![main_with(&[], &[CallFromC(1)]), function("key", &[])],
        "finalizer" => {
            vec![main_with(&[], &[Call(1)]), function("leaf", &[ReturnRunning(2)]), function("Finalized.__del__", &[])]
        }
        "exception" => vec![
            main_with(&[], &[Call(1)]),
            function("handler", &[Call(2), Return]).handling(1),
            function("middle", &[Call(3)]),
            function("leaf", &[Raise]),
        ],
        "generator" => vec![main_with(&[], &[Create(0, 1), Resume(0)]), values],
        "generator_end" => {
            vec![main_with(&[Create(0, 1), Resume(0)], &[Resume(0)]), function("values", &[Yield])]
        }
        "generator_error" => {
            vec![main_with(&[Create(0, 1), Resume(0)], &[Resume(0)]), function("values", &[Yield, Raise])]
        }
        "send" => vec![main_with(&[Create(0, 1), Resume(0)], &[ResumeFromC(0)]), values],
        "throw" => vec![main_with(&[Create(0, 1), Resume(0)], &[Throw(0)]), values.handling(1)],
        "close" => vec![main_with(&[Create(0, 1), Resume(0)], &[Throw(0)]), values],
        "close_plain" => vec![main_with(&[], &[Create(0, 1), Resume(0), Drop(0)]), values],
        "throw_delegated" => vec![
            main_with(&[Create(0, 1), Create(1, 2), Resume(0)], &[Throw(0)]),
            function("outer", &[Delegate(1)]),
            function("inner", &[Yield, Yield]).handling(1),
        ],
        "failed_bind" => vec![main_with(&[], &[Call(1), FailedCall(1)]), function("leaf", &[])],
        other => panic!("{other} is not simulated"),
    };
    program(functions, if name == "chunk" { 1 } else { 8 })
}

/// Records the stores of the simulated interpreter between the two lines, if each frame is anchored as it is entered.
struct Recorder<'a> {
    interpreter: &'a Interpreter,
    names: BTreeMap<FrameSlot, Named>,
    stores: Vec<Store>,
}

impl Recorder<'_> {
    fn map(&self) -> &Map {
        &self.interpreter.map
    }

    fn name(&self, address: u64) -> Named {
        match self.map().place(address) {
            Some(place) => self.names.get(&place).cloned().unwrap_or(Named::Base),
            None => Named::Null,
        }
    }

    fn function(&self, executable: u64) -> Option<String> {
        // No code object is freed in these programs, so no word has to be read.
        let function = self.map().codes().function_of(executable, |_| 0)?;
        self.interpreter.program.functions.get(usize::from(function)).map(|function| function.name.clone())
    }

    /// Names a new shim frame after its caller, which is the current frame.
    fn learn_shim(&mut self, address: u64, state: &State) {
        let current = state.words[usize::from(self.map().thread_words(0).current_frame)];
        if let Some(place @ FrameSlot::Shim(..)) = self.map().place(address)
            && let Named::Stack(caller) | Named::Generator(caller) = self.name(current)
        {
            self.names.insert(place, Named::Shim(caller));
        }
    }

    fn note(&mut self, store: Done, state: &State, equal: bool) {
        let (word, value) = match store {
            Done::Word { word, value } => (word, value),
            Done::CompareAnchor { .. } => return self.stores.push(Store::AnchorLoaded),
            Done::IncrementSequence { .. } => return self.stores.push(Store::SequenceIncremented),
            Done::Anchor { value, .. } => return self.stores.push(Store::Anchor(self.name(value))),
            Done::ResetSequence { .. } => return,
        };
        assert!(equal);
        match self.map().role(word).unwrap() {
            Role::CurrentFrame(_) => self.stores.push(Store::CurrentFrame(self.name(value))),
            Role::Previous(place) => {
                self.learn_shim(self.map().address(place), state);
                self.learn_shim(value, state);
                let name = self.name(self.map().address(place));
                // A frame is named after its code, which a new frame gets only after the link.
                let name = if let FrameSlot::Slot(..) = place { Named::Null } else { name };
                self.stores.push(Store::Previous(name, self.name(value)));
            }
            Role::Code(place) => match self.function(value) {
                Some(function) => {
                    let generator = matches!(place, FrameSlot::Generator(_));
                    let name = if generator { Named::generator(&function) } else { Named::stack(&function) };
                    self.names.insert(place, name);
                }
                None => self.stores.push(Store::Executable(self.name(self.map().address(place)), Code::Null)),
            },
            Role::Chunk(_) => self.stores.push(Store::Chunk((value != self.map().chunk_address(0)).into())),
            _ => {}
        }
    }
}

fn on_line(interpreter: &Interpreter, store: Done, line: u8) -> bool {
    let Done::Word { word, value } = store else { return false };
    interpreter.map.role(word) == Some(Role::Instruction(FrameSlot::Slot(0, 0)))
        && interpreter.map.codes().line_of(0, value) == Some(line)
}

fn simulate(name: &str) -> Vec<Store> {
    let (interpreter, mut state) = Interpreter::start(operation(name), [].into());
    let words = *interpreter.map.thread_words(0);
    let mut recorder = Recorder { interpreter: &interpreter, names: BTreeMap::new(), stores: Vec::new() };
    recorder.names.insert(FrameSlot::Slot(0, 0), Named::stack("main"));
    let mut recording = false;
    for _ in 0..500 {
        let store = interpreter.prepare(&mut state, 0, &mut || false).unwrap();
        if recording && on_line(&interpreter, store, AFTER) {
            return recorder.stores;
        }
        let anchor = state.words[usize::from(words.anchor)];
        let entered = entered(&interpreter, &state, store);
        let equal = !matches!(store, Done::CompareAnchor { frame, .. } if frame != anchor);
        recorder.note(store, &state, true);
        if let Done::Anchor { value, .. } = store {
            state.words[usize::from(words.anchor)] = value;
        }
        interpreter.perform(&mut state, 0, store, equal);
        if let Some(frame) = entered {
            state.words[usize::from(words.anchor)] = frame;
        }
        if on_line(&interpreter, store, BEFORE) {
            recording = true;
            recorder.stores.clear();
        }
    }
    panic!("{name} does not come to its end");
}

/// The frame that becomes current without having been on the stack. Also the frame that becomes current after a shim
/// frame on which the anchor was left behind.
fn entered(interpreter: &Interpreter, state: &State, store: Done) -> Option<u64> {
    let words = interpreter.map.thread_words(0);
    let Done::Word { word, value } = store else { return None };
    let anchor = state.words[usize::from(words.anchor)];
    let left_behind = matches!(interpreter.map.place(anchor), Some(FrameSlot::Shim(..)));
    if word == words.current_frame && left_behind && value != anchor {
        return Some(value);
    }
    let mut frame = state.words[usize::from(words.current_frame)];
    while word == words.current_frame && frame != value {
        let place = interpreter.map.place(frame)?;
        match interpreter.map.previous_word(place) {
            Some(previous) => frame = state.words[usize::from(previous)],
            None => return Some(value),
        }
    }
    None
}

/// The stores of a real list that walkers can see and the simulated interpreter models.
fn visible(stores: Vec<Store>) -> Vec<Store> {
    stores
        .into_iter()
        .filter_map(|store| match store {
            Store::Previous(Named::Stack(_), caller) => Some(Store::Previous(Named::Null, caller)),
            Store::Executable(_, Code::Null)
            | Store::Previous(..)
            | Store::CurrentFrame(_)
            | Store::AnchorLoaded
            | Store::SequenceIncremented
            | Store::Anchor(_)
            | Store::Chunk(_) => Some(store),
            _ => None,
        })
        .collect()
}

#[test]
fn the_simulated_interpreter_stores_in_this_order() {
    // These are made of other operations or are not simulated: the frame that calls __init__, and callbacks of
    // sys.monitoring.
    const LEFT_OUT: [&str; 4] = ["instantiation", "coroutine", "async_generator", "monitored"];
    let simulated: Vec<_> = OPERATIONS.iter().filter(|operation| !LEFT_OUT.contains(&operation.name)).collect();
    assert_eq!(simulated.len(), OPERATIONS.len() - LEFT_OUT.len());
    for operation in simulated {
        let expected = visible((operation.expected)(Mode::Release));
        assert_same(operation.name, &simulate(operation.name), &expected);
    }
}
