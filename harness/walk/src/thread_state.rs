//! Finding the thread states of a target and reading their fields.

use crate::cycle::Cycle;
use crate::layout::{CacheLayout, Layout};
use crate::memory::{Address, RemoteMemory, Segment};
use crate::rejection::Rejection;

/// Longest list of interpreters. A target with a longer list is rejected.
pub const INTERPRETER_LIMIT: usize = 1024;
/// Most threads of a target, over all interpreters. A target with more is rejected.
pub const THREAD_LIMIT: usize = 1 << 15;

/// The fields of a `PyThreadState` that a walker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// Address of the `PyThreadState`.
    pub address: Address,
    /// The next thread state of the interpreter, or NULL.
    pub next: Address,
    /// Address of its interpreter's state (`interp`).
    pub interpreter: Address,
    /// `current_frame`: the newest frame, or NULL.
    pub current_frame: Address,
    /// Thread id of the kernel (`native_thread_id`).
    pub native_thread_id: u64,
    /// The newest data-stack chunk (`datastack_chunk`).
    pub datastack_chunk: Address,
    /// `base_frame`; `None` before 3.15.
    pub base_frame: Option<Address>,
    /// `last_profiled_frame`; NULL before 3.15.
    pub anchor: Address,
    /// `last_profiled_frame_seq`; 0 before 3.15.
    pub sequence: u64,
}

/// The range of a thread state that covers all fields a walker reads, so that one read fetches them.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    start: u64,
    length: usize,
}

impl Window {
    /// The smallest range that covers all fields in `layout`.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let thread = &layout.thread;
        let fields =
            [thread.next, thread.interpreter, thread.current_frame, thread.native_thread_id, thread.datastack_chunk];
        let cache = thread.cache.map(|cache| [cache.base_frame, cache.anchor, cache.sequence]);
        let fields = fields.into_iter().chain(cache.into_iter().flatten());
        let start = fields.clone().min().unwrap_or(0);
        let end = fields.max().unwrap_or(0) + 8;
        Self { start, length: usize::try_from(end - start).unwrap_or(0) }
    }

    /// Length of the range in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// A buffer of the size of the range.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        vec![0; self.length]
    }

    /// A segment that reads the range of the thread state at `address` into `buffer`.
    pub fn segment<'a>(&self, address: Address, buffer: &'a mut [u8]) -> Segment<'a> {
        Segment { address: address.wrapping_add(self.start), buffer }
    }

    /// Parses a filled buffer. `address` is the address of the thread state.
    #[must_use]
    pub fn parse(&self, layout: &Layout, address: Address, buffer: &[u8]) -> ThreadState {
        let field = |offset: u64| {
            let start = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
            word(buffer, start).unwrap_or(0)
        };
        let thread = &layout.thread;
        ThreadState {
            address,
            next: field(thread.next),
            interpreter: field(thread.interpreter),
            current_frame: field(thread.current_frame),
            native_thread_id: field(thread.native_thread_id),
            datastack_chunk: field(thread.datastack_chunk),
            base_frame: thread.cache.map(|cache| field(cache.base_frame)),
            anchor: thread.cache.map_or(0, |cache| field(cache.anchor)),
            sequence: thread.cache.map_or(0, |cache| field(cache.sequence)),
        }
    }

    /// Reads one thread state.
    ///
    /// # Errors
    /// [`Rejection::Unreadable`] if the read fails.
    pub fn read(
        &self,
        memory: &mut dyn RemoteMemory,
        layout: &Layout,
        address: Address,
    ) -> Result<ThreadState, Rejection> {
        let mut buffer = self.buffer();
        memory.read(address.wrapping_add(self.start), &mut buffer)?;
        Ok(self.parse(layout, address, &buffer))
    }
}

/// The range of an interpreter state that covers all fields a walker reads, so that one read fetches them.
#[derive(Clone, Copy, Debug)]
pub(super) struct InterpreterWindow {
    start: u64,
    length: usize,
}

/// The fields of a `PyInterpreterState` that a walker reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InterpreterState {
    /// The next interpreter, or NULL.
    pub(super) next: Address,
    /// Its first thread state, or NULL.
    pub(super) threads_head: Address,
    /// Id and `code_object_generation` of the interpreter; `None` before 3.14.
    pub(super) number: Option<(u64, u64)>,
}

impl InterpreterWindow {
    /// The smallest range that covers all fields in `layout`.
    pub(super) fn new(layout: &Layout) -> Self {
        let interpreter = &layout.interpreter;
        let generation = interpreter.code_object_generation.map(|generation| [interpreter.id, generation]);
        let lists = [interpreter.next, interpreter.threads_head];
        let fields = lists.into_iter().chain(generation.into_iter().flatten());
        let start = fields.clone().min().unwrap_or(0);
        let end = fields.max().unwrap_or(0) + 8;
        Self { start, length: usize::try_from(end - start).unwrap_or(0) }
    }

    /// Length of the range in bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// A segment that reads the range of the interpreter state at `address` into `buffer`.
    pub(super) fn segment<'a>(&self, address: Address, buffer: &'a mut [u8]) -> Segment<'a> {
        Segment { address: address.wrapping_add(self.start), buffer }
    }

    /// Reads an interpreter's state.
    ///
    /// # Errors
    /// [`Rejection::Unreadable`] if the read fails.
    fn read(
        &self,
        memory: &mut dyn RemoteMemory,
        layout: &Layout,
        address: Address,
    ) -> Result<InterpreterState, Rejection> {
        let mut buffer = vec![0; self.length];
        if memory.read_vectored(&mut [self.segment(address, &mut buffer)]) == Ok(1) {
            return Ok(self.parse(layout, &buffer));
        }
        // An image may contain the list links but not the bytes between them.
        let threads_head = memory.read_u64(address.wrapping_add(layout.interpreter.threads_head))?;
        let next = memory.read_u64(address.wrapping_add(layout.interpreter.next))?;
        Ok(InterpreterState { next, threads_head, number: None })
    }

    /// Parses a filled buffer.
    pub(super) fn parse(&self, layout: &Layout, buffer: &[u8]) -> InterpreterState {
        let field = |offset: u64| {
            let start = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
            word(buffer, start).unwrap_or(0)
        };
        let interpreter = &layout.interpreter;
        InterpreterState {
            next: field(interpreter.next),
            threads_head: field(interpreter.threads_head),
            number: interpreter.code_object_generation.map(|generation| (field(interpreter.id), field(generation))),
        }
    }
}

/// The little-endian word at `offset` of `bytes`.
#[inline]
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Reads every thread state of every interpreter of the `_PyRuntime` at `runtime`.
///
/// # Errors
/// [`Rejection::Unreadable`] if a read fails or a list loops, [`Rejection::TooDeep`] if a list is too long.
pub fn thread_states(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    runtime: Address,
) -> Result<Vec<ThreadState>, Rejection> {
    let mut found = Vec::new();
    thread_states_of(memory, layout, runtime, |_, thread| found.extend(thread))?;
    Ok(found)
}

/// The addresses of all interpreters of the `_PyRuntime` at `runtime`, newest first.
///
/// # Errors
/// As for [`thread_states`].
pub fn interpreters(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    runtime: Address,
) -> Result<Vec<Address>, Rejection> {
    let mut found = Vec::new();
    thread_states_of(memory, layout, runtime, |interpreter, thread| {
        if thread.is_none() {
            found.push(interpreter);
        }
    })?;
    Ok(found)
}

/// Calls `tell` for each interpreter, first without a thread, then once for each of its threads.
pub(super) fn thread_states_of(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    runtime: Address,
    mut tell: impl FnMut(Address, Option<ThreadState>),
) -> Result<(), Rejection> {
    let (of_interpreter, window) = (InterpreterWindow::new(layout), Window::new(layout));
    let mut found = 0;
    let mut interpreter = memory.read_u64(runtime.wrapping_add(layout.interpreters_head))?;
    let mut interpreters = Cycle::new();
    for _ in 0..INTERPRETER_LIMIT {
        if interpreter == 0 {
            return Ok(());
        }
        if interpreters.closes_at(interpreter) {
            return Err(Rejection::Unreadable(format!("the list of interpreters loops at {interpreter:#x}")));
        }
        let state = of_interpreter.read(memory, layout, interpreter)?;
        tell(interpreter, None);
        let mut thread = state.threads_head;
        let mut threads = Cycle::new();
        while thread != 0 {
            if threads.closes_at(thread) {
                return Err(Rejection::Unreadable(format!("the list of threads loops at {thread:#x}")));
            }
            if found == THREAD_LIMIT {
                return Err(Rejection::TooDeep(THREAD_LIMIT));
            }
            let state = window.read(memory, layout, thread)?;
            thread = state.next;
            found += 1;
            tell(interpreter, Some(state));
        }
        interpreter = state.next;
    }
    Err(Rejection::TooDeep(INTERPRETER_LIMIT))
}

/// The segments that read anchor and sequence, in this order. They are one segment if the fields are adjacent.
pub(super) fn anchor_segments<'a>(
    cache: &CacheLayout,
    thread: Address,
    buffer: &'a mut [u8; 16],
) -> impl Iterator<Item = Segment<'a>> {
    let [anchor, sequence] = [cache.anchor, cache.sequence].map(|offset| thread.wrapping_add(offset));
    let both = cache.sequence == cache.anchor + 8;
    let (first, second) = buffer.split_at_mut(if both { 16 } else { 8 });
    let second = (!both).then_some(Segment { address: sequence, buffer: second });
    [Segment { address: anchor, buffer: first }].into_iter().chain(second)
}

/// Anchor and sequence from a buffer filled through [`anchor_segments`].
pub(super) fn anchor_of(buffer: &[u8; 16]) -> (Address, u64) {
    let number = u128::from_le_bytes(*buffer);
    (number as u64, (number >> 64) as u64)
}

/// Writes the anchor of a thread state.
///
/// # Errors
/// [`Rejection::Unreadable`] if the write fails.
pub fn write_anchor(
    memory: &mut dyn RemoteMemory,
    cache: &CacheLayout,
    thread: Address,
    anchor: Address,
) -> Result<(), Rejection> {
    memory.write(thread.wrapping_add(cache.anchor), &anchor.to_le_bytes())?;
    Ok(())
}

/// Writes NULL to every non-NULL anchor, as a profiler does when it attaches and when it detaches. Does nothing before
/// 3.15.
///
/// # Errors
/// As [`thread_states`] and [`write_anchor`].
pub fn clear_anchors(memory: &mut dyn RemoteMemory, layout: &Layout, runtime: Address) -> Result<(), Rejection> {
    let Some(cache) = layout.thread.cache else { return Ok(()) };
    for thread in thread_states(memory, layout, runtime)? {
        if thread.anchor != 0 {
            write_anchor(memory, &cache, thread.address, 0)?;
        }
    }
    Ok(())
}

impl ThreadState {
    /// A thread state of which only the address is known.
    #[must_use]
    pub fn unknown(address: Address) -> Self {
        Self {
            address,
            next: 0,
            interpreter: 0,
            current_frame: 0,
            native_thread_id: 0,
            datastack_chunk: 0,
            base_frame: None,
            anchor: 0,
            sequence: 0,
        }
    }
}
