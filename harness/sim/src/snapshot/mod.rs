//! Snapshots: what walkers read of a real target at several stops, and what is true of it.
//!
//! A [`Snapshot`] holds successive stops of one process. At each, every walker was sent over the frozen target and what it
//! read was kept as an [`Image`], with the anchors as they stood before anybody looked. Then one cached walker of CPython's
//! protocol, the *profiler*, wrote the process's anchors and the target ran on. So a walker that is given the images in
//! their order meets the very anchors and sequences that the interpreter left, and its cache answers as it did on the
//! process: as long as it leaves the anchors that the profiler left, which [`replay`] watches.
//!
//! [`mod@file`] is the file of a snapshot. Nothing in one is altered but the name of the folder that the workload ran in,
//! which would tell of the machine: it is replaced by another text of the same length.

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

/// A recorded target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What was recorded.
    pub meta: Meta,
    /// The stops, in the order in which the target came to them.
    pub stops: Vec<Stop>,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// CPython's version.
    pub version: VersionHex,
    /// Whether it is a debug build.
    pub debug: bool,
    /// Its run mode.
    pub jit: JitMode,
    /// The workload's family.
    pub family: Family,
    /// The workload's seed.
    pub seed: u64,
    /// What the workload was made with.
    pub parameters: Parameters,
    /// Address of `_PyRuntime`.
    pub runtime: Address,
}

/// The target at one gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What can be read of it. The anchors are those that the interpreter left since the stop before.
    pub image: Image,
    /// What the target itself says.
    pub gate: GateTruth,
    /// Every thread state in the order of the interpreter's list.
    pub threads: Vec<ThreadTruth>,
}

/// A target's own account at a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateTruth {
    /// The thread that waits at the gate.
    pub native_thread_id: u64,
    /// The context of the workload's grammar that it announced.
    pub context: ContextId,
    /// Its stack as it tells it, leaf first.
    pub account: Vec<AccountFrame>,
}

/// One thread at a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadTruth {
    /// Where its thread state stands.
    pub state: Address,
    /// The kernel's thread id.
    pub native_thread_id: u64,
    /// What the own uncached walker saw on the process, or the [name](framewalk::rejection::Rejection::name) of its
    /// rejection.
    pub stack: Result<Stack, String>,
    /// What the profiler got here; absent before 3.15.
    pub profiler: Option<Profiled>,
}

/// What the profiler did with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profiled {
    /// What its cache answered.
    pub answer: Answer,
    /// How many frames came from its cache.
    pub from_cache: usize,
    /// The anchor that it left.
    pub anchor: Address,
}

/// What a cache answered, without the reasons, which may get other names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A full hit.
    FullHit,
    /// A partial hit.
    PartialHit,
    /// A miss.
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
    /// The build and its run mode, as tables name it: "3.15.2 release JIT".
    #[must_use]
    pub fn row(&self) -> String {
        let kind = if self.debug { "debug" } else { "release" };
        let jit = if self.jit == JitMode::On { " JIT" } else { "" };
        format!("{} {kind}{jit}", self.version)
    }
}
