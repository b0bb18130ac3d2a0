//! One walk with its provenance: what a walker returns and the oracles judge.

use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::miss::MissReason;
use crate::rejection::Rejection;
use crate::stack::Stack;

/// The walkers that can be put side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// Every walker, in the order in which plans are made.
    pub const ALL: [Self; 5] =
        [Self::OwnUncached, Self::OwnCached, Self::OwnReference, Self::CpythonUncached, Self::CpythonCached];

    /// The name used in tables, fingerprints and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnUncached => "own-uncached",
            Self::OwnCached => "own-cached",
            Self::OwnReference => "own-reference",
            Self::CpythonUncached => "cpython-uncached",
            Self::CpythonCached => "cpython-cached",
        }
    }

    /// The place in tables and lists for people: CPython's walkers first, since they are what is tested. The order of the
    /// variants is another thing: plans are made in it, and seeds drawn.
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

    /// Whether it is CPython's own, and not this project's.
    #[must_use]
    pub fn is_cpythons(self) -> bool {
        match self {
            Self::CpythonCached | Self::CpythonUncached => true,
            Self::OwnUncached | Self::OwnCached | Self::OwnReference => false,
        }
    }

    /// Whether the walker keeps a cache, and hence owns the target's anchor.
    #[must_use]
    pub fn is_cached(self) -> bool {
        matches!(self, Self::OwnCached | Self::OwnReference | Self::CpythonCached)
    }
}

impl fmt::Display for WalkerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the cache answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lookup {
    /// The walker has no cache.
    Uncached,
    /// The whole chain of callers came from the cache.
    FullHit,
    /// The callers above the anchor's frame came from the cache.
    PartialHit,
    /// Nothing came from the cache.
    Miss(MissReason),
    /// The walker does not say (several threads share CPython's counters).
    Unknown,
}

/// Where the frames of a stack came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// What the cache answered.
    pub lookup: Lookup,
    /// How many frames, counted from the root end, came from the cache.
    pub from_cache: usize,
}

/// One thread's part of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadSample {
    /// The kernel's thread id.
    pub native_thread_id: u64,
    /// The frames, or why there are none.
    pub outcome: Result<Stack, Rejection>,
    /// Where the frames came from.
    pub provenance: Provenance,
}

/// One walk over all threads of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Who walked.
    pub walker: WalkerKind,
    /// One entry per thread, in the order the walker met them.
    pub threads: SmallVec<[ThreadSample; 1]>,
}

/// What an unwinder counts of its cache during one sample, over all threads: in `RemoteUnwinder.get_stats()`,
/// `frame_cache_hits`, `frame_cache_partial_hits`, `frame_cache_misses`, `frames_read_from_cache`, `frames_read_from_memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Full hits.
    pub full_hits: u64,
    /// Partial hits.
    pub partial_hits: u64,
    /// Misses.
    pub misses: u64,
    /// Frames taken from the cache.
    pub frames_from_cache: u64,
    /// Frames read from the target.
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
