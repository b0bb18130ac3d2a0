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
use framewalk::sample::{Counters, Lookup, Sample};
use framewalk::walker::{CachingWalker, Site, Walker};
use process::memory::ProcessMemory;

use crate::cell::CellError;
use crate::listing::{Listing, head_of};

/// Our walker that models one unwinder.
pub(super) struct Expected {
    walker: CachedWalker,
    site: Site,
    /// Its cache before the latest sample.
    before: FrameCache,
    /// Whether the unwinder has sampled other threads than the model, so that their caches differ from then on.
    is_lost: bool,
}

impl Expected {
    pub(super) fn new(site: Site) -> Result<Self, CellError> {
        Ok(Self {
            walker: CachedWalker::new(site, BTreeSet::new())?,
            site,
            before: FrameCache::default(),
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
    }

    /// Empties the cache: the unwinder is a new one.
    pub(super) fn forget(&mut self) {
        self.walker.set_cache(FrameCache::default());
    }
}

/// The counters of CPython's unwinder for a sample with these outcomes. Seen on 3.15.0 and 3.15.2: a partial hit that
/// takes nothing from the cache counts as a miss.
pub(super) fn counters(sample: &Sample) -> Counters {
    let mut counters = Counters::default();
    for thread in &sample.threads {
        let from_cache = thread.provenance.from_cache as u64;
        match thread.provenance.lookup {
            Lookup::FullHit => counters.full_hits += 1,
            Lookup::PartialHit if from_cache > 0 => counters.partial_hits += 1,
            // The walk for a partial hit reached the base frame. CPython does not count that at all.
            Lookup::Miss(MissReason::AnchorNotOnChain) => {}
            Lookup::PartialHit | Lookup::Miss(_) => counters.misses += 1,
            Lookup::Uncached | Lookup::Unknown => {}
        }
        counters.frames_from_cache += from_cache;
        let frames = thread.outcome.as_ref().map_or(0, |stack| stack.len()) as u64;
        counters.frames_from_memory += frames.saturating_sub(from_cache);
    }
    counters
}
