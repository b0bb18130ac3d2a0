//! The checks on a target that stands still.

use std::collections::BTreeSet;

use framewalk::frame::Frame;
use framewalk::memory::Address;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use model::digest::hexadecimal;

use super::WrongWord;
use super::facts::{Facts, FrameFact};
use super::reader::Reader;

/// Limits on the lists of a target that was made here: interpreters, threads, frames and chunks.
const INTERPRETERS: usize = 8;
const THREADS: usize = 64;
const FRAMES: usize = 256;
const CHUNKS: usize = 64;
/// Size of the header of a data-stack chunk: previous, size and top. Frames follow.
const CHUNK_HEADER: u64 = 24;
/// Data-stack chunks are whole pages.
const PAGE: u64 = 4096;

/// The structures that the checks found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The main interpreter's state.
    pub(super) interpreter: Address,
    /// The main thread's state.
    pub(super) thread: Address,
    /// The state of the thread whose lock is released later.
    pub(super) waiter: Address,
}

/// A frame as it was read.
struct ReadFrame {
    address: Address,
    code: Address,
    instruction: Address,
    owner: u8,
}

impl Reader<'_> {
    /// Proves every word that is visible while the target stands still.
    pub(super) fn at_rest(&mut self, facts: &Facts) -> Result<Found, WrongWord> {
        let found = self.states(facts)?;
        let frames = self.chain(found.thread)?;
        self.frames(facts, &frames, found.thread)?;
        self.generators(facts, &frames)?;
        self.codes(facts)?;
        self.texts(facts)?;
        self.status(found)?;
        let finalizing = self.word("runtime_state.finalizing", self.runtime, self.layout.finalizing)?;
        self.same_address("runtime_state.finalizing", finalizing, 0)?;
        self.walk(facts, found.thread)?;
        Ok(found)
    }

    fn states(&mut self, facts: &Facts) -> Result<Found, WrongWord> {
        const INTERPRETER_WORDS: &str = "runtime_state.interpreters_head interpreter_state.next interpreter_state.id";
        const THREAD_WORDS: &str = "interpreter_state.threads_head thread_state.next thread_state.native_thread_id";
        let (interpreter, thread) = (self.layout.interpreter, self.layout.thread);
        let head = self.word(INTERPRETER_WORDS, self.runtime, self.layout.interpreters_head)?;
        let interpreters = self.list(INTERPRETER_WORDS, head, interpreter.next, INTERPRETERS)?;
        let mut ids = BTreeSet::new();
        let mut main = None;
        for &state in &interpreters {
            let id = self.word(INTERPRETER_WORDS, state, interpreter.id)?;
            ids.insert(id);
            main = main.or((id == 0).then_some(state));
        }
        self.same(INTERPRETER_WORDS, ids, facts.interpreters.iter().copied().collect())?;
        self.same(INTERPRETER_WORDS, interpreters.len(), facts.interpreters.len())?;
        let main = main.unwrap_or(head);

        let head = self.word(THREAD_WORDS, main, interpreter.threads_head)?;
        let threads = self.list(THREAD_WORDS, head, thread.next, THREADS)?;
        let mut natives = Vec::new();
        for &state in &threads {
            natives.push(self.word(THREAD_WORDS, state, thread.native_thread_id)?);
        }
        let sorted = |ids: &[u64]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        self.same(THREAD_WORDS, sorted(&natives), sorted(&facts.threads))?;
        for &state in &threads {
            let owner = self.word("thread_state.interp", state, thread.interpreter)?;
            self.same_address("thread_state.interp", owner, main)?;
        }
        let of = |native: Option<&u64>| {
            let position = natives.iter().position(|it| Some(it) == native);
            position.and_then(|position| threads.get(position)).copied().unwrap_or(0)
        };
        Ok(Found { interpreter: main, thread: of(Some(&facts.main)), waiter: of(facts.threads.last()) })
    }

    fn chain(&mut self, thread: Address) -> Result<Vec<ReadFrame>, WrongWord> {
        const WORDS: &str = "thread_state.current_frame interpreter_frame.previous";
        let frame = self.layout.frame;
        let head = self.word(WORDS, thread, self.layout.thread.current_frame)?;
        let chain = self.list(WORDS, head, frame.previous, FRAMES)?;
        let mut frames = Vec::new();
        for address in chain {
            frames.push(ReadFrame {
                address,
                code: self.word("interpreter_frame.executable", address, frame.executable)? & !frame.tag_mask,
                instruction: self.word("interpreter_frame.instr_ptr", address, frame.instr_ptr)?,
                owner: self.byte("interpreter_frame.owner", address, frame.owner)?,
            });
        }
        Ok(frames)
    }

    fn frames(&mut self, facts: &Facts, all: &[ReadFrame], thread: Address) -> Result<(), WrongWord> {
        let owners = self.layout.frame.owners;
        let python: Vec<&ReadFrame> = all.iter().filter(|frame| !owners.is_shim(frame.owner)).collect();
        self.same(
            "thread_state.current_frame interpreter_frame.previous interpreter_frame.executable",
            python.iter().map(|frame| frame.code).collect::<Vec<_>>(),
            facts.stack.iter().map(|fact| fact.0).collect(),
        )?;
        self.same(
            "interpreter_frame.owner",
            python.iter().map(|frame| frame.owner).collect::<Vec<_>>(),
            facts.stack.iter().map(|fact| if fact.5 { owners.generator } else { owners.thread }).collect(),
        )?;
        // The leaf has moved on since it asked.
        let offset = |(frame, fact): (&&ReadFrame, &FrameFact)| {
            (frame.instruction.wrapping_sub(fact.0).wrapping_sub(self.layout.code.code_adaptive), fact.1)
        };
        let (read, said): (Vec<u64>, Vec<u64>) = python.iter().zip(&facts.stack).skip(1).map(offset).unzip();
        self.same("interpreter_frame.instr_ptr code_object.co_code_adaptive", read, said)?;

        // A frame ends where the next one on the data stack starts, or before.
        let mut on_stack: Vec<Address> =
            python.iter().filter(|frame| frame.owner == owners.thread).map(|frame| frame.address).collect();
        on_stack.sort_unstable();
        let room = on_stack.iter().zip(on_stack.iter().skip(1)).map(|(one, next)| next - one).min().unwrap_or(0);
        self.at_most("interpreter_frame.size", self.layout.frame.size, room)?;

        let last = all.last().map_or(0, |frame| frame.address);
        if let Some(cache) = self.layout.thread.cache {
            let base = self.word("thread_state.base_frame", thread, cache.base_frame)?;
            self.same_address("thread_state.base_frame", base, last)?;
            self.same("interpreter_frame.owner", all.last().is_some_and(|base| owners.is_shim(base.owner)), true)?;
            // The base frame is behind the thread state, in one block of memory.
            self.at_most("thread_state.size", self.layout.thread.size, base.wrapping_sub(thread))?;
        }

        const CHUNK: &str = "thread_state.datastack_chunk";
        let head = self.word(CHUNK, thread, self.layout.thread.datastack_chunk)?;
        let mut chunks = Vec::new();
        for chunk in self.list(CHUNK, head, 0, CHUNKS)? {
            let size = self.word(CHUNK, chunk, 8)?;
            self.same(CHUNK, size % PAGE, 0)?;
            chunks.push(chunk..chunk.saturating_add(size));
        }
        let is_inside = |frame: &&ReadFrame| {
            let start = frame.address.saturating_sub(CHUNK_HEADER);
            chunks.iter().any(|chunk| chunk.contains(&start))
        };
        let on_stack = python.iter().filter(|frame| frame.owner == owners.thread);
        let outside = on_stack.copied().filter(|frame| !is_inside(frame)).count();
        self.same(CHUNK, format!("{outside} frames outside the chunks"), "0 frames outside the chunks".to_owned())
    }

    fn generators(&mut self, facts: &Facts, frames: &[ReadFrame]) -> Result<(), WrongWord> {
        let Some(generator) = self.layout.generator else { return Ok(()) };
        let owner = self.layout.frame.owners.generator;
        let inline = frames.iter().find(|frame| frame.owner == owner).map_or(0, |frame| frame.address);
        self.same_address("gen_object.gi_iframe", facts.generator.wrapping_add(generator.frame), inline)?;
        let mut states = BTreeSet::new();
        for generator_object in facts.states {
            states.insert(self.byte("gen_object.gi_frame_state", generator_object, generator.state)?);
        }
        // The values differ between versions, but never between two generators in one state.
        self.same("gen_object.gi_frame_state", states.len(), facts.states.len())
    }

    fn codes(&mut self, facts: &Facts) -> Result<(), WrongWord> {
        let code = self.layout.code;
        self.same("code_object.co_code_adaptive", code.code_adaptive, facts.code_size)?;
        // One code unit and padding follow.
        self.at_most("code_object.size", code.size, facts.code_size + 16)?;
        for fact in &facts.codes {
            for (word, offset, said) in [
                ("code_object.filename", code.filename, fact.filename),
                ("code_object.qualname", code.qualname, fact.qualname),
                ("code_object.linetable", code.linetable, fact.linetable),
            ] {
                let read = self.word(word, fact.address, offset)?;
                self.same_address(word, read, said)?;
            }
            for (word, offset, said) in [
                ("code_object.firstlineno", code.first_line, fact.firstlineno),
                ("code_object.argcount", code.flags.wrapping_add(4), fact.argcount),
                ("code_object.argcount", code.flags, fact.flags),
            ] {
                let read = self.int(word, fact.address, offset)?;
                self.same(word, read, said)?;
            }
            let size = self.word("bytes_object.ob_size", fact.linetable, code.bytes_size)?;
            self.same("bytes_object.ob_size", size, fact.table.len() as u64 / 2)?;
            let start = fact.linetable.wrapping_add(code.bytes_data);
            let table = self.bytes("bytes_object.ob_sval", start, fact.table.len() / 2)?;
            self.same("bytes_object.ob_sval", hexadecimal(&table).as_str(), &fact.table)?;
        }
        Ok(())
    }

    fn texts(&mut self, facts: &Facts) -> Result<(), WrongWord> {
        const STATE: &str = "unicode_object.state";
        let code = self.layout.code;
        for (address, characters) in &facts.texts {
            let length = self.word("unicode_object.length", *address, code.text_length)?;
            self.same("unicode_object.length", length, characters.len() as u64)?;
            let largest = characters.iter().copied().max().unwrap_or(0);
            let (kind, is_ascii) = (
                if largest > 0xffff {
                    4
                } else if largest > 0xff {
                    2
                } else {
                    1
                },
                largest < 0x80,
            );
            let state = self.int(STATE, *address, code.text_state)?;
            let state = state >> code.text_kind_bit;
            let read = (state & 7, state >> 3 & 1, state >> 4 & 1);
            self.same(STATE, read, (kind, 1, u32::from(is_ascii)))?;
            let (word, start) = match is_ascii {
                true => ("unicode_object.asciiobject_size", code.ascii_data),
                false => ("unicode_object.compactunicodeobject_size", code.compact_data),
            };
            let bytes = self.bytes(word, address.wrapping_add(start), characters.len() * kind as usize)?;
            let unit = |unit: &[u8]| unit.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
            let read: Vec<u32> = bytes.chunks(kind as usize).map(unit).collect();
            self.same(word, read, characters.clone())?;
        }
        Ok(())
    }

    /// The words that a thread's status is derived from, as far as they are visible at rest.
    fn status(&mut self, found: Found) -> Result<(), WrongWord> {
        let Some(status) = self.layout.thread.status else { return Ok(()) };
        let main = self.word("interpreter_state.threads_main", found.interpreter, status.threads_main)?;
        self.same_address("interpreter_state.threads_main", main, found.thread)?;
        let raised = self.word("thread_state.current_exception", found.thread, status.current_exception)?;
        self.same_address("thread_state.current_exception", raised, 0)
    }

    /// The walker that reads everything returns the stack that the target told, with names and lines.
    fn walk(&mut self, facts: &Facts, thread: Address) -> Result<(), WrongWord> {
        const ALL: &str = "code_object.linetable code_object.firstlineno code_object.qualname code_object.filename";
        let site = Site { layout: *self.layout, runtime: self.runtime };
        let rejected = |why: String| WrongWord { words: ALL, read: why, said: "a stack".to_owned() };
        let mut walker = UncachedWalker::new(site).map_err(|error| rejected(error.to_string()))?;
        let sample = walker.sample_thread(&mut self.memory, thread);
        let stack = sample.outcome.map_err(|rejection| rejected(rejection.to_string()))?;
        let frame = |frame: &Frame| (frame.function.to_string(), frame.file.to_string(), frame.location.line);
        let read = stack.iter().skip(1).map(frame).collect::<Vec<_>>();
        let said = facts.stack.iter().map(|fact| (fact.2.clone(), fact.3.clone(), Some(fact.4)));
        // The leaf has moved to another line since it asked.
        self.same(ALL, read, said.skip(1).collect())
    }
}
