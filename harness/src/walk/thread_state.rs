//! Finding the thread states of a target and reading their fields.

use crate::layout::{CacheLayout, Layout};
use crate::memory::{Address, RemoteMemory, Segment};
use crate::walk::cycle::Cycle;
use crate::walk::rejection::Rejection;

/// More interpreters than this is garbage.
pub const INTERPRETER_LIMIT: usize = 1024;
/// More threads than this, in all interpreters, is garbage.
pub const THREAD_LIMIT: usize = 1 << 15;

/// The fields of a `PyThreadState` that a walker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// Where it stands.
    pub address: Address,
    /// The next thread state of the interpreter, or NULL.
    pub next: Address,
    /// The interpreter it belongs to.
    pub interpreter: Address,
    /// `current_frame`.
    pub current_frame: Address,
    /// The kernel's thread id.
    pub native_thread_id: u64,
    /// The newest data-stack chunk.
    pub datastack_chunk: Address,
    /// `base_frame`, where the version has it.
    pub base_frame: Option<Address>,
    /// `last_profiled_frame`; NULL where the version has none.
    pub anchor: Address,
    /// `last_profiled_frame_seq`; 0 where the version has none.
    pub sequence: u64,
}

/// The part of a thread state that holds all fields a walker reads, so that one read gets them.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    start: u64,
    length: usize,
}

impl Window {
    /// The smallest range over all fields of `layout`.
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

    /// Its bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// A buffer for the window.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        vec![0; self.length]
    }

    /// The segment that fills `buffer` from the thread state at `address`.
    pub fn segment<'a>(&self, address: Address, buffer: &'a mut [u8]) -> Segment<'a> {
        Segment { address: address.wrapping_add(self.start), buffer }
    }

    /// The fields in a filled buffer.
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
    /// [`Rejection::Unreadable`].
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

/// The little-endian word at `offset` of `bytes`.
#[inline]
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// Reads every thread state of every interpreter of the `_PyRuntime` at `runtime`.
///
/// # Errors
/// [`Rejection::Unreadable`], also for a list that loops, or [`Rejection::TooDeep`] for one that is too long.
pub fn thread_states(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    runtime: Address,
) -> Result<Vec<ThreadState>, Rejection> {
    let mut found = Vec::new();
    thread_states_of(memory, layout, runtime, |_, thread| found.extend(thread))?;
    Ok(found)
}

/// Tells of each interpreter, first without a thread and then with each of its own.
pub(super) fn thread_states_of(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    runtime: Address,
    mut tell: impl FnMut(Address, Option<ThreadState>),
) -> Result<(), Rejection> {
    let window = Window::new(layout);
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
        let mut head = [0; 8];
        let mut next = [0; 8];
        let filled = memory.read_vectored(&mut [
            Segment { address: interpreter.wrapping_add(layout.interpreter.threads_head), buffer: &mut head },
            Segment { address: interpreter.wrapping_add(layout.interpreter.next), buffer: &mut next },
        ])?;
        if filled != 2 {
            return Err(Rejection::Unreadable(format!("interpreter state {interpreter:#x}")));
        }
        tell(interpreter, None);
        let mut thread = u64::from_le_bytes(head);
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
        interpreter = u64::from_le_bytes(next);
    }
    Err(Rejection::TooDeep(INTERPRETER_LIMIT))
}

/// Reads anchor and sequence of a thread state in one access.
///
/// # Errors
/// [`Rejection::Unreadable`].
pub fn read_anchor(
    memory: &mut dyn RemoteMemory,
    cache: &CacheLayout,
    thread: Address,
) -> Result<(Address, u64), Rejection> {
    let mut anchor = [0; 8];
    let mut sequence = [0; 8];
    let filled = memory.read_vectored(&mut anchor_segments(cache, thread, &mut anchor, &mut sequence))?;
    if filled != 2 {
        return Err(Rejection::Unreadable(format!("thread state {thread:#x}")));
    }
    Ok((u64::from_le_bytes(anchor), u64::from_le_bytes(sequence)))
}

/// The two segments of anchor and sequence, in this order.
pub(super) fn anchor_segments<'a>(
    cache: &CacheLayout,
    thread: Address,
    anchor: &'a mut [u8; 8],
    sequence: &'a mut [u8; 8],
) -> [Segment<'a>; 2] {
    [
        Segment { address: thread.wrapping_add(cache.anchor), buffer: anchor },
        Segment { address: thread.wrapping_add(cache.sequence), buffer: sequence },
    ]
}

/// Writes the anchor of a thread state.
///
/// # Errors
/// [`Rejection::Unreadable`].
pub fn write_anchor(
    memory: &mut dyn RemoteMemory,
    cache: &CacheLayout,
    thread: Address,
    anchor: Address,
) -> Result<(), Rejection> {
    memory.write(thread.wrapping_add(cache.anchor), &anchor.to_le_bytes())?;
    Ok(())
}

/// Writes NULL to every thread's anchor, as a profiler does when it attaches and when it detaches.
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
    /// A thread state of which nothing but the address is known.
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
