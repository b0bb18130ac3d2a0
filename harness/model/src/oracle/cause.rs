//! The causes of impossible stacks.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The cause of an impossible stack, from provenance or from the unwinder's own counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The target moved during a walk that used no cache.
    TornRead,
    /// A torn walk was stored, and its frames were served again.
    StoredTornWalkServedAgain,
    /// A full hit appended callers that are not the leaf's.
    StaleFullHit,
    /// A partial hit appended callers that are not those of the walked frames.
    StalePartialHit,
    /// The evidence fits none of the other causes.
    Unattributed,
}

impl Cause {
    /// Every cause, in display order.
    pub const ALL: [Self; 5] = [
        Self::TornRead,
        Self::StoredTornWalkServedAgain,
        Self::StaleFullHit,
        Self::StalePartialHit,
        Self::Unattributed,
    ];

    /// The name used in tables, fingerprints and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TornRead => "torn-read",
            Self::StoredTornWalkServedAgain => "stored-torn-walk-served-again",
            Self::StaleFullHit => "stale-full-hit",
            Self::StalePartialHit => "stale-partial-hit",
            Self::Unattributed => "unattributed",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
