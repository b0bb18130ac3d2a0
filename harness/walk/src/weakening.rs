//! Named faults for the cached walkers: one per historical fault, and one per hole in the naive anchor-first protocol.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr, VariantArray};

use crate::sample::WalkerKind;

/// A check that [`super::cached::CachedWalker`] or [`super::reference::ReferenceWalker`] skips.
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
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Weakening {
    /// A full hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnFullHit,
    /// A partial hit does not compare the sequence (gh-151613).
    NoSequenceCheckOnPartialHit,
    /// A full hit returns the stored leaf instead of decoding it again (gh-142137).
    LeafReusedOnFullHit,
    /// A chain that does not end at the base frame is returned and stored (gh-142852).
    ChainStoredWithoutBase,
    /// A miss walks live memory, frame by frame, instead of chunk copies (gh-151424).
    ChunksNotCopied,
    /// An entry is used although it was stored for another thread state.
    ThreadStateNotCompared,
    /// Anchor and sequence are not re-read before cached frames are used.
    NotReadAgainBeforeUse,
    /// Shim frames are counted as returns of the anchor's frame (the marker frames of 3.15.2).
    ShimFramesCounted,
    /// A walk is returned and stored without the final check, even if it is torn (gh-151424).
    TornWalkStored,
    /// An entry outlives its anchor: it stays in the cache although an attempt overwrote the anchor and then failed.
    EntryKeptAfterFailedAttempt,
    /// After the anchor write, only current frame and anchor are compared. Whatever sequence is read then is accepted.
    SequenceNotComparedAfterAnchoring,
    /// A partial hit is taken although the anchor must be moved up to the current frame. If that frame has just left
    /// the stack, the callers that the entry vouches for can leave uncounted until another frame occupies its address.
    PartialHitOnGrownStack,
    /// A generator's frame is anchored, although a yield checks the anchor before it moves the current frame.
    GeneratorLeafAnchored,
    /// The frame of a generator function that is about to create its generator is anchored, although RETURN_GENERATOR
    /// checks the anchor before it moves the current frame.
    GeneratorBeingMadeAnchored,
    /// A shim frame is anchored, although it leaves the stack without moving the anchor.
    ShimLeafAnchored,
    /// Decoded code objects are kept although code objects were freed since.
    CodeKeptAfterFree,
    /// All interpreters share one table of decoded code objects, with the generation of the interpreter walked last.
    GenerationOfAnotherInterpreter,
}

impl Weakening {
    /// Every weakening, in the order of declaration.
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().unwrap();

    /// The checks missing from the naive anchor-first protocol: anchor the current frame, re-read current frame and
    /// anchor, walk, compare anchor and sequence.
    pub const ANCHOR_FIRST: [Self; 6] = [
        Self::EntryKeptAfterFailedAttempt,
        Self::SequenceNotComparedAfterAnchoring,
        Self::PartialHitOnGrownStack,
        Self::GeneratorLeafAnchored,
        Self::GeneratorBeingMadeAnchored,
        Self::ShimLeafAnchored,
    ];

    /// Whether this walker has the check that this weakening skips.
    #[must_use]
    pub fn applies_to(self, walker: WalkerKind) -> bool {
        match walker {
            WalkerKind::OwnCached => !matches!(
                self,
                Self::TornWalkStored
                    | Self::EntryKeptAfterFailedAttempt
                    | Self::SequenceNotComparedAfterAnchoring
                    | Self::PartialHitOnGrownStack
                    | Self::GeneratorLeafAnchored
                    | Self::GeneratorBeingMadeAnchored
                    | Self::ShimLeafAnchored
            ),
            // The reference walker may walk live memory, because it verifies everything it read as a whole. It looks up
            // its entry before it meets a shim frame.
            WalkerKind::OwnReference => !matches!(self, Self::ChunksNotCopied | Self::ShimFramesCounted),
            WalkerKind::OwnUncached | WalkerKind::CpythonUncached | WalkerKind::CpythonCached => false,
        }
    }

    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
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
            format!("there is no weakening `{name}`; known are: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weakening_has_one_name_everywhere() {
        for weakening in Weakening::ALL {
            assert_eq!(serde_json::to_string(&weakening).unwrap(), format!("\"{weakening}\""));
            assert_eq!(weakening.name().parse(), Ok(weakening));
        }
        let unknown = "no-such-check".parse::<Weakening>().unwrap_err();
        assert!(
            unknown.contains("`no-such-check`") && unknown.ends_with("generation-of-another-interpreter"),
            "{unknown}"
        );
    }

    #[test]
    fn a_weakening_applies_only_to_walkers_with_that_check() {
        let applied = |walker| Weakening::ALL.into_iter().filter(move |weakening| weakening.applies_to(walker));
        assert_eq!((applied(WalkerKind::OwnCached).count(), applied(WalkerKind::OwnReference).count()), (10, 15));
        assert!(Weakening::ANCHOR_FIRST.iter().all(|weakening| weakening.applies_to(WalkerKind::OwnReference)));
        assert!(applied(WalkerKind::OwnCached).all(|weakening| !Weakening::ANCHOR_FIRST.contains(&weakening)));
        for other in [WalkerKind::OwnUncached, WalkerKind::CpythonUncached, WalkerKind::CpythonCached] {
            assert_eq!(applied(other).count(), 0);
        }
    }
}
