//! The places where the target can move.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place where the target can move: just before an access of the walker, or inside of a torn read.
///
/// Points are ordered as they come in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// The sample, from 0.
    pub sample: u32,
    /// The number of the access within its sample, from 0. Reads of code objects, names and location tables have none and
    /// are no points: how many there are depends on the heap's layout and on what the walker remembers.
    pub access: u32,
    /// 0 is before the access, n > 0 before the n-th 8-byte word (from 0) of a torn read: there are such points only if
    /// reads are torn.
    pub word: u32,
}

impl Point {
    /// Whether no access of the sample was done: a move here is one between samples.
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

/// What an access of the walker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessKind {
    /// A read that holds the thread state's `current_frame`, alone or with more.
    ReadThreadState,
    /// A read of one frame, outside of chunk copies.
    ReadFrame,
    /// A copy of a data-stack chunk.
    ReadChunk,
    /// A read of the anchor, and maybe of the sequence, without `current_frame`.
    ReadAnchor,
    /// A write of the anchor.
    WriteAnchor,
    /// A read of anything else that is numbered: the list of threads, headers of chunks.
    ReadOther,
}

impl AccessKind {
    /// All of them.
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
            .ok_or_else(|| format!("no kind of access is called `{name}`"))
    }
}
