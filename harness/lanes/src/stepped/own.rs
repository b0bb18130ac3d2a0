//! Our own walkers as samplers of a stepped target.

use std::collections::BTreeSet;

use framewalk::cache::FrameCache;
use framewalk::sample::{ThreadSample, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::thread_state::clear_anchors;
use framewalk::walker::{CachingWalker, Site, Unsupported, Walker};
use framewalk::weakening::Weakening;

use super::conductor::Conductor;
use super::error::RigError;
use super::memory::SteppedMemory;

/// A walker that is created once. It keeps what it learned about code objects, but starts each schedule with a new
/// cache.
pub(super) enum Own {
    Uncached(Box<dyn Walker>),
    Caching(Box<dyn CachingWalker>),
}

impl Own {
    /// The walker of that kind. `None` for CPython's.
    pub(super) fn new(
        kind: WalkerKind,
        site: Site,
        weakenings: &BTreeSet<Weakening>,
    ) -> Result<Option<Self>, Unsupported> {
        let spec = WalkerSpec { kind, weakenings: weakenings.clone() };
        Ok(match (kind.is_cpythons(), kind.is_cached()) {
            (true, _) => None,
            (false, true) => Some(Self::Caching(spec.build_caching(site)?)),
            (false, false) => Some(Self::Uncached(spec.build(site)?)),
        })
    }

    /// Attaches again while the target stands still.
    pub(super) fn open(&mut self, conductor: &Conductor<'_>) -> Result<(), RigError> {
        let Site { layout, runtime } = conductor.target.site();
        let mut memory = conductor.target.memory();
        match self {
            Self::Uncached(_) => clear_anchors(&mut memory, &layout, runtime)?,
            Self::Caching(walker) => {
                walker.set_cache(FrameCache::default());
                walker.attach(&mut memory)?;
            }
        }
        Ok(())
    }

    /// Takes one sample while the target moves.
    pub(super) fn sample(&mut self, conductor: &mut Conductor<'_>) -> Result<ThreadSample, RigError> {
        let thread = conductor.target.thread();
        let id = u64::from(conductor.target.native_thread_id());
        let mut memory = SteppedMemory::new(conductor);
        let mut sample = match self {
            Self::Uncached(walker) => walker.sample_thread(&mut memory, thread),
            Self::Caching(walker) => walker.sample_thread(&mut memory, thread),
        };
        memory.into_result()?;
        sample.native_thread_id = id;
        Ok(sample)
    }
}
