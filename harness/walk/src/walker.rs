//! What all walkers of framediff have in common.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::cache::FrameCache;
use crate::code::{CodeGeneration, Decoder};
use crate::frame::Frame;
use crate::layout::{CacheLayout, LayoutError};
use crate::memory::{Address, RemoteMemory, Segment};
use crate::raw_frame::RawFrame;
use crate::rejection::Rejection;
use crate::roster::{ReadPlan, Seen, ThreadPrefetch};
use crate::sample::{Lookup, Provenance, Sample, ThreadSample, WalkerKind};
pub use crate::site::{NoFrameCache, Site};
use crate::stack::Stack;
use crate::thread_state::{ThreadState, Window, anchor_of, anchor_segments, clear_anchors, thread_states};
use crate::weakening::Weakening;

/// Why a walker cannot be made for a build.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unsupported {
    /// A cached walker was requested, but the build has no frame cache.
    #[error(transparent)]
    NoFrameCache(#[from] NoFrameCache),
    /// The walker is CPython's, or it has no cache where a cached one is needed.
    #[error("{0} is no walker of this project, or has no cache where one is needed")]
    Kind(WalkerKind),
    /// The walkers cannot read this layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The stack of one thread and its provenance.
pub(super) struct Walked {
    pub(super) stack: Stack,
    pub(super) provenance: Provenance,
}

/// Returns stacks of a target.
pub trait Walker: Send {
    /// Kind of this walker.
    fn kind(&self) -> WalkerKind;

    /// Prepares the target: cached walkers write NULL to every anchor.
    ///
    /// # Errors
    /// The threads cannot be found, or an anchor cannot be written.
    fn attach(&mut self, memory: &mut dyn RemoteMemory) -> Result<(), Rejection>;

    /// Walks the threads of all interpreters, in the order of their lists.
    ///
    /// # Errors
    /// The threads cannot be found. Errors of one thread are in its [`ThreadSample`].
    fn sample(&mut self, memory: &mut dyn RemoteMemory) -> Result<Sample, Rejection>;

    /// Walks the thread whose state is at `thread` without enumerating the target's threads.
    fn sample_thread(&mut self, memory: &mut dyn RemoteMemory, thread: Address) -> ThreadSample;

    /// Detaches from the target: cached walkers write NULL to every anchor.
    ///
    /// # Errors
    /// As [`Walker::attach`].
    fn detach(&mut self, memory: &mut dyn RemoteMemory) -> Result<(), Rejection>;
}

/// A walker with a frame cache. The cache and the decoder are all that it keeps of earlier samples, apart from
/// prefetching.
pub trait CachingWalker: Walker {
    /// The walker's frame cache, with all entries that it stored.
    fn cache(&self) -> &FrameCache;

    /// Replaces the frame cache and forgets the threads of earlier samples.
    fn set_cache(&mut self, cache: FrameCache);

    /// The decoder, which keeps decoded code objects.
    fn decoder(&self) -> &Decoder;

    /// Replaces the decoder, and with it all decoded code objects.
    fn set_decoder(&mut self, decoder: Decoder);

    /// Sets how many times a sample tries to walk a thread that moves. A walker that never tries again ignores it.
    fn set_attempts(&mut self, attempts: u32);
}

/// A walker's strategy for one thread.
pub(super) trait ThreadWalk {
    const KIND: WalkerKind;

    /// Whether the prefetch must also read the code-object generations at its end, so that no further read has to
    /// verify them.
    const LOOKS_AFTER: bool;

    fn site(&self) -> &Site;

    /// State for prefetching the next sample. `None` if the walker issues its reads one by one.
    fn roster(&mut self) -> Option<&mut ThreadPrefetch>;

    /// Adds the ranges that the walker expects to need of a thread.
    fn wish(&self, thread: &ThreadState, wishes: &mut ReadPlan);

    /// Walks a thread with prefetched data.
    fn walk_seen(&mut self, memory: &mut dyn RemoteMemory, seen: Seen<'_>) -> (ThreadState, Result<Walked, Rejection>);

    fn walk(&mut self, memory: &mut dyn RemoteMemory, thread: Address) -> (ThreadState, Result<Walked, Rejection>);

    /// Called with the threads of this sample after all of them were walked.
    fn sweep(&mut self, threads: &[ThreadState]);
}

impl<T: ThreadWalk + Send> Walker for T {
    fn kind(&self) -> WalkerKind {
        T::KIND
    }

    fn attach(&mut self, memory: &mut dyn RemoteMemory) -> Result<(), Rejection> {
        if let Some(roster) = self.roster() {
            roster.forget();
        }
        if T::KIND.is_cached() {
            clear_anchors(memory, &self.site().layout, self.site().runtime)?;
        }
        Ok(())
    }

    fn sample(&mut self, memory: &mut dyn RemoteMemory) -> Result<Sample, Rejection> {
        let site = *self.site();
        // Taken out while the walker itself is borrowed.
        let Some(mut roster) = self.roster().map(std::mem::take) else {
            let found = thread_states(memory, &site.layout, site.runtime)?;
            let threads = found.iter().map(|thread| self.sample_thread(memory, thread.address)).collect();
            self.sweep(&found);
            return Ok(Sample { walker: T::KIND, threads });
        };
        let mut threads = SmallVec::new();
        if roster.look(memory, &site, T::LOOKS_AFTER, |thread, wishes| self.wish(thread, wishes)) {
            let seen = (0..).map_while(|index| roster.seen(index));
            threads.extend(seen.map(|seen| thread_sample(self.walk_seen(memory, seen))));
        } else {
            roster.enumerate(memory, &site)?;
            threads.extend(roster.states().iter().map(|thread| self.sample_thread(memory, thread.address)));
        }
        self.sweep(roster.states());
        if let Some(kept) = self.roster() {
            *kept = roster;
        }
        Ok(Sample { walker: T::KIND, threads })
    }

    fn sample_thread(&mut self, memory: &mut dyn RemoteMemory, thread: Address) -> ThreadSample {
        thread_sample(self.walk(memory, thread))
    }

    fn detach(&mut self, memory: &mut dyn RemoteMemory) -> Result<(), Rejection> {
        self.attach(memory)
    }
}

fn thread_sample((state, result): (ThreadState, Result<Walked, Rejection>)) -> ThreadSample {
    let (outcome, provenance) = match result {
        Ok(walked) => (Ok(walked.stack), walked.provenance),
        Err(rejection) => (Err(rejection), Provenance { lookup: Lookup::Unknown, from_cache: 0 }),
    };
    ThreadSample { native_thread_id: state.native_thread_id, outcome, provenance }
}

/// Re-reads anchor and sequence of a thread state, then the generation of the code objects that were decoded.
pub(super) fn read_again(
    memory: &mut dyn RemoteMemory,
    site: &Site,
    fields: &CacheLayout,
    thread: Address,
    decoded: CodeGeneration,
) -> Result<((Address, u64), CodeGeneration), Rejection> {
    let (mut held, mut count) = ([0; 16], [0; 8]);
    let mut segments: SmallVec<[Segment<'_>; 3]> = anchor_segments(fields, thread, &mut held).collect();
    let offset = site.layout.interpreter.code_object_generation.filter(|_| decoded.number.is_some());
    segments
        .extend(offset.map(|offset| Segment { address: decoded.interpreter.wrapping_add(offset), buffer: &mut count }));
    let all = segments.len();
    let filled = memory.read_vectored(&mut segments)?;
    drop(segments);
    if filled != all {
        return Err(Rejection::Unreadable(format!("thread state {thread:#x}")));
    }
    let number = decoded.number.map(|(id, _)| (id, u64::from_le_bytes(count)));
    Ok((anchor_of(&held), CodeGeneration { number, ..decoded }))
}

/// A decoder with the faults named in `weakenings`.
pub(super) fn decoder(site: &Site, weakenings: &BTreeSet<Weakening>) -> Decoder {
    let is = |weakening| weakenings.contains(&weakening);
    let (kept, shared) = (is(Weakening::CodeKeptAfterFree), is(Weakening::GenerationOfAnotherInterpreter));
    Decoder::new(site.layout).weakened(!kept, shared)
}

/// Decodes the frames in `links`, which must all run Python code.
pub(super) fn decode<'a>(
    memory: &mut dyn RemoteMemory,
    decoder: &mut Decoder,
    links: impl Iterator<Item = &'a RawFrame>,
) -> Result<Vec<Arc<Frame>>, Rejection> {
    links.map(|raw| decoder.frame(memory, raw)).collect()
}

/// Reads a thread state. On failure, returns an otherwise empty one: even the thread id is then unknown.
pub(super) fn read_thread(
    memory: &mut dyn RemoteMemory,
    site: &Site,
    address: Address,
) -> Result<ThreadState, (ThreadState, Rejection)> {
    Window::new(&site.layout)
        .read(memory, &site.layout, address)
        .map_err(|rejection| (ThreadState::unknown(address), rejection))
}
