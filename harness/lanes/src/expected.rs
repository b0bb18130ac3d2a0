//! The sample that CPython's cached unwinder owes at a stop, from our own walker of the same protocol.
//!
//! The target is stopped, so a sample has one right outcome, for the cache too: which threads hit, and how many frames
//! come from the cache. Our own cached walker looks at each stop right before the unwinder does, with the same anchors
//! and with a cache that has seen the same samples. Its writes are discarded; the unwinder makes the same ones.

use std::collections::BTreeSet;

use framewalk::cache::FrameCache;
use framewalk::cached::CachedWalker;
use framewalk::memory::overlay::Overlay;
use framewalk::memory::{Address, RemoteMemory};
use framewalk::miss::MissReason;
use framewalk::rejection::Rejection;
use framewalk::sample::{Counters, Lookup, Sample, ThreadSample};
use framewalk::walker::{CachingWalker, Site, Walker};
use model::oracle::markers::PlacedMarker;
use process::memory::ProcessMemory;

use crate::agreement::Standing;
use crate::asked::AskedList;
use crate::cell::CellError;
use crate::listing::{Listing, head_of};

/// Our walker that models one unwinder.
pub(super) struct Expected {
    walker: CachedWalker,
    site: Site,
    /// Its cache before the latest sample.
    before: FrameCache,
    /// The same of `marked`.
    marked_before: BTreeSet<u64>,
    /// The threads whose latest stored stack begins with a marker. Such an entry yields no full hit, because a full hit
    /// must find the current frame first.
    marked: BTreeSet<u64>,
    /// Whether the unwinder has sampled other threads than the model, so that their caches differ from then on.
    is_lost: bool,
}

impl Expected {
    pub(super) fn new(site: Site) -> Result<Self, CellError> {
        Ok(Self {
            walker: CachedWalker::new(site, BTreeSet::new())?,
            site,
            before: FrameCache::default(),
            marked: BTreeSet::new(),
            marked_before: BTreeSet::new(),
            is_lost: false,
        })
    }

    /// The sample that the protocol takes of the target in its current state, if the unwinder lists these interpreters.
    /// `None` if what the unwinder lists is or was unknown.
    pub(super) fn look(
        &mut self,
        memory: &ProcessMemory,
        listing: &Listing,
        head: Option<Address>,
    ) -> Result<Option<Sample>, CellError> {
        self.is_lost |= *listing == Listing::Ended;
        if self.is_lost {
            return Ok(None);
        }
        self.before = self.walker.cache().clone();
        let mut memory = Overlay::new(memory.clone());
        if let (Listing::Without(_), Some(head)) = (listing, head) {
            let place = head_of(&self.site.layout, self.site.runtime);
            memory.write(place, &head.to_le_bytes()).map_err(Rejection::from)?;
        }
        Ok(Some(self.walker.sample(&mut memory)?))
    }

    /// What the unwinder owes if it lists these threads of the model's sample, and counted `told`. It has not looked at
    /// the other threads.
    pub(super) fn of_listed(
        &mut self,
        mut sample: Sample,
        standings: &[Standing],
        list: &AskedList,
        told: Option<Counters>,
    ) -> Owed {
        self.marked_before.clone_from(&self.marked);
        let all = std::mem::take(&mut sample.threads);
        let mut counters = Counters::default();
        let mut is_certain = true;
        for (index, thread) in all.into_iter().enumerate() {
            let id = thread.native_thread_id;
            if list.indices.contains(&index) {
                let markers = standings.get(index).map_or(&[][..], |standing| &standing.markers);
                let was_marked = self.marked.contains(&id);
                count(&mut counters, &thread, markers, was_marked);
                let is_marked = markers.first().is_some_and(|placed| placed.above == 0);
                let is_full_hit = thread.provenance.lookup == Lookup::FullHit && !was_marked;
                // 3.15.2 has a full hit, although a collection has begun in the frame. Another one may look for that.
                is_certain &= !(is_full_hit && is_marked);
                let is_stored = !is_full_hit || is_marked && told.is_some_and(|told| told.full_hits == 0);
                if thread.outcome.is_ok() && is_stored {
                    if is_marked {
                        self.marked.insert(id)
                    } else {
                        self.marked.remove(&id)
                    };
                }
                sample.threads.push(thread);
            } else if self.walker.cache().get(id) != self.before.get(id) {
                let mut cache = self.walker.cache().clone();
                cache.retain(|other| other != id);
                if let Some(entry) = self.before.get(id) {
                    cache.insert(id, entry.clone());
                }
                self.walker.set_cache(cache);
            }
        }
        Owed { sample, counters: is_certain.then_some(counters) }
    }

    /// The unwinder has sampled threads that were not expected.
    pub(super) fn lost(&mut self) {
        self.is_lost = true;
    }

    /// The unwinder raised at the thread with this index in its list. It stored its entries for the threads before. For
    /// that thread and those after it, the cache is as it was.
    pub(super) fn raised(&mut self, sample: &Sample, number: usize) {
        let mut cache = std::mem::take(&mut self.before);
        for thread in sample.threads.iter().take(number) {
            if let Some(entry) = self.walker.cache().get(thread.native_thread_id) {
                cache.insert(thread.native_thread_id, entry.clone());
            }
        }
        self.walker.set_cache(cache);
        let is_stored = |id: u64| sample.threads.iter().take(number).any(|thread| thread.native_thread_id == id);
        self.marked.retain(|&id| is_stored(id));
        self.marked.extend(self.marked_before.iter().copied().filter(|&id| !is_stored(id)));
    }

    /// Empties the cache: the unwinder is a new one.
    pub(super) fn forget(&mut self) {
        self.walker.set_cache(FrameCache::default());
        self.marked.clear();
    }
}

/// What an unwinder owes for the state of its target.
pub(super) struct Owed {
    pub(super) sample: Sample,
    /// `None` if it depends on a fault of the unwinder, which is judged elsewhere.
    pub(super) counters: Option<Counters>,
}

/// Adds what CPython's unwinder counts for a thread with this outcome and these markers. `was_marked` says whether the
/// thread's entry begins with a marker. Seen on 3.15.0 and 3.15.2: a partial hit that takes nothing from the cache
/// counts as a miss, and markers count as frames.
fn count(counters: &mut Counters, thread: &ThreadSample, markers: &[PlacedMarker], was_marked: bool) {
    let frames = thread.outcome.as_ref().map_or(0, |stack| stack.len());
    let is_hit = matches!(thread.provenance.lookup, Lookup::FullHit | Lookup::PartialHit);
    let read = frames.saturating_sub(thread.provenance.from_cache);
    let cached_markers = markers.iter().filter(|placed| is_hit && placed.above >= read).count();
    let from_cache = (thread.provenance.from_cache + cached_markers) as u64;
    match thread.provenance.lookup {
        Lookup::FullHit if !was_marked => counters.full_hits += 1,
        Lookup::FullHit | Lookup::PartialHit if from_cache > 0 => counters.partial_hits += 1,
        // The walk for a partial hit reached the base frame. CPython does not count that at all.
        Lookup::Miss(MissReason::AnchorNotOnChain) => {}
        Lookup::FullHit | Lookup::PartialHit | Lookup::Miss(_) => counters.misses += 1,
        Lookup::Uncached | Lookup::Unknown => {}
    }
    counters.frames_from_cache += from_cache;
    counters.frames_from_memory +=
        (frames + if thread.outcome.is_ok() { markers.len() } else { 0 }) as u64 - from_cache;
}
