//! What CPython's cached unwinder owes at a stop: this project's walker of the same protocol, in its seat.
//!
//! The target stands still, so a sample has one right outcome, for the cache too: which threads hit, and how many frames come
//! from it. This project's cached walker looks at each stop right before the unwinder does, at the same anchors and with a cache
//! that took the same samples. What it would write is not written; the unwinder writes the same.

use std::collections::BTreeSet;

use framewalk::cache::FrameCache;
use framewalk::cached::CachedWalker;
use framewalk::memory::overlay::Overlay;
use framewalk::miss::MissReason;
use framewalk::sample::{Counters, Lookup, Sample};
use framewalk::walker::{CachingWalker, Site, Walker};
use process::memory::ProcessMemory;

use crate::cell::Cut;

/// The walker in the seat of one unwinder.
pub(super) struct Expected {
    walker: CachedWalker,
    /// Its cache before the sample that was looked at last.
    before: FrameCache,
}

impl Expected {
    pub(super) fn new(site: Site) -> Result<Self, Cut> {
        Ok(Self { walker: CachedWalker::new(site, BTreeSet::new())?, before: FrameCache::default() })
    }

    /// What the protocol makes of the target as it stands.
    pub(super) fn look(&mut self, memory: &ProcessMemory) -> Result<Sample, Cut> {
        self.before = self.walker.cache().clone();
        Ok(self.walker.sample(&mut Overlay::new(memory.clone()))?)
    }

    /// The unwinder raised at the thread of this number in its list: it stored what it had of those before, and wrote nothing.
    pub(super) fn raised(&mut self, sample: &Sample, number: usize) {
        let mut cache = std::mem::take(&mut self.before);
        for thread in sample.threads.iter().take(number) {
            if let Some(entry) = self.walker.cache().get(thread.native_thread_id) {
                cache.insert(thread.native_thread_id, entry.clone());
            }
        }
        self.walker.set_cache(cache);
    }

    /// Its cache is empty: the unwinder is a new one.
    pub(super) fn forget(&mut self) {
        self.walker.set_cache(FrameCache::default());
    }
}

/// What CPython's unwinder counts of a sample whose threads fared like this. Seen on 3.15.0 and 3.15.2: a partial hit that takes
/// nothing from the cache counts as a miss.
pub(super) fn counters(sample: &Sample) -> Counters {
    let mut counters = Counters::default();
    for thread in &sample.threads {
        let from_cache = thread.provenance.from_cache as u64;
        match thread.provenance.lookup {
            Lookup::FullHit => counters.full_hits += 1,
            Lookup::PartialHit if from_cache > 0 => counters.partial_hits += 1,
            // The walk for a partial hit came to the base frame: it is counted as nothing at all.
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
