//! Following a thread's chain of frames.

use crate::layout::Layout;
use crate::memory::{Address, RemoteMemory};
use crate::walk::chunks::Chunks;
use crate::walk::cycle::Cycle;
use crate::walk::raw_frame::RawFrame;
use crate::walk::rejection::Rejection;
use crate::walk::thread_state::ThreadState;

/// The longest chain that this project's own walkers follow.
pub const DEPTH_LIMIT: usize = 1 << 16;

/// How a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the thread's base frame.
    Base,
    /// At the address at which it was to stop.
    Stopped,
    /// At a NULL link somewhere else.
    Elsewhere,
}

/// Frames in the order in which they were met, newest first; the frame at which it ended is the last.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Every link, shim frames included.
    pub links: Vec<RawFrame>,
    /// How it ended.
    pub end: End,
}

impl Chain {
    /// The frames that run Python code.
    pub fn python(&self) -> impl Iterator<Item = &RawFrame> {
        self.links.iter().filter(|frame| frame.is_python())
    }

    /// The chain as CPython's unwinder takes it: a frame without code, one that is gone, is passed over, but the first must
    /// run Python code.
    ///
    /// # Errors
    /// [`Rejection::Empty`] if it does not.
    pub fn as_cpython(mut self) -> Result<Self, Rejection> {
        if !self.links.first().is_some_and(RawFrame::runs) {
            return Err(Rejection::Empty);
        }
        self.links.retain(|frame| !frame.is_python() || frame.code != 0);
        Ok(self)
    }

    /// The rejection for a chain that did not end at the base frame.
    #[must_use]
    pub fn not_at_base(&self, thread: &ThreadState) -> Rejection {
        let last = self.links.last().map_or(0, |frame| frame.address);
        Rejection::NotAtBase { base: thread.base_frame.unwrap_or(0), last }
    }
}

/// Follows the chain of `thread` from `start` until the frame at `stop_at` (included) or a NULL link. A frame comes
/// from `chunks` where those hold it, else from `memory`.
///
/// # Errors
/// [`Rejection::Loops`], or [`Rejection::TooDeep`] after `limit` frames; otherwise as [`RawFrame::read`].
pub fn follow(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    thread: &ThreadState,
    chunks: Option<&Chunks>,
    start: Address,
    stop_at: Option<Address>,
    limit: usize,
) -> Result<Chain, Rejection> {
    follow_knowing(
        memory,
        layout,
        thread,
        Known { chunks, frame: None, starts_with_python: false },
        start,
        stop_at,
        limit,
    )
}

/// What need not be read, and what need not be followed.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Copies of the data stack.
    pub chunks: Option<&'a Chunks>,
    /// One frame, as it was read before; a copy goes before it.
    pub frame: Option<&'a RawFrame>,
    /// The chain is rejected at once if its first frame does not run Python code.
    pub starts_with_python: bool,
}

/// The same; one frame may be known.
///
/// # Errors
/// As [`follow`].
pub fn follow_knowing(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    thread: &ThreadState,
    known: Known<'_>,
    start: Address,
    stop_at: Option<Address>,
    limit: usize,
) -> Result<Chain, Rejection> {
    let mut links: Vec<RawFrame> = Vec::new();
    let size = usize::try_from(layout.frame.size).unwrap_or(usize::MAX);
    let mut address = start;
    // A torn chain often bites its own tail, and would be followed to the limit.
    let mut cycle = Cycle::new();
    while address != 0 {
        if cycle.closes_at(address) {
            return Err(Rejection::Loops { frame: address });
        }
        if links.len() == limit {
            return Err(Rejection::TooDeep(limit));
        }
        let copied = known.chunks.and_then(|chunks| chunks.get(address, size));
        let frame = match (copied, known.frame.filter(|frame| frame.address == address)) {
            (Some(bytes), _) => RawFrame::parse(layout, address, bytes)?,
            (None, Some(frame)) => *frame,
            (None, None) => RawFrame::read(memory, layout, address)?,
        };
        if known.starts_with_python && links.is_empty() && !frame.runs() {
            return Err(Rejection::Empty);
        }
        links.push(frame);
        if stop_at == Some(address) {
            return Ok(Chain { links, end: End::Stopped });
        }
        address = frame.previous;
    }
    // Before 3.15 a thread state does not say where its base frame is: it is the last link and no Python frame.
    let at_base = links.last().is_some_and(|last| match thread.base_frame {
        Some(base) => last.address == base,
        None => !last.is_python(),
    });
    Ok(Chain { links, end: if at_base { End::Base } else { End::Elsewhere } })
}
