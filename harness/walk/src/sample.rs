//! One walk with its provenance: walkers return it, oracles judge it.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::miss::MissReason;
use crate::rejection::Rejection;
use crate::stack::Stack;

/// The walkers that can be compared. The order is that of planning, and seeds are drawn in it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    EnumCount,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum WalkerKind {
    /// This project's walker without a cache.
    OwnUncached,
    /// This project's implementation of CPython 3.15's cached protocol.
    OwnCached,
    /// This project's reference cached walker.
    OwnReference,
    /// `_remote_debugging.RemoteUnwinder(cache_frames=False)` of the build under test.
    CpythonUncached,
    /// `_remote_debugging.RemoteUnwinder(cache_frames=True)` of the build under test.
    CpythonCached,
}

impl WalkerKind {
    /// Every walker, in the order of planning.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().unwrap();

    /// The name used in tables, fingerprints and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Position in tables and lists for readers. CPython's walkers come first, because they are under test.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::CpythonCached => 0,
            Self::CpythonUncached => 1,
            Self::OwnUncached => 2,
            Self::OwnCached => 3,
            Self::OwnReference => 4,
        }
    }

    /// Whether this is CPython's own unwinder, as opposed to this project's walkers.
    #[must_use]
    pub fn is_cpythons(self) -> bool {
        match self {
            Self::CpythonCached | Self::CpythonUncached => true,
            Self::OwnUncached | Self::OwnCached | Self::OwnReference => false,
        }
    }

    /// The walker that differs from this one only in that it has no cache. `None` if this one has none.
    #[must_use]
    pub fn uncached(self) -> Option<Self> {
        match self {
            Self::OwnCached | Self::OwnReference => Some(Self::OwnUncached),
            Self::CpythonCached => Some(Self::CpythonUncached),
            Self::OwnUncached | Self::CpythonUncached => None,
        }
    }

    /// Whether the walker keeps a cache and therefore owns the target's anchor.
    #[must_use]
    pub fn is_cached(self) -> bool {
        self.uncached().is_some()
    }

    /// Whether the walker caches by CPython's protocol, which promises hits on a target at rest. The reference walker
    /// has a protocol of its own: it drops its entry where it cannot be sure, and reports a reason with each miss.
    #[must_use]
    pub fn has_cpythons_protocol(self) -> bool {
        match self {
            Self::OwnCached | Self::CpythonCached => true,
            Self::OwnUncached | Self::OwnReference | Self::CpythonUncached => false,
        }
    }
}

impl fmt::Display for WalkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Result of the cache lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lookup {
    /// The walker has no cache.
    Uncached,
    /// All callers of the leaf came from the cache.
    FullHit,
    /// The callers of the anchor's frame came from the cache. That frame and the newer ones were read.
    PartialHit,
    /// Nothing came from the cache.
    Miss(MissReason),
    /// Unknown: CPython's counters cover several threads, or the walk was rejected.
    Unknown,
}

/// Where the frames of a stack came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Result of the cache lookup.
    pub lookup: Lookup,
    /// Number of frames that came from the cache: the oldest ones of the stack.
    pub from_cache: usize,
}

/// One thread's part of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadSample {
    /// Thread id of the kernel.
    pub native_thread_id: u64,
    /// The stack, or why there is none.
    pub outcome: Result<Stack, Rejection>,
    /// Where the frames came from.
    pub provenance: Provenance,
}

/// One walk over all threads of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The walker that took the sample.
    pub walker: WalkerKind,
    /// One entry per thread, in the order in which the walker visited them.
    pub threads: SmallVec<[ThreadSample; 1]>,
}

/// What an unwinder counts of its cache during one sample, over all threads. The names in `RemoteUnwinder.get_stats()`
/// are given for each field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Threads with a full hit (`frame_cache_hits`).
    pub full_hits: u64,
    /// Threads with a partial hit (`frame_cache_partial_hits`).
    pub partial_hits: u64,
    /// Threads with a miss (`frame_cache_misses`).
    pub misses: u64,
    /// Frames taken from the cache (`frames_read_from_cache`).
    pub frames_from_cache: u64,
    /// Frames read from the target (`frames_read_from_memory`).
    pub frames_from_memory: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { full_hits, partial_hits, misses, frames_from_cache, frames_from_memory } = self;
        write!(
            f,
            "{full_hits} full hits, {partial_hits} partial hits, {misses} misses, {frames_from_cache} frames from the cache, \
             {frames_from_memory} from memory"
        )
    }
}
