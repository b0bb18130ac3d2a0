//! The reference cached walker: the anchor is a hazard pointer, the sequence a seqlock.
//!
//! The interpreter moves the anchor whenever the anchor's frame leaves the stack. So if the anchor is the current frame
//! *before* the walk starts, and still is after it with the same sequence, that frame lived throughout. None of its
//! callers can have returned or yielded meanwhile. Whatever was read of them is therefore consistent, however many
//! reads it took.
//!
//! 1. Read the thread state {current frame C, anchor L, sequence S} and the predicted leaf frame, then anchor and
//!    sequence again, in one call. If C = L = the entry's first frame and both sequences equal the stored one, the
//!    frame has not left the stack since the entry was stored, and the leaf was read while it lived: a **full hit**.
//! 2. Otherwise read the interpreter's code-object generation and the frame C. Reject a shim frame: it leaves the stack
//!    without moving the anchor. Reject a frame that runs a generator's code: a yield, and RETURN_GENERATOR in the
//!    data-stack frame that creates the generator, move the anchor *before* the current frame, so an anchor written in
//!    between is never moved. Neither kind is ever anchored.
//! 3. If L is not C, write C as the anchor. The stored entry is no longer tied to an anchor, so it is removed from the
//!    cache, whatever happens next.
//! 4. Re-read the frame C, which must not be of a rejected kind, and *then* {C, L, S}: current frame and anchor must
//!    both be C, and the sequence must still be S. From now on C cannot leave uncounted: the frame that is current was
//!    already there when it was read, or it was pushed after the write.
//! 5. Follow the chain to the base frame and decode it. The entry supplies the callers only if the anchor already was
//!    C, because all frames above it returned, and the entry holds C with the sequence that this number of returns
//!    produces (**partial hit**). If the anchor had to be moved up to C, the old one can have left uncounted: C may
//!    have died just before the write, and another frame may occupy its address by step 4.
//! 6. Re-read anchor and sequence: they must be C and S, else reject. Also reject if the interpreter has freed a code
//!    object since step 2.
//! 7. Store with S, and with the addresses of the frames above the first shim frame: the anchor stops there.
//!
//! A [`Weakening`] skips one of these checks. For each, `framediff prove` prints a history that shows what then goes
//! wrong.
//!
//! Not covered: other profilers that write the same anchor; a thread state that is freed between a read and the write;
//! a store buffer that hides the interpreter's `current_frame = parent` while it already read the anchor (the window is
//! a few instructions, the walker's is two system calls).

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::before::{PreviousWalk, PreviousWalks};
use crate::cache::{Checks, Entry, FrameCache, Limits};
use crate::chain::{Chain, DEPTH_LIMIT, End, Known, follow_knowing};
use crate::chunks::Chunks;
use crate::code::{CodeGeneration, Decoder, GenerationBuffer};
use crate::layout::CacheLayout;
use crate::memory::{Address, RemoteMemory, Segment};
use crate::miss::MissReason;
use crate::raw_frame::{Owner, RawFrame};
use crate::rejection::Rejection;
use crate::roster::{ReadPlan, Seen, ThreadPrefetch};
use crate::sample::{Lookup, Provenance, WalkerKind};
use crate::shared::Shared;
use crate::stack::Stack;
use crate::thread_state::{ThreadState, Window, anchor_of, anchor_segments, word, write_anchor};
use crate::walker::{CachingWalker, Site, ThreadWalk, Unsupported, Walked, decode, decoder, read_again};
use crate::weakening::Weakening;

/// Attempts per thread before its walk is rejected as [`Rejection::Moved`].
const ATTEMPTS: u32 = 4;

/// The reference walker keeps every chain that it can walk, so deep stacks stay cached. The longest chains take one MiB
/// per thread.
const LIMITS: Limits = Limits { threads: 256, addresses: DEPTH_LIMIT };

/// The reference cached walker. See the module documentation for its protocol and what it does not cover.
pub struct ReferenceWalker {
    site: Site,
    fields: CacheLayout,
    window: Window,
    weakenings: BTreeSet<Weakening>,
    attempts: u32,
    cache: FrameCache,
    decoder: Decoder,
    roster: ThreadPrefetch,
    walks: PreviousWalks,
}

/// The result of step 1.
struct FirstRead {
    thread: ThreadState,
    generation: CodeGeneration,
    /// The predicted leaf frame, if it was read and is the current frame.
    leaf: Option<RawFrame>,
    /// Whether anchor, sequence and generation were unchanged after the leaf was read.
    steady: bool,
}

impl ReferenceWalker {
    /// Makes a walker for a build with the frame cache.
    ///
    /// # Errors
    /// The layout has no frame cache or the walkers cannot read it.
    pub fn new(site: Site) -> Result<Self, Unsupported> {
        site.layout.walkable()?;
        Ok(Self {
            site,
            fields: site.cache()?,
            window: Window::new(&site.layout),
            weakenings: BTreeSet::new(),
            attempts: ATTEMPTS,
            cache: FrameCache::new(LIMITS),
            decoder: Decoder::new(site.layout),
            roster: ThreadPrefetch::default(),
            walks: PreviousWalks::default(),
        })
    }

    /// The same walker without the checks named in `weakenings`.
    #[must_use]
    pub fn weakened(self, weakenings: BTreeSet<Weakening>) -> Self {
        Self { decoder: decoder(&self.site, &weakenings), weakenings, ..self }
    }

    fn is(&self, weakening: Weakening) -> bool {
        self.weakenings.contains(&weakening)
    }

    fn checks(&self, no_sequence: Weakening) -> Checks {
        Checks { thread_state: !self.is(Weakening::ThreadStateNotCompared), sequence: !self.is(no_sequence) }
    }

    fn glance(&self, memory: &mut dyn RemoteMemory, address: Address) -> Result<FirstRead, Rejection> {
        let layout = &self.site.layout;
        let entry = self.cache.of_thread_state(address);
        let predicted = entry.and_then(|entry| Some((entry.interpreter, entry.addresses.first().copied()?)));
        let mut state = self.window.buffer();
        let Some((interpreter, predicted)) = predicted else {
            memory.read_vectored(&mut [self.window.segment(address, &mut state)])?;
            let thread = self.window.parse(layout, address, &state);
            return Ok(FirstRead { thread, generation: CodeGeneration::default(), leaf: None, steady: false });
        };
        let mut leaf = RawFrame::buffer(layout);
        let mut held = [0; 16];
        let (mut before, mut after) = (GenerationBuffer::default(), GenerationBuffer::default());
        let mut segments: SmallVec<[Segment<'_>; 8]> = SmallVec::new();
        segments.extend(before.segments(layout, interpreter).into_iter().flatten());
        segments.push(self.window.segment(address, &mut state));
        let needed = segments.len();
        segments.push(Segment { address: predicted, buffer: &mut leaf });
        segments.extend(anchor_segments(&self.fields, address, &mut held));
        segments.extend(after.segments(layout, interpreter).into_iter().flatten());
        let all = segments.len();
        let filled = memory.read_vectored(&mut segments)?;
        drop(segments);
        if filled < needed {
            return Err(Rejection::Unreadable(format!("thread state {address:#x}")));
        }
        let thread = self.window.parse(layout, address, &state);
        let leaf = if filled == all { RawFrame::parse(layout, predicted, &leaf).ok() } else { None };
        let known = needed == 3 && interpreter == thread.interpreter;
        let (generation, after) = match known {
            true => (before.parse(interpreter, true), after.parse(interpreter, true)),
            // The leaf was read before this generation, so it cannot be used if the build has generations.
            false => (CodeGeneration::default(), CodeGeneration::read(memory, layout, thread.interpreter)),
        };
        let same = anchor_of(&held) == (thread.anchor, thread.sequence);
        Ok(FirstRead {
            thread,
            generation,
            leaf: leaf.filter(|leaf| leaf.address == thread.current_frame),
            steady: same && generation.number == after.number,
        })
    }

    /// Decides on a full hit from what step 1 read.
    fn full_hit(
        &mut self,
        memory: &mut dyn RemoteMemory,
        glance: &FirstRead,
    ) -> Result<Result<Walked, MissReason>, Rejection> {
        let steady = glance.steady || self.is(Weakening::NotReadAgainBeforeUse);
        let entry = match self.cache.full_hit(&glance.thread, self.checks(Weakening::NoSequenceCheckOnFullHit)) {
            Ok(entry) => entry,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(raw) = glance.leaf.filter(|_| steady) else { return Ok(Err(MissReason::ChangedDuringUse)) };
        self.decoder.enter(glance.generation);
        let Some(stored) = entry.frames.first().cloned() else { return Ok(Err(MissReason::EntryStartsElsewhere)) };
        let callers = entry.frames.skip(1);
        let reused = self.is(Weakening::LeafReusedOnFullHit);
        let leaf = if reused { stored } else { self.decoder.frame(memory, &raw)? };
        if self.decoder.has_learnt()
            && self
                .decoder
                .check(CodeGeneration::read(memory, &self.site.layout, glance.generation.interpreter))
                .is_err()
        {
            return Ok(Err(MissReason::ChangedDuringUse));
        }
        let provenance = Provenance { lookup: Lookup::FullHit, from_cache: callers.len() };
        Ok(Ok(Walked { stack: Stack::new(leaf, callers), provenance }))
    }

    /// One attempt at steps 2 to 7.
    fn attempt(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        reason: MissReason,
    ) -> Result<Walked, Rejection> {
        let (mut before, mut buffer) = self.walks.take(thread.address);
        let walked = self.attempt_after(memory, thread, reason, &mut before, &mut buffer);
        self.walks.put_back(thread.address, (before, buffer));
        walked
    }

    fn attempt_after(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        mut reason: MissReason,
        before: &mut PreviousWalk,
        buffer: &mut Vec<u8>,
    ) -> Result<Walked, Rejection> {
        let (generation, leaf) = self.leaf(memory, thread)?;
        self.decoder.enter(generation);
        self.refuse_unsteady_leaf(memory, &leaf)?;
        let (old, index) = self.take_entry(thread, &mut reason);
        if thread.anchor != thread.current_frame {
            write_anchor(memory, &self.fields, thread.address, thread.current_frame)?;
        }
        let (leaf, again) = self.look_again(memory, thread)?;
        self.refuse_unsteady_leaf(memory, &leaf)?;
        let same_sequence = again.sequence == thread.sequence || self.is(Weakening::SequenceNotComparedAfterAnchoring);
        let held = (thread.current_frame, again.sequence);
        if (again.current_frame, again.anchor) != (thread.current_frame, thread.current_frame) || !same_sequence {
            return Err(Rejection::Moved);
        }
        let partial = old.as_ref().zip(index);
        let mut chunks = match partial {
            // Few frames are above the anchor. Reading them one by one is cheaper than copying the data stack.
            Some(_) => None,
            None => Some(before.copy(memory, again.datastack_chunk, RawFrame::size(&self.site.layout), buffer)?),
        };
        let stop = partial.is_some().then_some(thread.anchor);
        let chain = self.chain(memory, &again, stop, chunks.as_mut(), before.depth())?;
        let cached = partial.filter(|_| chain.end == End::Stopped);
        if partial.is_some() && cached.is_none() {
            reason = MissReason::AnchorNotOnChain;
        }
        let (callers, below) = cached
            .map(|(entry, index)| (entry.frames.skip(index + 1), entry.addresses.skip(index + 1)))
            .unwrap_or_default();
        let lookup = if cached.is_some() { Lookup::PartialHit } else { Lookup::Miss(reason) };
        let provenance = Provenance { lookup, from_cache: callers.len() };
        let frames = match cached {
            Some(_) => callers.below(decode(memory, &mut self.decoder, chain.python())?),
            None => before.decode(memory, &mut self.decoder, &chain)?,
        };
        let unchecked = if cached.is_some() { Weakening::NotReadAgainBeforeUse } else { Weakening::TornWalkStored };
        if !self.is(unchecked) {
            self.check(memory, thread, held)?;
        }
        // By itself the anchor moves down no further than to the first shim frame. Below that, another profiler wrote
        // it, and the sequence does not count the frames in between.
        let addresses: Vec<Address> =
            chain.links.iter().take_while(|frame| frame.is_python()).map(|frame| frame.address).collect();
        let no_shim = addresses.len() == chain.links.len();
        let addresses = if no_shim { below } else { Shared::default() }.below(addresses);
        let stack = Stack::of(&frames).ok_or(Rejection::Empty)?;
        if let Some(chunks) = chunks.filter(|_| chain.end == End::Base) {
            before.keep(generation, &chunks, chain, frames.clone());
        }
        self.cache.insert(
            thread.native_thread_id,
            Entry {
                thread_state: thread.address,
                interpreter: generation.known_interpreter(),
                addresses,
                frames,
                sequence: again.sequence,
            },
        );
        Ok(Walked { stack, provenance })
    }

    /// The reads of step 2: the interpreter's code-object generation, then the current frame.
    fn leaf(
        &self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
    ) -> Result<(CodeGeneration, RawFrame), Rejection> {
        let layout = &self.site.layout;
        let (mut codes, mut leaf) = (GenerationBuffer::default(), RawFrame::buffer(layout));
        if let Some([id, generation]) = codes.segments(layout, thread.interpreter)
            && let Ok(3) = memory.read_vectored(&mut [
                id,
                generation,
                Segment { address: thread.current_frame, buffer: &mut leaf },
            ])
        {
            let leaf = RawFrame::parse(layout, thread.current_frame, &leaf)?;
            return Ok((codes.parse(thread.interpreter, true), leaf));
        }
        let unknown = CodeGeneration { interpreter: thread.interpreter, number: None };
        Ok((unknown, RawFrame::read(memory, layout, thread.current_frame)?))
    }

    /// Step 6: anchor and sequence equal `held`, and no code object was freed.
    fn check(
        &self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        held: (Address, u64),
    ) -> Result<(), Rejection> {
        let (again, now) = read_again(memory, &self.site, &self.fields, thread.address, self.decoder.generation())?;
        if again != held {
            return Err(Rejection::Moved);
        }
        self.decoder.check(now)
    }

    /// The reads of step 4, in this order.
    fn look_again(
        &self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
    ) -> Result<(RawFrame, ThreadState), Rejection> {
        let layout = &self.site.layout;
        let (mut leaf, mut state) = (RawFrame::buffer(layout), self.window.buffer());
        let filled = memory.read_vectored(&mut [
            Segment { address: thread.current_frame, buffer: &mut leaf },
            self.window.segment(thread.address, &mut state),
        ])?;
        if filled != 2 {
            return Err(Rejection::Unreadable(format!("thread state {:#x}", thread.address)));
        }
        Ok((RawFrame::parse(layout, thread.current_frame, &leaf)?, self.window.parse(layout, thread.address, &state)))
    }

    /// Takes the entry out of the cache (step 3). The index is that of the anchor in the entry, if a partial hit is
    /// possible.
    fn take_entry(&mut self, thread: &ThreadState, reason: &mut MissReason) -> (Option<Entry>, Option<usize>) {
        let checks = self.checks(Weakening::NoSequenceCheckOnPartialHit);
        let grew = thread.anchor != thread.current_frame && !self.is(Weakening::PartialHitOnGrownStack);
        let hit = self.cache.partial_hit(thread, checks, 0).map(|(_, index)| index);
        let index = match hit.and_then(|index| if grew { Err(MissReason::StackGrew) } else { Ok(index) }) {
            Ok(index) => Some(index),
            Err(why) => {
                // A full hit that failed while in use is the better reason than the partial hit it cannot be.
                if *reason != MissReason::ChangedDuringUse {
                    *reason = why;
                }
                None
            }
        };
        let entry = if self.is(Weakening::EntryKeptAfterFailedAttempt) {
            self.cache.get(thread.native_thread_id).cloned()
        } else {
            self.cache.take(thread.native_thread_id)
        };
        (entry, index)
    }

    /// Step 5: follows the chain to `stop`, or to the base frame.
    fn chain(
        &self,
        memory: &mut dyn RemoteMemory,
        thread: &ThreadState,
        stop: Option<Address>,
        chunks: Option<&mut Chunks<'_>>,
        depth: usize,
    ) -> Result<Chain, Rejection> {
        let known = Known { chunks, frame: None, depth, starts_with_python: false };
        let start = thread.current_frame;
        let chain = follow_knowing(memory, &self.site.layout, thread, known, start, stop, DEPTH_LIMIT)?;
        if chain.end == End::Elsewhere && !self.is(Weakening::ChainStoredWithoutBase) {
            return Err(chain.not_at_base(thread));
        }
        Ok(chain)
    }

    fn frames(&mut self, memory: &mut dyn RemoteMemory, glance: &FirstRead) -> Result<Walked, Rejection> {
        if glance.thread.current_frame == 0 {
            return Err(Rejection::Empty);
        }
        match self.full_hit(memory, glance)? {
            Ok(walked) => Ok(walked),
            Err(reason) => {
                self.attempt(memory, &glance.thread, reason).map_err(|why| self.why(memory, &glance.thread, why))
            }
        }
    }

    /// Step 2: only a frame whose return updates the current frame before the anchor can be held.
    fn refuse_unsteady_leaf(&mut self, memory: &mut dyn RemoteMemory, leaf: &RawFrame) -> Result<(), Rejection> {
        if !leaf.is_python() {
            return if self.is(Weakening::ShimLeafAnchored) { Ok(()) } else { Err(Rejection::ShimLeaf) };
        }
        if leaf.owner != Owner::Thread {
            return if self.is(Weakening::GeneratorLeafAnchored) { Ok(()) } else { Err(Rejection::GeneratorLeaf) };
        }
        if !self.is(Weakening::GeneratorBeingMadeAnchored) && self.decoder.is_generator(memory, leaf.code)? {
            return Err(Rejection::GeneratorLeaf);
        }
        Ok(())
    }

    /// If the frame is gone, an unreadable chain is not garbage: the target moved.
    fn why(&self, memory: &mut dyn RemoteMemory, thread: &ThreadState, rejection: Rejection) -> Rejection {
        if matches!(rejection, Rejection::Moved | Rejection::GeneratorLeaf | Rejection::ShimLeaf) {
            return rejection;
        }
        match self.window.read(memory, &self.site.layout, thread.address) {
            Ok(now) if now.current_frame == thread.current_frame && now.sequence == thread.sequence => rejection,
            Ok(_) => Rejection::Moved,
            Err(_) => rejection,
        }
    }
}

impl CachingWalker for ReferenceWalker {
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

    /// After that many attempts, a walk is rejected because the target moved. Zero counts as one.
    fn set_attempts(&mut self, attempts: u32) {
        self.attempts = attempts;
    }
}

impl ThreadWalk for ReferenceWalker {
    const KIND: WalkerKind = WalkerKind::OwnReference;
    const LOOKS_AFTER: bool = true;

    fn site(&self) -> &Site {
        &self.site
    }

    fn roster(&mut self) -> Option<&mut ThreadPrefetch> {
        Some(&mut self.roster)
    }

    fn wish(&self, thread: &ThreadState, wishes: &mut ReadPlan) {
        let Some(leaf) = self.predicted(thread) else { return };
        wishes.add(leaf, RawFrame::size(&self.site.layout));
        let CacheLayout { anchor, sequence, .. } = self.fields;
        if sequence == anchor + 8 {
            wishes.add(thread.address.wrapping_add(anchor), 16);
        } else {
            wishes.add(thread.address.wrapping_add(anchor), 8);
            wishes.add(thread.address.wrapping_add(sequence), 8);
        }
    }

    fn walk_seen(&mut self, memory: &mut dyn RemoteMemory, seen: Seen<'_>) -> (ThreadState, Result<Walked, Rejection>) {
        let thread = seen.thread;
        let glance = self.seen(seen);
        if seen.is_fresh {
            return self.walk_from(memory, thread.address, Some(glance));
        }
        if thread.current_frame != 0
            && let Ok(Ok(walked)) = self.full_hit(memory, &glance)
        {
            self.decoder.keep();
            return (thread, Ok(walked));
        }
        // Other threads were walked since the prefetch, so this data is stale.
        self.decoder.forget_fresh();
        self.walk(memory, thread.address)
    }

    fn walk(&mut self, memory: &mut dyn RemoteMemory, thread: Address) -> (ThreadState, Result<Walked, Rejection>) {
        self.walk_from(memory, thread, None)
    }

    fn sweep(&mut self, threads: &[ThreadState]) {
        self.cache.sweep(threads);
        self.walks.sweep(threads);
    }
}

impl ReferenceWalker {
    /// The leaf frame that the thread's entry predicts.
    fn predicted(&self, thread: &ThreadState) -> Option<Address> {
        let entry = self.cache.get(thread.native_thread_id)?;
        entry.addresses.first().copied().filter(|_| entry.thread_state == thread.address)
    }

    /// Step 1 from prefetched data.
    fn seen(&self, seen: Seen<'_>) -> FirstRead {
        let thread = seen.thread;
        let mut wishes = seen.wishes();
        let leaf = wishes.next().and_then(|(address, bytes)| RawFrame::parse(&self.site.layout, address, bytes).ok());
        let (anchor, sequence) = match (wishes.next(), wishes.next()) {
            (Some((_, both)), None) => (word(both, 0), word(both, 8)),
            (Some((_, anchor)), Some((_, sequence))) => (word(anchor, 0), word(sequence, 0)),
            (None, _) => (None, None),
        };
        let same = (anchor, sequence) == (Some(thread.anchor), Some(thread.sequence));
        FirstRead {
            leaf: leaf.filter(|leaf| leaf.address == thread.current_frame),
            steady: same && seen.is_same_after,
            generation: seen.generation,
            thread,
        }
    }

    /// Runs all attempts. The first one starts from `seen` if there is prefetched data.
    fn walk_from(
        &mut self,
        memory: &mut dyn RemoteMemory,
        thread: Address,
        mut seen: Option<FirstRead>,
    ) -> (ThreadState, Result<Walked, Rejection>) {
        let mut last = (ThreadState::unknown(thread), Err(Rejection::Moved));
        for _ in 0..self.attempts.max(1) {
            let glance = match seen.take().map_or_else(|| self.glance(memory, thread), Ok) {
                Ok(glance) => glance,
                Err(rejection) => return (last.0, Err(rejection)),
            };
            let walked = self.frames(memory, &glance);
            if walked.is_ok() {
                self.decoder.keep();
            } else {
                self.decoder.forget_fresh();
            }
            let moved = walked.as_ref().is_err_and(|rejection| *rejection == Rejection::Moved);
            last = (glance.thread, walked);
            if !moved {
                break;
            }
        }
        last
    }
}
