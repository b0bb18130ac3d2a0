//! Proves a layout on a live process of the build before anything else uses it.
//!
//! A program runs in the build, stands still in known states, and says what it is in: ids of objects are addresses. What
//! is read through the layout must be the same. A build whose layout was not proved is refused, so a wrong layout never
//! looks like a fault of CPython.
//!
//! The sizes of structures only limit how much is read. They are proved to be no larger than the memory there is.

mod facts;
mod reader;
mod rest;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use facts::{Facts, Handling, Raising};
use framewalk::layout::{CacheLayout, Layout};
use framewalk::memory::Address;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use reader::Reader;
use rest::Found;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::sanitizer::without_leak_search;
use crate::child::{Child, ChildError};
use crate::deadline::Deadline;
use crate::memory::ProcessMemory;
use crate::runtime::runtime_address;

/// The program that runs in the build.
const PROGRAM: &str = include_str!("target.py");

/// The time limit. A real target takes some hundredths of a second, a debug build on a loaded machine much longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Largest answer of the target in bytes.
const ANSWER: usize = 256 << 10;

/// How often the target raises an exception, until it was seen on its way. Once is nearly always enough.
const RAISES: usize = 100;

/// A word whose offset is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongWord {
    /// The word, or the words that lead to the value, separated by spaces.
    pub(super) words: &'static str,
    /// The value that was read.
    pub(super) read: String,
    /// The value that the target told.
    pub(super) said: String,
}

/// Why a layout was not proved.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CalibrationError {
    /// A word has a wrong offset.
    #[error(
        "the offsets of {words} are wrong: {read} was read, but the interpreter says {said}; the order of the offsets \
         probably belongs to another version: name the header of this build's source with --layout-header"
    )]
    Wrong {
        /// The word, or the words that lead to the value.
        words: String,
        /// The value that was read.
        read: String,
        /// The value that the interpreter told.
        said: String,
    },
    /// The anchor was not moved as it should, although all other words were proved.
    #[error(
        "the offsets of the anchor or its sequence are wrong, or the interpreter does not move the anchor: {read} was \
         read after a return, but {said} is right; if another build of this version has the same offsets, name it with \
         --baseline"
    )]
    Anchor {
        /// The value that was read.
        read: String,
        /// The right value.
        said: String,
        /// How many other words were proved.
        proved: usize,
    },
    /// The program that calibrates did not do what it should.
    #[error(
        "the offsets could not be checked on a live process: {0}; run it again, and check that the build can run `-c pass`"
    )]
    Target(String),
}

impl From<WrongWord> for CalibrationError {
    fn from(wrong: WrongWord) -> Self {
        let words = wrong.words.split(' ').collect::<Vec<_>>().join(", ");
        Self::Wrong { words, read: wrong.read, said: wrong.said }
    }
}

impl From<ChildError> for CalibrationError {
    fn from(error: ChildError) -> Self {
        Self::Target(error.to_string())
    }
}

/// Proves the layout on a process of `python`, and returns the words that were proved.
///
/// # Errors
/// See [`CalibrationError`].
pub fn calibrate(python: &Path, layout: &Layout) -> Result<BTreeSet<&'static str>, CalibrationError> {
    let mut target = RestingTarget::start(python)?;
    let mut reader = target.reader(layout);
    let found = reader.at_rest(&target.facts)?;
    target.through(&mut reader, found)?;
    Ok(reader.proved)
}

/// The target in its first state.
pub struct RestingTarget {
    child: Child,
    deadline: Deadline,
    runtime: Address,
    facts: Facts,
}

impl RestingTarget {
    /// Starts the target and returns when it has stopped itself.
    ///
    /// # Errors
    /// [`CalibrationError::Target`].
    pub fn start(python: &Path) -> Result<Self, CalibrationError> {
        let mut command = Command::new(python);
        command.args(["-I", "-S", "-c", PROGRAM]).env("PYTHON_JIT", "0");
        without_leak_search(&mut command);
        let failed = |error: std::io::Error| CalibrationError::Target(error.to_string());
        let mut child = Child::spawn(command).map_err(failed)?;
        let deadline = Deadline::from(Instant::now() + PATIENCE);
        let facts = stopped(&mut child, deadline)?;
        let runtime = runtime_address(child.pid().as_raw()).map_err(|it| CalibrationError::Target(it.to_string()))?;
        Ok(Self { child, deadline, runtime: runtime.address, facts })
    }

    /// Proves what is visible at rest, and returns the words that were proved.
    ///
    /// # Errors
    /// [`CalibrationError::Wrong`].
    pub fn prove(&self, layout: &Layout) -> Result<BTreeSet<&'static str>, CalibrationError> {
        let mut reader = self.reader(layout);
        reader.at_rest(&self.facts)?;
        Ok(reader.proved)
    }

    fn reader<'a>(&self, layout: &'a Layout) -> Reader<'a> {
        let memory = ProcessMemory::new(self.child.pid().as_raw());
        Reader { memory, layout, runtime: self.runtime, proved: BTreeSet::new() }
    }

    /// Lets the target go on, and returns when it has stopped itself in the next state.
    fn next<T: DeserializeOwned>(&mut self) -> Result<T, CalibrationError> {
        self.child.signal(Signal::SIGCONT)?;
        stopped(&mut self.child, self.deadline)
    }

    /// Goes through the states in which something changes.
    fn through(&mut self, reader: &mut Reader<'_>, found: Found) -> Result<(), CalibrationError> {
        self.freed_code(reader, found)?;
        let anchor = self.anchor(reader, found)?;
        self.lock(reader, found)?;
        self.exception(reader, found)?;
        self.end(reader, found)?;
        let proved = reader.proved.len();
        anchor.map_err(|wrong| CalibrationError::Anchor { read: wrong.read, said: wrong.said, proved })
    }

    /// The generation counts the code objects that were freed.
    fn freed_code(&mut self, reader: &mut Reader<'_>, found: Found) -> Result<(), CalibrationError> {
        const WORD: &str = "interpreter_state.code_object_generation";
        let generation = reader.layout.interpreter.code_object_generation;
        let before = generation.map(|offset| reader.word(WORD, found.interpreter, offset)).transpose()?;
        let _: Empty = self.next()?;
        if let (Some(before), Some(offset)) = (before, generation) {
            let after = reader.word(WORD, found.interpreter, offset)?;
            reader.same(WORD, after.wrapping_sub(before), 5)?;
        }
        Ok(())
    }

    /// The interpreter moves an anchor from a frame that returns to its caller, and increments the sequence. The inner
    /// error says how it did not.
    fn anchor(&mut self, reader: &mut Reader<'_>, found: Found) -> Result<Result<(), WrongWord>, CalibrationError> {
        let Handling { handled } = self.next()?;
        if let Some(status) = reader.layout.thread.status {
            const WORDS: &str = "thread_state.exc_state err_stackitem.exc_value";
            let read = reader.word(WORDS, found.thread, status.exc_value)?;
            reader.same_address(WORDS, read, handled)?;
        }
        let anchor = AnchorProof::begin(reader, found.thread);
        let _: Empty = self.next()?;
        Ok(anchor.map_or(Ok(()), |anchor| anchor?.end(reader)))
    }

    /// A thread that runs holds the GIL; one that was woken meanwhile requests it.
    fn lock(&mut self, reader: &mut Reader<'_>, found: Found) -> Result<(), CalibrationError> {
        const HOLDS: &str = "thread_state.holds_gil";
        const REQUESTED: &str = "thread_state.gil_requested";
        self.child.signal(Signal::SIGCONT)?;
        let _: Empty = receive(&mut self.child, self.deadline)?;
        if let Some(status) = reader.layout.thread.status {
            // The thread whose lock is released needs a moment before it requests the GIL. It never gets it here.
            let requested = loop {
                let holds = reader.int(HOLDS, found.waiter, status.holds_gil)?;
                reader.same(HOLDS, holds, 0)?;
                let requested = reader.int(REQUESTED, found.waiter, status.gil_requested)?;
                if requested != 0 || self.deadline.over().is_some() {
                    break requested;
                }
                std::thread::yield_now();
            };
            reader.same(REQUESTED, requested, 1)?;
            let holds = reader.int(HOLDS, found.thread, status.holds_gil)?;
            reader.same(HOLDS, holds, 1)?;
        }
        self.child.signal(Signal::SIGUSR1)?;
        Ok(())
    }

    /// An exception is current while it is raised. The target stops there unless its threads are
    /// scheduled in an unusual order, so that it takes another attempt.
    fn exception(&mut self, reader: &mut Reader<'_>, found: Found) -> Result<(), CalibrationError> {
        const WORD: &str = "thread_state.current_exception";
        let _: Empty = receive(&mut self.child, self.deadline)?;
        let Some(status) = reader.layout.thread.status else { return Ok(()) };
        let (mut read, mut said) = (0, 0);
        for _ in 0..RAISES {
            self.child.send(b"r", self.deadline)?;
            let _: Empty = stopped(&mut self.child, self.deadline)?;
            read = reader.word(WORD, found.thread, status.current_exception)?;
            self.child.signal(Signal::SIGCONT)?;
            Raising { raised: said } = receive(&mut self.child, self.deadline)?;
            if read != 0 {
                break;
            }
        }
        Ok(reader.same_address(WORD, read, said)?)
    }

    /// While the interpreter finalizes, `finalizing` is the thread that does it.
    fn end(&mut self, reader: &mut Reader<'_>, found: Found) -> Result<(), CalibrationError> {
        const WORD: &str = "runtime_state.finalizing";
        self.child.send(b"n", self.deadline)?;
        let _: Empty = stopped(&mut self.child, self.deadline)?;
        let read = reader.word(WORD, self.runtime, reader.layout.finalizing)?;
        Ok(reader.same_address(WORD, read, found.thread)?)
    }
}

/// An anchor that was written on a frame which is about to return.
struct AnchorProof {
    cache: CacheLayout,
    thread: Address,
    caller: Address,
    sequence: u64,
}

impl AnchorProof {
    const ANCHOR: &str = "thread_state.last_profiled_frame";
    const SEQUENCE: &str = "thread_state.last_profiled_frame_seq";

    /// Writes the anchor on the leaf. `None` if the build has no anchor.
    fn begin(reader: &mut Reader<'_>, thread: Address) -> Option<Result<Self, WrongWord>> {
        let cache = reader.layout.thread.cache?;
        let mut begin = || {
            let leaf = reader.word(Self::ANCHOR, thread, reader.layout.thread.current_frame)?;
            let caller = reader.word(Self::ANCHOR, leaf, reader.layout.frame.previous)?;
            let before = reader.word(Self::ANCHOR, thread, cache.anchor)?;
            reader.same_address(Self::ANCHOR, before, 0)?;
            let sequence = reader.word(Self::SEQUENCE, thread, cache.sequence)?;
            reader.same(Self::SEQUENCE, sequence, 0)?;
            reader.write(Self::ANCHOR, thread, cache.anchor, leaf)?;
            Ok(Self { cache, thread, caller, sequence })
        };
        Some(begin())
    }

    /// Takes the anchor away after the leaf has returned, and looks where it was.
    fn end(&self, reader: &mut Reader<'_>) -> Result<(), WrongWord> {
        let after = reader.word(Self::ANCHOR, self.thread, self.cache.anchor)?;
        reader.write(Self::ANCHOR, self.thread, self.cache.anchor, 0)?;
        reader.same_address(Self::ANCHOR, after, self.caller)?;
        let now = reader.word(Self::SEQUENCE, self.thread, self.cache.sequence)?;
        reader.same(Self::SEQUENCE, now.wrapping_sub(self.sequence), 1)
    }
}

/// An answer that says only that a state was reached.
#[derive(Debug, serde::Deserialize)]
struct Empty {}

/// Receives what the target says of a state, and returns when it has stopped itself.
fn stopped<T: DeserializeOwned>(child: &mut Child, deadline: Deadline) -> Result<T, CalibrationError> {
    let facts = receive(child, deadline)?;
    // It stops right after it has spoken.
    while !matches!(child.wait_status(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG)?, WaitStatus::Stopped(..)) {
        if deadline.over().is_some() {
            return Err(CalibrationError::Target("it does not stop".to_owned()));
        }
        std::thread::yield_now();
    }
    Ok(facts)
}

fn receive<T: DeserializeOwned>(child: &mut Child, deadline: Deadline) -> Result<T, CalibrationError> {
    let line = child.receive_line(ANSWER, deadline)?;
    serde_json::from_slice(&line).map_err(|error| CalibrationError::Target(format!("it answered nonsense: {error}")))
}
