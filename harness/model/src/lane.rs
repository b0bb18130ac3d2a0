//! The lanes: the ways to interleave target and walkers.

use std::fmt;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

/// How target and walkers are interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lane {
    /// The target does not move while it is walked.
    Stopped,
    /// A schedule decides who moves, at every access of the walker to the target's memory.
    Stepped,
    /// Target and walkers run freely.
    Live,
}

impl Lane {
    /// Every lane, in display order.
    pub const ALL: [Self; 3] = [Self::Stopped, Self::Stepped, Self::Live];

    /// The name used in tables, fingerprints, JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Stepped => "stepped",
            Self::Live => "live",
        }
    }

    /// Whether a single impossible stack of `walker` is a violation. Otherwise only rates are compared.
    #[must_use]
    pub fn has_zero_tolerance(self, walker: WalkerKind) -> bool {
        self != Self::Live || walker == WalkerKind::OwnReference
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
