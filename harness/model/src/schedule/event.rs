//! The history of a run, event by event, with addresses instead of names. It contains enough to explain the run.
//!
//! The names come from the latest [`StepEvent::Truth`], so the recorder need not know them.

use framewalk::frame::Frame;
use framewalk::sample::ThreadSample;
use serde::{Deserialize, Serialize};

use super::cast::{Lifecycle, ProfilerId};
use super::{AccessKind, Point};

/// The fields of the thread state whose stores are steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreadWord {
    /// `current_frame`, the address of a frame.
    CurrentFrame,
    /// `last_profiled_frame`, the address of a frame or NULL.
    Anchor,
    /// `last_profiled_frame_seq`, which counts frames that left.
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
pub enum AccessedValue {
    /// A field of the thread state and its value.
    Thread(ThreadWord, u64),
    /// A whole frame at this address.
    Frame(u64),
    /// The `previous` field of the frame at the first address. Its value is the second address.
    Previous(u64, u64),
    /// A copy of a data-stack chunk, from the first address up to the second one.
    Chunk(u64, u64),
    /// Anything else, described in words.
    Other(String),
}

/// An access of the walker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// The point before it; `None` if the access has no number.
    pub at: Option<Point>,
    /// What the access is for.
    pub kind: AccessKind,
    /// What it read or wrote, in this order. Each piece of a torn read is a separate access.
    pub shown: Vec<AccessedValue>,
}

/// One frame of the target's chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChainFrame {
    /// The frame's address in the target.
    pub address: u64,
    /// Its decoded frame; `None` for the base frame and shim frames.
    pub frame: Option<Frame>,
}

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepEvent {
    /// The walker begins the sample with this number. Moves of the target before its first access still count as
    /// between samples.
    Sample(u32),
    /// The walker makes an access.
    Access(Access),
    /// The target does a step: it stores this value.
    Step(ThreadWord, u64),
    /// The target does a step: it loads the anchor to compare it with a frame that leaves the stack. The value is the
    /// anchor.
    AnchorLoaded(u64),
    /// The target's chain from here on, leaf first. Recorded at the start and after each change.
    Truth(Vec<ChainFrame>),
    /// A happening between two samples, and the anchor after it.
    Happened(Lifecycle, u64),
    /// The actor that takes the next sample. Recorded only if there are several actors, or if something happens to the
    /// only one.
    NextIs(ProfilerId),
    /// The result of the sample with this number.
    Result(u32, ThreadSample),
}
