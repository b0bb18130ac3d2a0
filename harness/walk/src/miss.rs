//! Why a cached walker used nothing from its cache.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason for a miss. Each reason is counted separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissReason {
    /// The anchor is NULL: this is the first sample, or another profiler cleared the anchor.
    AnchorNull,
    /// There is no entry for this native thread id.
    NoEntry,
    /// The entry was stored for another thread state.
    OtherThreadState,
    /// The current frame is not the anchor, or the entry starts with another frame.
    EntryStartsElsewhere,
    /// The sequence differs from the one that the entry implies.
    SequenceMismatch,
    /// The anchor's frame is not in the entry.
    AnchorNotInEntry,
    /// The walk reached the base frame without meeting the anchor.
    AnchorNotOnChain,
    /// The current frame is above the anchor, so the anchor must be moved up. The walker does not trust a partial hit
    /// then.
    StackGrew,
    /// Anchor, sequence or code-object generation changed while the hit was being used.
    ChangedDuringUse,
    /// The reason is unknown: CPython's unwinder reports only that there was a miss.
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
