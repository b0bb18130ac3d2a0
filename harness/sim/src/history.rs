//! The history of a run in the simulation: the interpreter's accesses and the walker's.

use framewalk::sample::ThreadSample;
use model::history::{Did, HistoryLine, columns, returned};

use crate::interpreter::{Interpreter, State};
use crate::map::{FrameSlot, Map, Role, Word};
use crate::store::SimStore;

/// One event of a history.
#[derive(Clone, Debug)]
pub enum Note {
    /// The interpreter performed an access.
    Store {
        /// Index of the thread.
        thread: usize,
        /// The access, with the values that it used.
        store: SimStore,
        /// The state before the access.
        before: Box<State>,
        /// The state after the access.
        after: Box<State>,
    },
    /// Another profiler anchored a thread's current frame.
    OtherProfiler {
        /// Index of the thread.
        thread: usize,
        /// The state after the write.
        state: Box<State>,
    },
    /// The walker begins a sample.
    Sample,
    /// The walker read a word.
    Read {
        /// The index of the word in the map.
        word: Word,
        /// The value that was read or written.
        value: u64,
        /// The state at the time of the read.
        state: Box<State>,
    },
    /// The walker wrote a word.
    Write {
        /// The index of the word in the map.
        word: Word,
        /// The value that was read or written.
        value: u64,
        /// The state after the write.
        state: Box<State>,
    },
    /// The walker returned this sample.
    Result(ThreadSample),
}

/// Number of accesses shown from those before the first sample.
const SHOWN_BEFORE: usize = 6;

/// Width of a rendered history, in characters.
const WIDTH: u16 = 110;

/// Looks up the names of frames.
struct Names<'a> {
    interpreter: &'a Interpreter,
    state: &'a State,
}

impl Names<'_> {
    fn map(&self) -> &Map {
        &self.interpreter.map
    }

    fn code(&self, executable: u64) -> &str {
        let function = self.map().codes().function_of(executable, |word| self.state.words[usize::from(word)]);
        function
            .and_then(|function| self.interpreter.program.functions.get(usize::from(function)))
            .map_or("nothing", |function| &function.name)
    }

    fn place(&self, place: FrameSlot) -> String {
        let name = self.map().frame_words(place).map(|words| self.code(self.state.words[usize::from(words.code)]));
        match place {
            FrameSlot::Base(_) => "base".to_owned(),
            FrameSlot::Shim(_, depth) => format!("shim {depth}"),
            FrameSlot::Slot(..) => format!("{}@{}", name.unwrap_or("?"), self.slot(place)),
            FrameSlot::Generator(variable) => format!("{}@gen{variable}", name.unwrap_or("?")),
        }
    }

    fn slot(&self, place: FrameSlot) -> String {
        match place {
            FrameSlot::Slot(chunk, slot) => (chunk * self.map().slots() + slot).to_string(),
            FrameSlot::Generator(variable) => format!("gen{variable}"),
            other => self.place(other),
        }
    }

    fn frame(&self, address: u64) -> String {
        match self.map().place(address) {
            Some(place) => self.place(place),
            None if address == 0 => "NULL".to_owned(),
            None => format!("{address:#x}"),
        }
    }

    /// A word with its value, or `None` if it is not worth showing.
    fn word(&self, word: Word, value: u64) -> Option<String> {
        Some(match self.map().role(word)? {
            Role::CurrentFrame(_) => format!("current_frame = {}", self.frame(value)),
            Role::Anchor(_) => format!("anchor = {}", self.frame(value)),
            Role::Sequence(_) => format!("sequence = {}", value.cast_signed()),
            Role::Previous(place @ (FrameSlot::Slot(..) | FrameSlot::Generator(_))) => {
                format!("@{} previous = {}", self.slot(place), self.frame(value))
            }
            Role::Previous(place) => format!("{} previous = {}", self.place(place), self.frame(value)),
            Role::Code(place) => format!("@{} = {}", self.slot(place), self.code(value)),
            Role::Instruction(place) => {
                let words = self.map().frame_words(place)?;
                let (codes, get) = (self.map().codes(), |word: Word| self.state.words[usize::from(word)]);
                let function = codes.function_of(get(words.code), get)?;
                format!("@{} line {}", self.slot(place), codes.line_of(function, value)?)
            }
            Role::ThreadsHead(_) => format!("threads_head = thread {}", self.thread(value)),
            Role::CodeGeneration(interpreter) => format!("interpreter {interpreter}: code generation = {value}"),
            Role::CodeName(place) => {
                let function = self.map().codes().named(place, value)?;
                let function = self.interpreter.program.functions.get(usize::from(function))?;
                format!("code object {place} is {}", function.name)
            }
            Role::CodeFlags(place) => format!("code object {place} has flags {value:#x}"),
            Role::Next(thread) => format!("thread {thread} next = thread {}", self.thread(value)),
            Role::NativeThreadId(thread) => format!("thread {thread} has id {value}"),
            Role::Chunk(_) => format!("datastack_chunk = {value:#x}"),
            Role::ChunkPrevious(chunk) => format!("chunk {chunk} previous = {value:#x}"),
            Role::ChunkMapped(chunk) if value == 0 => format!("chunk {chunk} unmapped"),
            Role::ChunkMapped(chunk) => format!("chunk {chunk} mapped"),
        })
    }

    fn thread(&self, address: u64) -> String {
        (0..self.map().threads())
            .find(|&thread| self.map().thread_address(thread) == address)
            .map_or("none".to_owned(), |thread| thread.to_string())
    }

    fn store(&self, store: SimStore, before: &State) -> Option<String> {
        Some(match store {
            SimStore::Word { word, value } => self.word(word, value)?,
            SimStore::CompareAnchor { thread, frame, .. } => {
                let word = usize::from(self.map().thread_words(thread).anchor);
                let (loaded, now) = (before.words[word], self.state.words[word]);
                let answer = if loaded == frame { "yes" } else { "no" };
                let early =
                    if loaded == now { String::new() } else { format!(" (loaded earlier: {})", self.frame(loaded)) };
                format!("anchor == {}? {answer}{early}", self.frame(frame))
            }
            SimStore::IncrementSequence { thread } | SimStore::ResetSequence { thread } => {
                let sequence = self.state.words[usize::from(self.map().thread_words(thread).sequence)];
                format!("sequence = {}", sequence.cast_signed())
            }
            SimStore::Anchor { value, .. } => format!("anchor = {}", self.frame(value)),
        })
    }
}

/// Whether a read of this word helps to understand a history. Words that never change in a single-threaded run do not.
fn is_worth_showing(map: &Map, word: Word, value: u64) -> bool {
    match map.role(word) {
        Some(Role::Next(_) | Role::NativeThreadId(_) | Role::ThreadsHead(_)) => map.threads() > 1,
        Some(Role::Chunk(_) | Role::ChunkPrevious(_)) | None => false,
        Some(Role::ChunkMapped(_)) => value == 0,
        Some(Role::Instruction(_) | Role::Previous(FrameSlot::Shim(..)) | Role::CodeFlags(_)) => false,
        Some(Role::Code(_) | Role::Previous(_)) => value != 0,
        Some(
            Role::CurrentFrame(_) | Role::Anchor(_) | Role::Sequence(_) | Role::CodeGeneration(_) | Role::CodeName(_),
        ) => true,
    }
}

/// Renders the history as a table.
#[must_use]
pub fn render(interpreter: &Interpreter, notes: &[Note]) -> String {
    columns(&history(interpreter, notes), WIDTH)
}

/// The lines of the history, in order.
#[must_use]
pub fn history(interpreter: &Interpreter, notes: &[Note]) -> Vec<HistoryLine> {
    let threads = interpreter.map.threads() > 1;
    let mut sample = 0;
    let first = notes.iter().position(|note| matches!(note, Note::Sample)).unwrap_or(0);
    let hidden = first.saturating_sub(SHOWN_BEFORE);
    let left_out = (hidden > 0).then(|| HistoryLine { did: Did::Hidden, text: format!("({hidden} accesses)") });
    let shown = notes.iter().skip(hidden).filter_map(|note| {
        let (did, text) = match note {
            Note::Store { thread, store, before, after } => {
                let text = (Names { interpreter, state: after }).store(*store, before)?;
                (Did::Store, if threads { format!("thread {thread}: {text}") } else { text })
            }
            Note::OtherProfiler { thread, state } => {
                let names = Names { interpreter, state };
                let anchor = state.words[usize::from(interpreter.map.thread_words(*thread).anchor)];
                (Did::Store, format!("another profiler: anchor = {}", names.frame(anchor)))
            }
            Note::Sample => {
                sample += 1;
                (Did::Sample, format!("sample {sample}:"))
            }
            Note::Read { word, value, state } => {
                let is_shown = is_worth_showing(&interpreter.map, *word, *value);
                (Did::Read, (Names { interpreter, state }).word(*word, *value).filter(|_| is_shown)?)
            }
            Note::Write { word, value, state } => {
                (Did::Write, format!("writes {}", (Names { interpreter, state }).word(*word, *value)?))
            }
            Note::Result(sample) => (Did::Result, returned(sample)),
        };
        Some(HistoryLine { did, text })
    });
    left_out.into_iter().chain(shown).collect()
}
