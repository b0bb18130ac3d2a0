//! The points at which the target can move.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A point at which the target can move: just before an access of the walker, or inside a torn read.
///
/// Points are ordered as they occur in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// The sample, counted from 0.
    pub sample: u32,
    /// The number of the access within its sample, counted from 0. Reads of code objects, names and location tables
    /// have no number and are not points, because how many there are depends on the heap's layout and on what the
    /// walker remembers.
    pub access: u32,
    /// 0 is the point before the access. `n` > 0 is the point before word `n` of a torn read; words have 8 bytes and
    /// are counted from 0. Such points exist only if reads are torn.
    pub word: u32,
}

impl Point {
    /// Whether the point is before the first access of its sample. A move there counts as between samples.
    #[must_use]
    pub fn is_between_samples(self) -> bool {
        self.access == 0 && self.word == 0
    }
}

/// `SAMPLE.ACCESS`, or `SAMPLE.ACCESS/WORD`.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.sample, self.access)?;
        if self.word > 0 {
            write!(f, "/{}", self.word)?;
        }
        Ok(())
    }
}

/// The purpose of an access of the walker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessKind {
    /// A read of the thread state that includes `current_frame`.
    ReadThreadState,
    /// A read of one frame, outside chunk copies.
    ReadFrame,
    /// A copy of a data-stack chunk.
    ReadChunk,
    /// A read of the anchor, possibly with the sequence, but without `current_frame`.
    ReadAnchor,
    /// A write of the anchor.
    WriteAnchor,
    /// A read of anything else that is numbered: the list of threads, chunk headers.
    ReadOther,
}

impl AccessKind {
    /// All kinds, in the order of declaration.
    pub const ALL: [Self; 6] =
        [Self::ReadThreadState, Self::ReadFrame, Self::ReadChunk, Self::ReadAnchor, Self::WriteAnchor, Self::ReadOther];

    /// The name in fingerprints and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadThreadState => "read-thread-state",
            Self::ReadFrame => "read-frame",
            Self::ReadChunk => "read-chunk",
            Self::ReadAnchor => "read-anchor",
            Self::WriteAnchor => "write-anchor",
            Self::ReadOther => "read-other",
        }
    }
}

impl fmt::Display for AccessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AccessKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("there is no kind of access `{name}`"))
    }
}
