//! The memory layout of the simulated interpreter, and the words in it that change.

use std::sync::{Arc, LazyLock};

use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::memory::{Address, MemoryError};

use crate::addresses::{CHUNKS, CODES, GENERATORS, INTERPRETERS, SHIMS, STRIDE, THREADS, put};
pub use crate::addresses::{RUNTIME, Word};
use crate::codes::{CodeWords, Codes};
use crate::layout::{GENERATOR_FRAME, GENERATOR_OWNER, SHIM_OWNER};
use crate::program::{SimProgram, VARIABLES};

/// Offset of the base frame in a thread state.
const BASE_FRAME: Address = 0x380;
const SHIM_STRIDE: Address = 0x80;

/// Data-stack chunks of the process. A thread takes the first free one.
pub const CHUNK_COUNT: usize = 4;
/// `DATA_STACK_CHUNK_SIZE`.
const CHUNK_SIZE: usize = 16 << 10;
const CHUNK_HEADER: usize = 24;
/// Most entries from C that one thread can have at the same time. Also the default number of places for its shim
/// frames.
pub const SHIM_COUNT: usize = 6;
/// Most places for the shim frames of a thread.
pub const MOST_SHIMS: usize = 64;
/// The most thread states that a program can have.
pub const THREAD_COUNT: usize = 3;
/// The most interpreters that a program can have.
pub const INTERPRETER_COUNT: usize = 2;
/// Most slots of a chunk.
pub const SLOT_COUNT: u8 = 32;
/// `code_object_generation` of a new interpreter.
pub const FIRST_GENERATION: u64 = 1;

/// Location of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameSlot {
    /// The base frame of a thread, by the thread's index.
    Base(usize),
    /// A shim frame: index of the thread, depth.
    Shim(usize, usize),
    /// A slot of a data-stack chunk: index of the chunk, index of the slot.
    Slot(usize, usize),
    /// A generator's inline frame, by the index of the variable.
    Generator(usize),
}

/// Meaning of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `PyInterpreterState.threads_head`, by the index of the interpreter.
    ThreadsHead(usize),
    /// `PyInterpreterState.code_object_generation`, in programs that free code objects.
    CodeGeneration(usize),
    /// `co_qualname` of the code object at the address with that number, if functions take turns there.
    CodeName(usize),
    /// `co_flags` of that code object, if the functions differ in them.
    CodeFlags(usize),
    /// `PyThreadState.next`, by the index of the thread, as in the variants that follow.
    Next(usize),
    /// `PyThreadState.current_frame`, the address of a frame.
    CurrentFrame(usize),
    /// `PyThreadState.last_profiled_frame`, the anchor.
    Anchor(usize),
    /// `PyThreadState.last_profiled_frame_seq`, the sequence.
    Sequence(usize),
    /// `PyThreadState.native_thread_id`, the kernel's thread id.
    NativeThreadId(usize),
    /// `PyThreadState.datastack_chunk`, the newest chunk.
    Chunk(usize),
    /// `_PyStackChunk.previous`, by the index of the chunk.
    ChunkPrevious(usize),
    /// Whether the chunk is mapped. Not a word in memory.
    ChunkMapped(usize),
    /// `_PyInterpreterFrame.f_executable` of the frame in that slot.
    Code(FrameSlot),
    /// `_PyInterpreterFrame.previous` of the frame in that slot.
    Previous(FrameSlot),
    /// `_PyInterpreterFrame.instr_ptr` of the frame in that slot.
    Instruction(FrameSlot),
}

/// The changing words of an interpreter state.
#[derive(Clone, Copy, Debug)]
struct InterpreterWords {
    threads_head: Word,
    code_generation: Option<Word>,
}

/// The changing words of a thread state.
#[derive(Clone, Copy, Debug)]
pub struct ThreadWords {
    /// The word with [`Role::Next`] of the thread.
    pub next: Word,
    /// The word with [`Role::CurrentFrame`] of the thread.
    pub current_frame: Word,
    /// The word with [`Role::Anchor`] of the thread.
    pub anchor: Word,
    /// The word with [`Role::Sequence`] of the thread.
    pub sequence: Word,
    /// The word with [`Role::NativeThreadId`] of the thread.
    pub native_thread_id: Word,
    /// The word with [`Role::Chunk`] of the thread.
    pub chunk: Word,
}

/// The changing words of a frame. A shim frame has only the first.
#[derive(Clone, Copy, Debug)]
pub struct FrameWords {
    /// The word with [`Role::Previous`] of the frame.
    pub previous: Word,
    /// The word with [`Role::Code`] of the frame.
    pub code: Word,
    /// The word with [`Role::Instruction`] of the frame.
    pub instruction: Word,
}

struct Region {
    start: Address,
    background: Arc<[u8]>,
    /// The changing words of the region, by offset.
    words: Vec<(usize, Word)>,
    /// The word with the mapped flag.
    mapped: Option<Word>,
}

/// The memory of the simulated interpreter: regions of constant bytes and the words that change.
pub struct Map {
    regions: Vec<Region>,
    roles: Vec<Role>,
    initial: Vec<u64>,
    interpreters: Vec<InterpreterWords>,
    threads: Vec<ThreadWords>,
    /// Index of each thread's interpreter.
    interpreter_of: Vec<usize>,
    /// By chunk: the words `previous` and mapped.
    chunks: Vec<(Word, Word)>,
    slots: usize,
    slot_frames: Vec<FrameWords>,
    generator_frames: Vec<FrameWords>,
    shim_frames: Vec<Word>,
    shims: usize,
    codes: Codes,
}

static CHUNK: LazyLock<Arc<[u8]>> = LazyLock::new(|| {
    let mut bytes = vec![0; CHUNK_SIZE];
    put(&mut bytes, 8, CHUNK_SIZE as u64);
    bytes.into()
});

impl Map {
    /// Lays out the memory for a program.
    #[must_use]
    pub fn new(program: &SimProgram) -> Self {
        Self::with_shims(program, SHIM_COUNT)
    }

    /// As [`Map::new`], with another number of places for the shim frames of a thread.
    #[must_use]
    pub fn with_shims(program: &SimProgram, shims: usize) -> Self {
        let slots = usize::from(program.slots_per_chunk.clamp(1, SLOT_COUNT));
        let mut map = Self {
            regions: Vec::with_capacity(32),
            roles: Vec::with_capacity(128),
            initial: Vec::with_capacity(128),
            interpreters: Vec::new(),
            threads: Vec::new(),
            interpreter_of: program
                .threads
                .iter()
                .take(THREAD_COUNT)
                .map(|thread| usize::from(thread.interpreter).min(INTERPRETER_COUNT - 1))
                .collect(),
            chunks: Vec::new(),
            slots,
            slot_frames: Vec::new(),
            generator_frames: Vec::new(),
            shim_frames: Vec::new(),
            shims: shims.clamp(1, MOST_SHIMS),
            codes: Codes::new(program),
        };
        map.runtime(program.frees_code());
        for thread in 0..program.threads.len().min(THREAD_COUNT) {
            map.thread(thread);
        }
        for chunk in 0..CHUNK_COUNT {
            map.chunk(chunk);
        }
        for variable in 0..VARIABLES {
            map.generator(variable);
        }
        for place in 0..map.codes.places() {
            map.code(program, place);
        }
        map.regions.sort_by_key(|region| region.start);
        map
    }

    fn word(&mut self, role: Role) -> Word {
        self.word_of(role, 0)
    }

    fn word_of(&mut self, role: Role, initial: u64) -> Word {
        let word = Word::try_from(self.roles.len()).unwrap_or(Word::MAX);
        self.roles.push(role);
        self.initial.push(initial);
        word
    }

    fn region(&mut self, start: Address, background: impl Into<Arc<[u8]>>, words: Vec<(u64, Word)>) {
        let mut words: Vec<(usize, Word)> =
            words.into_iter().filter_map(|(offset, word)| Some((usize::try_from(offset).ok()?, word))).collect();
        words.sort_unstable();
        self.regions.push(Region { start, background: background.into(), words, mapped: None });
    }

    /// Lays out the interpreters. The newest one is first in their list.
    fn runtime(&mut self, frees_code: bool) {
        let count = self.interpreter_of.iter().max().map_or(1, |last| last + 1);
        let mut runtime = vec![0; 1024];
        put(&mut runtime, LAYOUT.interpreters_head, self.interpreter_address(count - 1));
        self.region(RUNTIME, runtime, Vec::new());
        let layout = LAYOUT.interpreter;
        for interpreter in 0..count {
            let threads_head = self.word(Role::ThreadsHead(interpreter));
            let mut at = vec![(layout.threads_head, threads_head)];
            let code_generation = layout.code_object_generation.filter(|_| frees_code).map(|offset| {
                let word = self.word_of(Role::CodeGeneration(interpreter), FIRST_GENERATION);
                at.push((offset, word));
                word
            });
            self.interpreters.push(InterpreterWords { threads_head, code_generation });
            let mut bytes = vec![0; 8192];
            put(&mut bytes, layout.id, interpreter as u64);
            put(&mut bytes, layout.next, interpreter.checked_sub(1).map_or(0, |next| self.interpreter_address(next)));
            self.region(self.interpreter_address(interpreter), bytes, at);
        }
    }

    fn thread(&mut self, thread: usize) {
        let words = ThreadWords {
            next: self.word(Role::Next(thread)),
            current_frame: self.word(Role::CurrentFrame(thread)),
            anchor: self.word(Role::Anchor(thread)),
            sequence: self.word(Role::Sequence(thread)),
            native_thread_id: self.word(Role::NativeThreadId(thread)),
            chunk: self.word(Role::Chunk(thread)),
        };
        self.threads.push(words);
        let layout = LAYOUT.thread;
        let mut bytes = vec![0; 1024];
        put(&mut bytes, layout.interpreter, self.interpreter_address(self.interpreter_of(thread)));
        let mut at = vec![
            (layout.next, words.next),
            (layout.current_frame, words.current_frame),
            (layout.native_thread_id, words.native_thread_id),
            (layout.datastack_chunk, words.chunk),
        ];
        if let Some(cache) = layout.cache {
            put(&mut bytes, cache.base_frame, self.address(FrameSlot::Base(thread)));
            at.extend([(cache.anchor, words.anchor), (cache.sequence, words.sequence)]);
        }
        put(&mut bytes, BASE_FRAME + LAYOUT.frame.owner - 2, SHIM_OWNER);
        self.region(self.thread_address(thread), bytes, at);

        let mut at = Vec::new();
        let mut bytes = vec![0; self.shims * 0x80];
        for depth in 0..self.shims {
            let word = self.word(Role::Previous(FrameSlot::Shim(thread, depth)));
            self.shim_frames.push(word);
            let offset = SHIM_STRIDE * depth as u64;
            put(&mut bytes, offset + LAYOUT.frame.owner - 2, SHIM_OWNER);
            at.push((offset + LAYOUT.frame.previous, word));
        }
        self.region(self.address(FrameSlot::Shim(thread, 0)), bytes, at);
    }

    fn frame(&mut self, place: FrameSlot) -> FrameWords {
        FrameWords {
            previous: self.word(Role::Previous(place)),
            code: self.word(Role::Code(place)),
            instruction: self.word(Role::Instruction(place)),
        }
    }

    fn chunk(&mut self, chunk: usize) {
        let (previous, mapped) = (self.word(Role::ChunkPrevious(chunk)), self.word(Role::ChunkMapped(chunk)));
        self.chunks.push((previous, mapped));
        let mut at = vec![(0, previous)];
        for slot in 0..self.slots {
            let place = FrameSlot::Slot(chunk, slot);
            let words = self.frame(place);
            self.slot_frames.push(words);
            at.extend(frame_words(self.address(place) - self.chunk_address(chunk), words));
        }
        self.region(self.chunk_address(chunk), CHUNK.clone(), at);
        if let Some(region) = self.regions.last_mut() {
            region.mapped = Some(mapped);
        }
    }

    fn generator(&mut self, variable: usize) {
        let words = self.frame(FrameSlot::Generator(variable));
        self.generator_frames.push(words);
        let mut bytes = vec![0; 256];
        put(&mut bytes, GENERATOR_FRAME + LAYOUT.frame.owner - 2, GENERATOR_OWNER);
        self.region(GENERATORS + STRIDE * variable as u64, bytes, frame_words(GENERATOR_FRAME, words).to_vec());
    }

    /// Lays out the code object at the address with that number, if a function has it.
    fn code(&mut self, program: &SimProgram, place: usize) {
        let Some(object) = self.codes.object(program, place) else { return };
        let code = LAYOUT.code;
        let mut at = Vec::new();
        if object.takes_turns {
            let name = self.word_of(Role::CodeName(place), object.name);
            at.push((code.qualname, name));
            let flags = object.flags.map(|flags| self.word_of(Role::CodeFlags(place), flags));
            at.extend(flags.map(|word| (code.flags, word)));
            self.codes.set_words(place, CodeWords { name, flags });
        }
        self.region(object.address, object.bytes, at);
    }

    /// The initial values of all words.
    #[must_use]
    pub fn initial(&self) -> &[u64] {
        &self.initial
    }

    /// Number of words that can change.
    #[must_use]
    pub fn len(&self) -> Word {
        Word::try_from(self.roles.len()).unwrap_or(Word::MAX)
    }

    /// Whether there are no words. Always false.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// Meaning of a word.
    #[must_use]
    pub fn role(&self, word: Word) -> Option<Role> {
        self.roles.get(usize::from(word)).copied()
    }

    /// Address of an interpreter state.
    #[must_use]
    pub fn interpreter_address(&self, interpreter: usize) -> Address {
        INTERPRETERS + STRIDE * interpreter as u64
    }

    /// Index of a thread's interpreter.
    #[must_use]
    pub fn interpreter_of(&self, thread: usize) -> usize {
        self.interpreter_of.get(thread).copied().unwrap_or(0)
    }

    /// The word with the first thread of an interpreter.
    ///
    /// # Panics
    /// If there is no such interpreter.
    #[must_use]
    pub fn threads_head(&self, interpreter: usize) -> Word {
        self.interpreters[interpreter].threads_head
    }

    /// The word with an interpreter's code-object generation. `None` in programs that free no code objects.
    #[must_use]
    pub fn code_generation(&self, interpreter: usize) -> Option<Word> {
        self.interpreters.get(interpreter)?.code_generation
    }

    /// The code objects of the program.
    #[must_use]
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// Address of a thread state.
    #[must_use]
    pub fn thread_address(&self, thread: usize) -> Address {
        THREADS + STRIDE * thread as u64
    }

    /// Address of a chunk.
    #[must_use]
    pub fn chunk_address(&self, chunk: usize) -> Address {
        CHUNKS + STRIDE * chunk as u64
    }

    /// Number of places for the shim frames of a thread.
    #[must_use]
    pub fn shims(&self) -> usize {
        self.shims
    }

    /// Number of slots in a chunk.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Address of a frame.
    #[must_use]
    pub fn address(&self, place: FrameSlot) -> Address {
        match place {
            FrameSlot::Base(thread) => self.thread_address(thread) + BASE_FRAME,
            FrameSlot::Shim(thread, depth) => SHIMS + STRIDE * thread as u64 + SHIM_STRIDE * depth as u64,
            FrameSlot::Slot(chunk, slot) => self.chunk_address(chunk) + (CHUNK_HEADER + slot * self.slot_size()) as u64,
            FrameSlot::Generator(variable) => GENERATORS + STRIDE * variable as u64 + GENERATOR_FRAME,
        }
    }

    fn slot_size(&self) -> usize {
        (CHUNK_SIZE - CHUNK_HEADER) / self.slots / 8 * 8
    }

    /// The frame location at an address.
    #[must_use]
    pub fn place(&self, address: Address) -> Option<FrameSlot> {
        let index = |base: Address| usize::try_from((address - base) / STRIDE).ok();
        let candidate = match address {
            SHIMS.. => {
                let depth = usize::try_from((address - SHIMS) % STRIDE / SHIM_STRIDE).ok()?;
                (depth < self.shims).then_some(FrameSlot::Shim(index(SHIMS)?, depth))?
            }
            CODES.. => return None,
            GENERATORS.. => FrameSlot::Generator(index(GENERATORS)?),
            CHUNKS.. => {
                let offset = usize::try_from((address - CHUNKS) % STRIDE).ok()?;
                let slot = offset.checked_sub(CHUNK_HEADER)? / self.slot_size();
                (slot < self.slots).then_some(FrameSlot::Slot(index(CHUNKS)?, slot))?
            }
            THREADS.. => FrameSlot::Base(index(THREADS)?),
            _ => return None,
        };
        (self.address(candidate) == address).then_some(candidate)
    }

    /// The changing words of a thread state.
    ///
    /// # Panics
    /// If there is no such thread.
    #[must_use]
    pub fn thread_words(&self, thread: usize) -> &ThreadWords {
        &self.threads[thread]
    }

    /// Number of thread states.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The changing words of a frame that runs Python code.
    #[must_use]
    pub fn frame_words(&self, place: FrameSlot) -> Option<&FrameWords> {
        match place {
            FrameSlot::Slot(chunk, slot) => self.slot_frames.get(chunk * self.slots + slot),
            FrameSlot::Generator(variable) => self.generator_frames.get(variable),
            FrameSlot::Base(_) | FrameSlot::Shim(..) => None,
        }
    }

    /// The word with a frame's `previous`. The base frame has none: its `previous` is always NULL.
    #[must_use]
    pub fn previous_word(&self, place: FrameSlot) -> Option<Word> {
        match place {
            FrameSlot::Base(_) => None,
            FrameSlot::Shim(thread, depth) => self.shim_frames.get(thread * self.shims + depth).copied(),
            FrameSlot::Slot(..) | FrameSlot::Generator(_) => Some(self.frame_words(place)?.previous),
        }
    }

    /// The words `previous` and mapped of a chunk.
    #[must_use]
    pub fn chunk_words(&self, chunk: usize) -> Option<(Word, Word)> {
        self.chunks.get(chunk).copied()
    }

    /// Fills `buffer` from `address`. `get` returns the changing words; it is called in address order.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`] if the range is not mapped.
    pub fn read(
        &self,
        address: Address,
        buffer: &mut [u8],
        mut get: impl FnMut(Word) -> u64,
    ) -> Result<(), MemoryError> {
        let length = buffer.len();
        let unmapped = MemoryError::Unmapped { action: "read", address, length };
        let (region, start) = self.find(address).ok_or(unmapped.clone())?;
        let background = start.checked_add(length).and_then(|end| region.background.get(start..end));
        let background = background.ok_or(unmapped.clone())?;
        if region.mapped.is_some_and(|word| get(word) == 0) {
            return Err(unmapped);
        }
        buffer.copy_from_slice(background);
        let first = region.words.partition_point(|&(offset, _)| offset + 8 <= start);
        for &(offset, word) in region.words.iter().skip(first) {
            if offset >= start + length {
                break;
            }
            let bytes = get(word).to_le_bytes();
            let whole = offset.checked_sub(start).and_then(|from| buffer.get_mut(from..from + bytes.len()));
            if let Some(there) = whole {
                there.copy_from_slice(&bytes);
                continue;
            }
            for (byte, value) in (offset..).zip(bytes) {
                if let Some(there) = byte.checked_sub(start).and_then(|index| buffer.get_mut(index)) {
                    *there = value;
                }
            }
        }
        Ok(())
    }

    /// The word that a write of `length` bytes at `address` changes.
    #[must_use]
    pub fn written(&self, address: Address, length: usize) -> Option<Word> {
        let (region, start) = self.find(address)?;
        let index = region.words.binary_search_by_key(&start, |&(offset, _)| offset).ok()?;
        region.words.get(index).map(|&(_, word)| word).filter(|_| length == 8)
    }

    fn find(&self, address: Address) -> Option<(&Region, usize)> {
        let index = self.regions.partition_point(|region| region.start <= address).checked_sub(1)?;
        let region = self.regions.get(index)?;
        Some((region, usize::try_from(address - region.start).ok()?))
    }
}

fn frame_words(start: u64, words: FrameWords) -> [(u64, Word); 3] {
    let frame = LAYOUT.frame;
    [
        (start + frame.executable, words.code),
        (start + frame.previous, words.previous),
        (start + frame.instr_ptr, words.instruction),
    ]
}
