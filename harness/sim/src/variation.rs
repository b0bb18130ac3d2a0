//! How another interpreter can differ from CPython 3.15.2: historical faults, and changes that would make it easier to
//! walk.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

/// One difference from CPython 3.15.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Arbitrary, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variation {
    /// A return or an unwinding does not move the anchor.
    AnchorKeptOnReturn,
    /// A yield does not move the anchor (gh-151436).
    AnchorKeptOnYield,
    /// RETURN_GENERATOR does not move the anchor (gh-151436).
    AnchorKeptOnReturnGenerator,
    /// A throw into a delegating generator does not move the anchor (gh-151436).
    AnchorKeptOnThrow,
    /// A call whose arguments do not match the signature does not move the anchor (gh-151436).
    AnchorKeptOnFailedBind,
    /// The sequence is never incremented (gh-151613).
    SequenceKept,
    /// The anchor is stored before the sequence, as in debug builds and the JIT's stencils.
    AnchorBeforeSequence,
    /// A yield moves the current frame before it checks the anchor, as a return does.
    CurrentFrameFirstOnYield,
    /// A shim frame that leaves the stack moves the anchor, as every other frame does.
    AnchorMovedByShims,
}

/// The variations in force.
pub type Variations = BTreeSet<Variation>;

impl Variation {
    /// Every variation, in the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::AnchorKeptOnReturn,
        Self::AnchorKeptOnYield,
        Self::AnchorKeptOnReturnGenerator,
        Self::AnchorKeptOnThrow,
        Self::AnchorKeptOnFailedBind,
        Self::SequenceKept,
        Self::AnchorBeforeSequence,
        Self::CurrentFrameFirstOnYield,
        Self::AnchorMovedByShims,
    ];

    /// The name used on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AnchorKeptOnReturn => "anchor-kept-on-return",
            Self::AnchorKeptOnYield => "anchor-kept-on-yield",
            Self::AnchorKeptOnReturnGenerator => "anchor-kept-on-return-generator",
            Self::AnchorKeptOnThrow => "anchor-kept-on-throw",
            Self::AnchorKeptOnFailedBind => "anchor-kept-on-failed-bind",
            Self::SequenceKept => "sequence-kept",
            Self::AnchorBeforeSequence => "anchor-before-sequence",
            Self::CurrentFrameFirstOnYield => "current-frame-first-on-yield",
            Self::AnchorMovedByShims => "anchor-moved-by-shims",
        }
    }

    /// Whether CPython once had this variation as a bug.
    #[must_use]
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::AnchorBeforeSequence | Self::CurrentFrameFirstOnYield | Self::AnchorMovedByShims)
    }
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|variation| variation.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|variation| variation.name()).collect();
            format!("there is no variation `{name}` of the interpreter; known are: {}", names.join(", "))
        })
    }
}
