//! Why a cached walker took nothing from its cache.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason for a miss; each is counted on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissReason {
    /// The anchor is NULL: first sample, or another profiler cleared it.
    AnchorNull,
    /// No entry for this native thread id.
    NoEntry,
    /// The entry belongs to another thread state.
    OtherThreadState,
    /// The current frame is the anchor, but the entry starts with another frame.
    EntryStartsElsewhere,
    /// The sequence is not the one the entry promises.
    SequenceMismatch,
    /// The anchor's frame is on the chain but not in the entry.
    AnchorNotInEntry,
    /// The walk reached the base frame without meeting the anchor.
    AnchorNotOnChain,
    /// Frames stand above the anchor, and the walker does not trust a partial hit then.
    StackGrew,
    /// Anchor or sequence changed while the hit was being used.
    ChangedDuringUse,
    /// CPython's unwinder reports a miss without its reason.
    Unspecified,
}

impl MissReason {
    /// Every reason, in display order.
    pub const ALL: [Self; 10] = [
        Self::AnchorNull,
        Self::NoEntry,
        Self::OtherThreadState,
        Self::EntryStartsElsewhere,
        Self::SequenceMismatch,
        Self::AnchorNotInEntry,
        Self::AnchorNotOnChain,
        Self::StackGrew,
        Self::ChangedDuringUse,
        Self::Unspecified,
    ];

    /// The name used in tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AnchorNull => "anchor-null",
            Self::NoEntry => "no-entry",
            Self::OtherThreadState => "other-thread-state",
            Self::EntryStartsElsewhere => "entry-starts-elsewhere",
            Self::SequenceMismatch => "sequence-mismatch",
            Self::AnchorNotInEntry => "anchor-not-in-entry",
            Self::AnchorNotOnChain => "anchor-not-on-chain",
            Self::StackGrew => "stack-grew",
            Self::ChangedDuringUse => "changed-during-use",
            Self::Unspecified => "unspecified",
        }
    }
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_one_name_everywhere() {
        for reason in MissReason::ALL {
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
            assert_eq!(reason.to_string(), reason.name());
        }
    }
}
