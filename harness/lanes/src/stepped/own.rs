//! Our own walkers as samplers of a stepped target.

use std::collections::BTreeSet;

use framewalk::cache::FrameCache;
use framewalk::cached::CachedWalker;
use framewalk::reference::ReferenceWalker;
use framewalk::sample::{ThreadSample, WalkerKind};
use framewalk::thread_state::clear_anchors;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{CachingWalker, Site, Unsupported, Walker};
use framewalk::weakening::Weakening;

use super::conductor::Conductor;
use super::error::RigError;
use super::memory::SteppedMemory;

/// A walker that is created once. It keeps what it learned about code objects, but starts each schedule with a new
/// cache.
pub(super) enum Own {
    Uncached(UncachedWalker),
    Cached(CachedWalker),
    Reference(ReferenceWalker),
}

impl Own {
    /// The walker of that kind. `None` for CPython's.
    pub(super) fn new(
        kind: WalkerKind,
        site: Site,
        weakenings: &BTreeSet<Weakening>,
    ) -> Result<Option<Self>, Unsupported> {
        Ok(Some(match kind {
            WalkerKind::OwnUncached => Self::Uncached(UncachedWalker::new(site)?),
            WalkerKind::OwnCached => Self::Cached(CachedWalker::new(site, weakenings.clone())?),
            WalkerKind::OwnReference => Self::Reference(ReferenceWalker::new(site)?.weakened(weakenings.clone())),
            WalkerKind::CpythonUncached | WalkerKind::CpythonCached => return Ok(None),
        }))
    }

    /// Attaches again while the target stands still.
    pub(super) fn open(&mut self, conductor: &Conductor<'_>) -> Result<(), RigError> {
        let Site { layout, runtime } = conductor.target.site();
        let caching: &mut dyn CachingWalker = match self {
            Self::Uncached(_) => return Ok(clear_anchors(&mut conductor.target.memory(), &layout, runtime)?),
            Self::Cached(walker) => walker,
            Self::Reference(walker) => walker,
        };
        caching.set_cache(FrameCache::default());
        Ok(caching.attach(&mut conductor.target.memory())?)
    }

    /// Takes one sample while the target moves.
    pub(super) fn sample(&mut self, conductor: &mut Conductor<'_>) -> Result<ThreadSample, RigError> {
        let thread = conductor.target.thread();
        let id = u64::from(conductor.target.native_thread_id());
        let mut memory = SteppedMemory::new(conductor);
        let mut sample = match self {
            Self::Uncached(walker) => walker.sample_thread(&mut memory, thread),
            Self::Cached(walker) => walker.sample_thread(&mut memory, thread),
            Self::Reference(walker) => walker.sample_thread(&mut memory, thread),
        };
        memory.into_result()?;
        sample.native_thread_id = id;
        Ok(sample)
    }
}
