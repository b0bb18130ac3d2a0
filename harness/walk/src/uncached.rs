//! The walker without a cache: it copies the data stack, follows the chain, and writes nothing.
//!
//! Every sample reads the whole stack. Only two things carry over from the previous sample. The addresses read then are
//! prefetched with one call. A frame is not decoded again if it and all of its callers read as before.

use crate::before::{PreviousWalk, PreviousWalks};
use crate::chain::{Chain, DEPTH_LIMIT, End, Known, follow_knowing};
use crate::chunks::Chunks;
use crate::code::{CodeGeneration, Decoder};
use crate::frame::Frame;
use crate::memory::{Address, MemoryError, RemoteMemory, Segment};
use crate::raw_frame::RawFrame;
use crate::rejection::Rejection;
use crate::roster::{ReadPlan, Seen, ThreadPrefetch};
use crate::sample::{Lookup, Provenance, WalkerKind};
use crate::stack::Stack;
use crate::thread_state::{ThreadState, Window};
use crate::walker::{Site, ThreadWalk, Unsupported, Walked, read_thread};

/// The walker without a cache. On a running target its stacks can be torn, because the frames are read at different
/// times.
pub struct UncachedWalker {
    site: Site,
    as_cpython: bool,
    decoder: Decoder,
    roster: ThreadPrefetch,
    walks: PreviousWalks,
}

/// Records whether anything was read.
struct Noting<'a> {
    memory: &'a mut dyn RemoteMemory,
    has_read: bool,
}

impl RemoteMemory for Noting<'_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.has_read = true;
        self.memory.read(address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        self.has_read = true;
        self.memory.read_vectored(segments)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.memory.write(address, bytes)
    }
}

impl UncachedWalker {
    /// Makes a walker for any supported build.
    ///
    /// # Errors
    /// The walkers cannot read the layout.
    pub fn new(site: Site) -> Result<Self, Unsupported> {
        site.layout.walkable()?;
        let (decoder, roster) = (Decoder::new(site.layout), ThreadPrefetch::default());
        Ok(Self { site, as_cpython: false, decoder, roster, walks: PreviousWalks::default() })
    }

    /// The same walker with the other habits of CPython's unwinder. It re-reads the address of the newest chunk, as
    /// part of the thread state's page, and takes chains as [`Chain::as_cpython`] does.
    ///
    /// [`Chain::as_cpython`]: super::chain::Chain::as_cpython
    #[must_use]
    pub fn as_cpython(self) -> Self {
        Self { as_cpython: true, ..self }
    }

    /// Whether the location table of the frame's code is longer than CPython's unwinder accepts. Known only for code
    /// objects that this walker has read recently.
    #[must_use]
    pub fn has_long_table(&self, frame: &Frame) -> bool {
        self.decoder.has_long_table(frame)
    }

    /// Depth of the thread's stack in the previous sample, in frames.
    fn depth(&self, thread: &ThreadState) -> usize {
        self.walks.get(thread.address).map_or(0, PreviousWalk::depth)
    }

    fn chunks(&self, memory: &mut dyn RemoteMemory, thread: &ThreadState) -> Result<Chunks<'static>, Rejection> {
        let newest = if self.as_cpython {
            Window::new(&self.site.layout).read(memory, &self.site.layout, thread.address)?
        } else {
            *thread
        };
        Chunks::copy(memory, newest.datastack_chunk)
    }

    fn chain(
        &self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        chunks: &mut Chunks<'_>,
    ) -> Result<Chain, Rejection> {
        let known =
            Known { chunks: Some(chunks), frame: None, depth: self.depth(thread), starts_with_python: self.as_cpython };
        let layout = &self.site.layout;
        let chain = follow_knowing(memory, layout, thread, known, thread.current_frame, None, DEPTH_LIMIT)?;
        if chain.end != End::Base {
            return Err(chain.not_at_base(thread));
        }
        if self.as_cpython { chain.as_cpython() } else { Ok(chain) }
    }

    fn walked(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        (generation, stayed): (CodeGeneration, bool),
        guessed: Option<Chunks<'_>>,
    ) -> Result<Walked, Rejection> {
        let memory = &mut Noting { memory, has_read: false };
        self.decoder.enter(generation);
        if thread.current_frame == 0 {
            return Err(Rejection::Empty);
        }
        let mut chunks = match guessed {
            Some(chunks) => chunks,
            None => self.chunks(memory, thread)?,
        };
        let chain = self.chain(memory, thread, &mut chunks)?;
        let before = self.walks.of(thread.address);
        let frames = before.decode(memory, &mut self.decoder, &chain)?;
        if generation.number.is_some() && (memory.has_read || !stayed) {
            self.decoder.check(CodeGeneration::read(memory, &self.site.layout, generation.interpreter))?;
        }
        let stack = Stack::of(&frames).ok_or(Rejection::Empty)?;
        before.keep(generation, &chunks, chain, frames);
        Ok(Walked { stack, provenance: Provenance { lookup: Lookup::Uncached, from_cache: 0 } })
    }

    fn walk_from(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: ThreadState,
        generation: (CodeGeneration, bool),
        guessed: Option<Chunks<'_>>,
    ) -> (ThreadState, Result<Walked, Rejection>) {
        let walked = self.walked(memory, &thread, generation, guessed);
        if walked.is_ok() {
            self.decoder.keep();
        } else {
            self.decoder.forget_fresh();
        }
        (thread, walked)
    }
}

impl ThreadWalk for UncachedWalker {
    const KIND: WalkerKind = WalkerKind::OwnUncached;
    const LOOKS_AFTER: bool = true;

    fn site(&self) -> &Site {
        &self.site
    }

    fn roster(&mut self) -> Option<&mut ThreadPrefetch> {
        if self.as_cpython { None } else { Some(&mut self.roster) }
    }

    fn wish(&self, thread: &ThreadState, wishes: &mut ReadPlan) {
        let Some(before) = self.walks.get(thread.address) else { return };
        before.places(RawFrame::size(&self.site.layout)).for_each(|(address, length)| wishes.add(address, length));
    }

    fn walk_seen(&mut self, memory: &mut dyn RemoteMemory, seen: Seen<'_>) -> (ThreadState, Result<Walked, Rejection>) {
        let before = self.walks.get(seen.thread.address);
        let guessed = before.and_then(|before| before.guessed(seen.thread.datastack_chunk, seen.wishes()));
        if guessed.is_none() && !seen.is_fresh {
            // Other threads were walked since the prefetch, so this data is stale.
            return self.walk(memory, seen.thread.address);
        }
        self.walk_from(memory, seen.thread, (seen.generation, seen.is_same_after), guessed)
    }

    fn walk(&mut self, memory: &mut dyn RemoteMemory, thread: Address) -> (ThreadState, Result<Walked, Rejection>) {
        match read_thread(memory, &self.site, thread) {
            Ok(state) => {
                let generation = match self.as_cpython {
                    true => CodeGeneration { interpreter: state.interpreter, number: None },
                    false => CodeGeneration::read(memory, &self.site.layout, state.interpreter),
                };
                self.walk_from(memory, state, (generation, false), None)
            }
            Err((state, rejection)) => (state, Err(rejection)),
        }
    }

    fn sweep(&mut self, threads: &[ThreadState]) {
        self.walks.sweep(threads);
    }
}
