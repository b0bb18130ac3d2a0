//! The cached walker: CPython 3.15's protocol (`Modules/_remote_debugging`) step by step, with optional weakenings.
//!
//! 1. Read the interpreter's code-object generation, the thread state and, in the same call, the predicted leaf frame.
//! 2. Full hit: decode the leaf, re-read anchor, sequence and generation, append the stored callers. Nothing is
//!    written.
//! 3. Otherwise copy the data stack and follow the chain to the anchor. (CPython's unwinder always copies all chunks.
//!    If a partial hit is expected, this walker copies only the chunks that the chain needs.)
//! 4. Partial hit: re-read anchor and sequence, append the stored callers of the anchor's frame. If the lookup fails,
//!    follow the chain on to the base frame.
//! 5. Store the stack with the sequence from step 1.
//! 6. Write the anchor if it is not the current frame.
//!
//! On a running target this protocol can splice stacks: the anchor is written after the walk and not verified.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::before::{PreviousWalk, PreviousWalks};
use crate::cache::{Checks, Entry, FrameCache};
use crate::chain::{Chain, End, Known, follow, follow_knowing};
use crate::chunks::Chunks;
use crate::code::{CodeGeneration, Decoder, GenerationBuffer};
use crate::frame::Frame;
use crate::layout::CacheLayout;
use crate::memory::{Address, RemoteMemory, Segment};
use crate::miss::MissReason;
use crate::raw_frame::RawFrame;
use crate::rejection::Rejection;
use crate::roster::{ReadPlan, Seen, ThreadPrefetch};
use crate::sample::{Lookup, Provenance, WalkerKind};
use crate::shared::Shared;
use crate::stack::Stack;
use crate::thread_state::{ThreadState, Window, write_anchor};
use crate::walker::{CachingWalker, Site, ThreadWalk, Unsupported, Walked, decode, decoder, read_again};
use crate::weakening::Weakening;

/// Depth limit of CPython's unwinder with its cache on, in frames.
const DEPTH_LIMIT: usize = 1024 + 512;

/// A stack assembled from a chain and the cache.
struct Joined {
    frames: Shared<Arc<Frame>>,
    addresses: Shared<Address>,
    provenance: Provenance,
}

/// The result of step 1.
struct First {
    thread: ThreadState,
    generation: CodeGeneration,
    /// The predicted leaf frame, if it was read and is the current frame.
    leaf: Option<RawFrame>,
}

/// The cached walker with CPython's protocol. See the module documentation.
pub struct CachedWalker {
    site: Site,
    fields: CacheLayout,
    window: Window,
    weakenings: BTreeSet<Weakening>,
    /// See [`CachedWalker::as_cpython`].
    as_cpython: bool,
    /// The newest chunk to copy in the first walk, if it differs from the thread's own.
    first_chunk: Option<Address>,
    /// The frame that step 1 read at the predicted address.
    predicted: Option<RawFrame>,
    cache: FrameCache,
    decoder: Decoder,
    roster: ThreadPrefetch,
    walks: PreviousWalks,
}

impl CachedWalker {
    /// Makes a walker with the given weakenings. An empty set gives CPython's protocol without faults.
    ///
    /// # Errors
    /// The layout has no frame cache or the walkers cannot read it.
    pub fn new(site: Site, weakenings: BTreeSet<Weakening>) -> Result<Self, Unsupported> {
        site.layout.walkable()?;
        Ok(Self {
            site,
            fields: site.cache()?,
            window: Window::new(&site.layout),
            as_cpython: false,
            first_chunk: None,
            predicted: None,
            cache: FrameCache::default(),
            decoder: decoder(&site, &weakenings),
            weakenings,
            roster: ThreadPrefetch::default(),
            walks: PreviousWalks::default(),
        })
    }

    /// The same walker with the other habits of CPython's unwinder, beyond the protocol. Step 3 re-reads the address of
    /// the newest chunk, as part of the thread state's page. In an unwinder's first walk, that page is the one that it
    /// read when it was made. So the first walk copies the chunks from `newest_chunk` on, the newest chunk at that
    /// time. The frame that step 1 predicted is not read again if the walk meets it outside the chunks. Chains are
    /// taken as [`Chain::as_cpython`] does.
    #[must_use]
    pub fn as_cpython(self, newest_chunk: Address) -> Self {
        Self { as_cpython: true, first_chunk: Some(newest_chunk), ..self }
    }

    fn is(&self, weakening: Weakening) -> bool {
        self.weakenings.contains(&weakening)
    }

    fn checks(&self, no_sequence: Weakening) -> Checks {
        Checks { thread_state: !self.is(Weakening::ThreadStateNotCompared), sequence: !self.is(no_sequence) }
    }

    /// Step 1: reads the code-object generation, the thread state, and the first frame of the thread's entry.
    fn read(&mut self, memory: &mut dyn RemoteMemory, address: Address) -> Result<First, Rejection> {
        let layout = &self.site.layout;
        let entry = self.cache.of_thread_state(address);
        let predicted = entry.and_then(|entry| entry.addresses.first().copied());
        let interpreter = entry.map_or(0, |entry| entry.interpreter);
        let (mut codes, mut state) = (GenerationBuffer::default(), self.window.buffer());
        let mut leaf = RawFrame::buffer(layout);
        let mut segments: SmallVec<[Segment<'_>; 4]> = SmallVec::new();
        segments.extend(codes.segments(layout, interpreter).into_iter().flatten());
        segments.push(self.window.segment(address, &mut state));
        let needed = segments.len();
        segments.extend(predicted.map(|address| Segment { address, buffer: &mut leaf }));
        let all = segments.len();
        let filled = memory.read_vectored(&mut segments)?;
        drop(segments);
        if filled < needed {
            return Err(Rejection::Unreadable(format!("thread state {address:#x}")));
        }
        let state = self.window.parse(layout, address, &state);
        let leaf = predicted.filter(|_| filled == all).and_then(|at| RawFrame::parse(layout, at, &leaf).ok());
        self.predicted = leaf.filter(|_| self.as_cpython);
        let leaf = leaf.filter(|leaf| leaf.address == state.current_frame);
        if needed == 3 && interpreter == state.interpreter {
            return Ok(First { thread: state, generation: codes.parse(interpreter, true), leaf });
        }
        // The leaf was read before this generation.
        let generation = self.generation(memory, state.interpreter);
        Ok(First { thread: state, generation, leaf: leaf.filter(|_| generation.number.is_none()) })
    }

    /// Reads the interpreter's code-object generation. In the role of CPython's unwinder this walker does not, because
    /// only the other accesses are compared.
    fn generation(&self, memory: &mut dyn RemoteMemory, interpreter: Address) -> CodeGeneration {
        match self.as_cpython {
            true => CodeGeneration { interpreter, number: None },
            false => CodeGeneration::read(memory, &self.site.layout, interpreter),
        }
    }

    /// Whether anchor and sequence still have the values from step 1 and no code object was freed since.
    fn unchanged(&self, memory: &mut dyn RemoteMemory, thread: &ThreadState) -> Result<bool, Rejection> {
        if self.is(Weakening::NotReadAgainBeforeUse) {
            return Ok(true);
        }
        let (held, now) = read_again(memory, &self.site, &self.fields, thread.address, self.decoder.generation())?;
        Ok(held == (thread.anchor, thread.sequence) && self.decoder.check(now).is_ok())
    }

    fn full_hit(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        predicted: Option<RawFrame>,
    ) -> Result<Result<Walked, MissReason>, Rejection> {
        let entry = match self.cache.full_hit(thread, self.checks(Weakening::NoSequenceCheckOnFullHit)) {
            Ok(entry) => entry,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(stored) = entry.frames.first().cloned() else { return Ok(Err(MissReason::EntryStartsElsewhere)) };
        let callers = entry.frames.skip(1);
        let leaf = if self.is(Weakening::LeafReusedOnFullHit) {
            stored
        } else {
            let raw = match predicted {
                Some(raw) => raw,
                None => RawFrame::read(memory, &self.site.layout, thread.current_frame)?,
            };
            self.decoder.frame(memory, &raw)?
        };
        if !self.unchanged(memory, thread)? {
            return Ok(Err(MissReason::ChangedDuringUse));
        }
        let provenance = Provenance { lookup: Lookup::FullHit, from_cache: callers.len() };
        Ok(Ok(Walked { stack: Stack::new(leaf, callers), provenance }))
    }

    /// Step 4, for a chain that stopped at the anchor.
    fn partial_hit(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        chain: &Chain,
    ) -> Result<Result<Joined, MissReason>, Rejection> {
        let shims = if self.is(Weakening::ShimFramesCounted) {
            chain.links.iter().filter(|frame| !frame.is_python()).count() as u64
        } else {
            0
        };
        let checks = self.checks(Weakening::NoSequenceCheckOnPartialHit);
        let (entry, index) = match self.cache.partial_hit(thread, checks, shims) {
            Ok(hit) => hit,
            Err(reason) => return Ok(Err(reason)),
        };
        // If an entry has more frames than addresses, the deepest frames have no address.
        let (callers, addresses) = (entry.frames.skip(index + 1), entry.addresses.skip(index + 1));
        let frames = decode(memory, &mut self.decoder, chain.python())?;
        if !self.unchanged(memory, thread)? {
            return Ok(Err(MissReason::ChangedDuringUse));
        }
        let provenance = Provenance { lookup: Lookup::PartialHit, from_cache: callers.len() };
        let addresses = addresses.below(chain.python().map(|frame| frame.address).collect());
        Ok(Ok(Joined { frames: callers.below(frames), addresses, provenance }))
    }

    /// Steps 3 to 6.
    fn walk_chain(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        reason: MissReason,
    ) -> Result<Walked, Rejection> {
        let (mut before, mut buffer) = self.walks.take(thread.address);
        let walked = self.walk_chain_after(memory, thread, reason, &mut before, &mut buffer);
        self.walks.put_back(thread.address, (before, buffer));
        walked
    }

    fn walk_chain_after(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        mut reason: MissReason,
        before: &mut PreviousWalk,
        buffer: &mut Vec<u8>,
    ) -> Result<Walked, Rejection> {
        let layout = self.site.layout;
        let promised = self.cache.partial_hit(thread, self.checks(Weakening::NoSequenceCheckOnPartialHit), 0).is_ok();
        let mut chunks = if self.is(Weakening::ChunksNotCopied) {
            None
        } else if self.as_cpython {
            let newest = match self.first_chunk.take() {
                Some(chunk) => chunk,
                None => self.window.read(memory, &layout, thread.address)?.datastack_chunk,
            };
            Some(Chunks::copy(memory, newest)?)
        } else if promised {
            // Few chunks hold the frames above the anchor.
            Some(Chunks::when_needed(thread.datastack_chunk))
        } else {
            Some(before.copy(memory, thread.datastack_chunk, RawFrame::size(&self.site.layout), buffer)?)
        };
        let stop_at = (thread.anchor != 0).then_some(thread.anchor);
        let predicted = self.predicted.take();
        let known = Known {
            chunks: chunks.as_mut(),
            frame: predicted.as_ref(),
            depth: if promised { 0 } else { before.depth() },
            starts_with_python: self.as_cpython,
        };
        let mut chain = follow_knowing(memory, &layout, thread, known, thread.current_frame, stop_at, DEPTH_LIMIT)?;
        if self.as_cpython {
            chain = chain.as_cpython()?;
        }
        let mut hit = None;
        if chain.end == End::Stopped {
            match self.partial_hit(memory, thread, &chain)? {
                Ok(found) => hit = Some(found),
                Err(why) => {
                    reason = why;
                    // CPython's unwinder re-reads the anchor's frame to find the next one.
                    let last = chain.links.last().map_or((0, 0), |frame| (frame.address, frame.previous));
                    let next = if self.as_cpython { last.0 } else { last.1 };
                    let rest = follow(memory, &layout, thread, chunks.as_mut(), next, None, DEPTH_LIMIT)?;
                    let end = rest.end;
                    chain.links.extend(rest.links.into_iter().skip(usize::from(self.as_cpython)));
                    if self.as_cpython {
                        chain = chain.as_cpython()?;
                    }
                    chain.end = end;
                }
            }
        } else if stop_at.is_some() {
            reason = MissReason::AnchorNotOnChain;
        }
        let Joined { frames, addresses, provenance } = match hit {
            Some(hit) => hit,
            None => {
                if chain.end != End::Base && !self.is(Weakening::ChainStoredWithoutBase) {
                    return Err(chain.not_at_base(thread));
                }
                let frames = before.decode(memory, &mut self.decoder, &chain)?;
                self.decoder.check(self.generation(memory, self.decoder.generation().interpreter))?;
                let addresses = chain.python().map(|frame| frame.address).collect();
                Joined { frames, addresses, provenance: Provenance { lookup: Lookup::Miss(reason), from_cache: 0 } }
            }
        };
        let stack = Stack::of(&frames).ok_or(Rejection::Empty)?;
        let is_whole = chain.end == End::Base && provenance.lookup != Lookup::PartialHit && !self.as_cpython;
        let whole = is_whole.then(|| frames.clone());
        let generation = self.decoder.generation();
        let interpreter = generation.known_interpreter();
        let entry = Entry { thread_state: thread.address, interpreter, addresses, frames, sequence: thread.sequence };
        self.cache.insert(thread.native_thread_id, entry);
        if let (Some(chunks), Some(frames)) = (chunks, whole) {
            before.keep(generation, &chunks, chain, frames);
        }
        if thread.current_frame != thread.anchor {
            write_anchor(memory, &self.fields, thread.address, thread.current_frame)?;
        }
        Ok(Walked { stack, provenance })
    }

    fn frames(
        &mut self,
        memory: &mut dyn RemoteMemory,
        First { thread, generation, leaf }: &First,
    ) -> Result<Walked, Rejection> {
        self.decoder.enter(*generation);
        if thread.current_frame == 0 {
            return Err(Rejection::Empty);
        }
        match self.full_hit(memory, thread, *leaf)? {
            Ok(walked) => Ok(walked),
            Err(reason) => self.walk_chain(memory, thread, reason),
        }
    }

    /// Steps 2 to 6.
    fn walk_from(&mut self, memory: &mut dyn RemoteMemory, first: First) -> (ThreadState, Result<Walked, Rejection>) {
        let walked = self.frames(memory, &first);
        if walked.is_ok() {
            self.decoder.keep();
        } else {
            self.decoder.forget_fresh();
        }
        (first.thread, walked)
    }

    /// The leaf frame that the entry of the thread state at `address` predicts.
    fn predicted(&self, address: Address) -> Option<Address> {
        self.cache.of_thread_state(address).and_then(|entry| entry.addresses.first().copied())
    }
}

impl CachingWalker for CachedWalker {
    fn cache(&self) -> &FrameCache {
        &self.cache
    }

    fn set_cache(&mut self, cache: FrameCache) {
        self.roster.forget();
        self.walks.forget();
        self.cache = cache;
    }

    fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    fn set_decoder(&mut self, decoder: Decoder) {
        self.decoder = decoder;
    }

    fn set_attempts(&mut self, _: u32) {}
}

impl ThreadWalk for CachedWalker {
    const KIND: WalkerKind = WalkerKind::OwnCached;
    const LOOKS_AFTER: bool = false;

    fn site(&self) -> &Site {
        &self.site
    }

    fn roster(&mut self) -> Option<&mut ThreadPrefetch> {
        // CPython's unwinder remembers one interpreter and one thread, but enumerates all of them anyway.
        if self.as_cpython { None } else { Some(&mut self.roster) }
    }

    fn wish(&self, thread: &ThreadState, wishes: &mut ReadPlan) {
        if let Some(leaf) = self.predicted(thread.address) {
            wishes.add(leaf, RawFrame::size(&self.site.layout));
        }
    }

    fn walk_seen(&mut self, memory: &mut dyn RemoteMemory, seen: Seen<'_>) -> (ThreadState, Result<Walked, Rejection>) {
        if !seen.is_fresh {
            // Other threads were walked since the prefetch, so this data is stale.
            return self.walk(memory, seen.thread.address);
        }
        let layout = &self.site.layout;
        let leaf = seen.wishes().next().and_then(|(address, bytes)| RawFrame::parse(layout, address, bytes).ok());
        let leaf = leaf.filter(|leaf| leaf.address == seen.thread.current_frame);
        self.walk_from(memory, First { thread: seen.thread, generation: seen.generation, leaf })
    }

    fn walk(&mut self, memory: &mut dyn RemoteMemory, thread: Address) -> (ThreadState, Result<Walked, Rejection>) {
        match self.read(memory, thread) {
            Ok(first) => self.walk_from(memory, first),
            Err(rejection) => (ThreadState::unknown(thread), Err(rejection)),
        }
    }

    fn sweep(&mut self, threads: &[ThreadState]) {
        self.cache.sweep(threads);
        self.walks.sweep(threads);
    }
}
