//! Snapshots: what walkers read of a real target at several stops, and the true stacks at each.
//!
//! A [`Snapshot`] holds successive stops of one process. At each stop, every walker walked the frozen target. The
//! ranges that they read were saved as an [`Image`], with the anchors from before any of them started. Then one cached
//! walker with CPython's protocol, the *profiler*, wrote the process's anchors, and the target ran on. So a walker that
//! gets the images in order meets the anchors and sequences that the interpreter left. Its cache returns the same
//! results as on the process, as long as the walker leaves the same anchors as the profiler. [`replay`] checks this.
//!
//! [`mod@file`] defines the file format. A snapshot is unaltered except for the name of the folder in which the
//! workload ran, which would identify the machine. It is replaced by another text of the same length.

pub mod error;
pub mod file;
mod pieces;
pub mod replay;
#[cfg(test)]
mod tests;
mod v1;

use framewalk::layout::VersionHex;
use framewalk::memory::Address;
use framewalk::memory::image::Image;
use framewalk::stack::Stack;
use model::account::AccountFrame;
use model::jit_mode::JitMode;
use model::workload::grammar::ContextId;
use model::workload::{Family, Parameters};

/// The format version that is written.
pub const VERSION: u64 = 1;
/// Files above this size, in bytes, are rejected.
const SIZE_LIMIT: u64 = 64 << 20;

/// A target whose memory was recorded at several stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The build, the workload and the runtime address.
    pub meta: Meta,
    /// The stops, in the order in which the target reached them.
    pub stops: Vec<RecordedStop>,
}

/// The build, the workload and the runtime address of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The exact version of the recorded CPython.
    pub version: VersionHex,
    /// Whether it is a debug build.
    pub debug: bool,
    /// Whether the JIT was on during the recording.
    pub jit: JitMode,
    /// Family of the workload.
    pub family: Family,
    /// Seed of the workload.
    pub seed: u64,
    /// Parameters of the workload.
    pub parameters: Parameters,
    /// Address of `_PyRuntime` in the recorded process.
    pub runtime: Address,
}

/// The target at one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedStop {
    /// The memory that walkers read. The anchors are those that the interpreter left since the previous stop.
    pub image: Image,
    /// The target's own account.
    pub gate: GateTruth,
    /// All thread states, in the order of the interpreter's list.
    pub threads: Vec<ThreadTruth>,
}

/// A target's own account at a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateTruth {
    /// Thread id of the thread that waits at the gate.
    pub native_thread_id: u64,
    /// The context in the workload's grammar that the thread announced.
    pub context: ContextId,
    /// Its stack by its own account, leaf first.
    pub account: Vec<AccountFrame>,
}

/// One thread at a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadTruth {
    /// Address of its thread state.
    pub state: Address,
    /// Thread id of the kernel.
    pub native_thread_id: u64,
    /// The stack that this project's uncached walker returned on the process, or the
    /// [name](framewalk::rejection::Rejection::name) of its rejection.
    pub stack: Result<Stack, String>,
    /// The profiler's result; `None` before 3.15.
    pub profiler: Option<Profiled>,
}

/// The profiler's result for one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profiled {
    /// The result of the cache lookup.
    pub answer: Answer,
    /// Number of frames that came from its cache.
    pub from_cache: usize,
    /// The anchor that it wrote or left.
    pub anchor: Address,
}

/// The result of a cache lookup without the reason, whose name may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A full hit: all callers came from the cache.
    FullHit,
    /// A partial hit: some callers came from the cache.
    PartialHit,
    /// A miss: nothing came from the cache.
    Miss,
    /// The walk was rejected.
    Rejected,
}

impl Answer {
    /// The name used in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FullHit => "full",
            Self::PartialHit => "partial",
            Self::Miss => "miss",
            Self::Rejected => "rejected",
        }
    }
}

impl Meta {
    /// The build and its run mode as in tables, for example "3.15.2 release JIT".
    #[must_use]
    pub fn row(&self) -> String {
        let kind = if self.debug { "debug" } else { "release" };
        let jit = if self.jit == JitMode::On { " JIT" } else { "" };
        format!("{} {kind}{jit}", self.version)
    }
}
