//! What a search looks for, and its limits.

use framewalk::spec::WalkerSpec;
use strum::{EnumMessage, IntoStaticStr, VariantArray};

/// The wrong stacks that end the search. It passes over all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub enum SoughtStack {
    /// A stack that the thread did not have during the sample.
    #[default]
    NotThere,
    /// A stack that the thread never has: frames of several moments.
    Mixed,
    /// The same with callers from the cache: branches spliced together.
    Spliced,
    /// The same without callers from the cache: frames of several moments in one walk.
    Torn,
    /// A stack that does not end at the first frame of its thread.
    CutShort,
}

/// How reads are torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub enum Reads {
    /// The interpreter may move between any two words.
    #[default]
    Words,
    /// It moves between calls only: each segment of a read is one moment.
    Segments,
    /// It moves between samples only, and stands between two operations then, on no shim frame. A sample must be a hit,
    /// too, where the anchor's frame is on the stack and in the entry, unless another profiler moves the anchor.
    Samples,
}

/// When a store of the interpreter is visible to the walker, and when the interpreter sees what the walker wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, VariantArray, IntoStaticStr, EnumMessage)]
#[strum(serialize_all = "kebab-case")]
pub enum MemoryOrder {
    /// At once: sequential consistency.
    #[default]
    Sc,
    /// As on x86-64: stores become visible in order but late, so a comparison can load the anchor before earlier
    /// stores are visible. At most two comparisons of a thread are ahead of its stores.
    Tso,
}

/// The subject and the limits of a search.
pub struct ProofOptions<'a> {
    /// The walker to be searched. It must have a cache.
    pub walker: &'a WalkerSpec,
    /// How many samples a course has at most.
    pub samples: u32,
    /// The wrong stacks that end it.
    pub sought: SoughtStack,
    /// When the interpreter may move.
    pub reads: Reads,
    /// When accesses are visible to the other side. An interpreter at rest has no store that is not visible yet, so this
    /// makes no difference with [`Reads::Samples`]. The write of another profiler is always visible at once.
    pub memory: MemoryOrder,
    /// How many times another profiler may anchor a thread's current frame, at any moment and atomically.
    /// [`ANY_NUMBER`](crate::prove::graph::ANY_NUMBER) means no limit.
    pub anchorings: u8,
    /// Number of states after which the search ends without a result.
    pub states: u64,
    /// Polled during the search. Returns whether to stop.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}
