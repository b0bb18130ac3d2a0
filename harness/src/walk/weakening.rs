//! Named faults that can be put into the walker of CPython's protocol, one per historical fault.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A check that [`super::cached::CachedWalker`] leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weakening {
    /// A full hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnFullHit,
    /// A partial hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnPartialHit,
    /// A full hit returns the stored leaf instead of decoding it afresh (gh-142137).
    LeafReusedOnFullHit,
    /// A chain that does not end at the base frame is returned and stored (gh-142852).
    ChainStoredWithoutBase,
    /// A miss walks live memory, frame by frame, instead of chunk copies (gh-151424).
    ChunksNotCopied,
    /// An entry is used whatever thread state it was stored for.
    ThreadStateNotCompared,
    /// Anchor and sequence are not read again before cached frames are used.
    NotReadAgainBeforeUse,
    /// Shim frames count as returns of the anchor's frame (the marker frames of 3.15.2).
    ShimFramesCounted,
}

impl Weakening {
    /// Every weakening.
    pub const ALL: [Self; 8] = [
        Self::NoSequenceCheckOnFullHit,
        Self::NoSequenceCheckOnPartialHit,
        Self::LeafReusedOnFullHit,
        Self::ChainStoredWithoutBase,
        Self::ChunksNotCopied,
        Self::ThreadStateNotCompared,
        Self::NotReadAgainBeforeUse,
        Self::ShimFramesCounted,
    ];

    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSequenceCheckOnFullHit => "no-sequence-check-on-full-hit",
            Self::NoSequenceCheckOnPartialHit => "no-sequence-check-on-partial-hit",
            Self::LeafReusedOnFullHit => "leaf-reused-on-full-hit",
            Self::ChainStoredWithoutBase => "chain-stored-without-base",
            Self::ChunksNotCopied => "chunks-not-copied",
            Self::ThreadStateNotCompared => "thread-state-not-compared",
            Self::NotReadAgainBeforeUse => "not-read-again-before-use",
            Self::ShimFramesCounted => "shim-frames-counted",
        }
    }
}

impl fmt::Display for Weakening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Weakening {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|weakening| weakening.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|weakening| weakening.name()).collect();
            format!("no weakening is called `{name}`; there are: {}", names.join(", "))
        })
    }
}
