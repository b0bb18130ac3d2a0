//! The lanes: the ways to interleave target and walkers.

use std::fmt;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr, VariantArray};

/// How target and walkers are interleaved.
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
    pub const ALL: [Self; Self::COUNT] = *Self::VARIANTS.first_chunk().unwrap();

    /// The name used in tables, fingerprints, JSON and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether a single impossible stack of `walker` is a violation. Otherwise only rates are compared.
    #[must_use]
    pub fn has_zero_tolerance(self, walker: WalkerKind) -> bool {
        match self {
            Self::Stopped | Self::Stepped => true,
            Self::Live => walker == WalkerKind::OwnReference,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
