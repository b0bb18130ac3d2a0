//! What happened in a run, event by event: enough to explain it, with addresses instead of names.
//!
//! Names come from the [`Event::Truth`] that holds at the time, so that whoever records need not know them.

use framewalk::frame::Frame;
use framewalk::sample::ThreadSample;
use serde::{Deserialize, Serialize};

use super::cast::{Actor, Happening};
use super::{AccessKind, Point};

/// The words of the thread state whose stores are steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreadWord {
    /// `current_frame`, an address.
    CurrentFrame,
    /// `last_profiled_frame`, an address.
    Anchor,
    /// `last_profiled_frame_seq`, a number.
    Sequence,
}

impl ThreadWord {
    /// The name in histories.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CurrentFrame => "current_frame",
            Self::Anchor => "anchor",
            Self::Sequence => "sequence",
        }
    }
}

/// A part of what an access read or wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// A word of the thread state, with its value.
    Thread(ThreadWord, u64),
    /// A whole frame, at this address.
    Frame(u64),
    /// The `previous` of the frame at the first address is the second one.
    Previous(u64, u64),
    /// A copy of a data-stack chunk: the addresses from the first up to the second one.
    Chunk(u64, u64),
    /// Anything else, in words.
    Other(String),
}

/// An access of the walker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// The point before it; none for one that has no number.
    pub at: Option<Point>,
    /// What it is for.
    pub kind: AccessKind,
    /// What it read or wrote, in this order. Of a torn read, each piece is an access of its own.
    pub shown: Vec<Shown>,
}

/// One frame of the target's chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// Where it stands.
    pub address: u64,
    /// What it is; none for the base frame and shim frames.
    pub frame: Option<Frame>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The walker begins the sample of that number. Moves of the target from here to its first access are still between
    /// samples.
    Sample(u32),
    /// The walker does an access.
    Access(Access),
    /// The target does a step: a store of this value.
    Step(ThreadWord, u64),
    /// The target does a step: it loads the anchor, which has this value, to compare it with a frame that leaves.
    AnchorLoaded(u64),
    /// The target's chain from here on, leaf first. It holds at the start and wherever it changed.
    Truth(Vec<Standing>),
    /// This happened between two samples, and left the anchor at this value.
    Happened(Happening, u64),
    /// Who takes the sample that begins next; told only where there are several, or where something happens to the one.
    NextIs(Actor),
    /// The sample of that number gave this.
    Result(u32, ThreadSample),
}
