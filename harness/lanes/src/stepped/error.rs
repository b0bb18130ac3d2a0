//! Why a rig could not be set up, or could not finish a schedule.

use framewalk::layout::LayoutError;
use framewalk::memory::MemoryError;
use framewalk::rejection::Rejection;
use framewalk::walker::Unsupported;
use model::invariants::Violation;
use model::schedule::cast::Actor;
use model::workload::Family;
use nix::errno::Errno;
use process::gate::GateError;
use process::target::{Ended, LaunchError, RuntimeError};
use process::trace::TraceError;
use process::unwinder::UnwinderError;
use thiserror::Error;

/// Why there is no result. Nothing is proved by it, for or against, unless it is the doing of CPython's unwinder: see
/// [`RigError::unwinder_violation`].
#[derive(Debug, Error)]
pub enum RigError {
    /// Workloads of this family are not driven store by store.
    #[error("workloads of the family {0} are not stepped: their threads run by the kernel's schedule, not by ours")]
    Threads(Family),
    /// The program cannot be brought back to where it started.
    #[error("the workload has no gate at the start of its rounds: generate it with one of the modes that have")]
    NoRounds,
    /// The rounds of the program store differently.
    #[error("the workload stores differently in each of {rounds} rounds: a schedule cannot be repeated on it")]
    NotRepeatable {
        /// How many were compared.
        rounds: usize,
    },
    /// The target could not be launched.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its `_PyRuntime` was not found.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its layout is not known.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The walker does not work on the build.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The thread at the gate is none of the interpreter's.
    #[error("no thread state has the native thread id {0}")]
    NoThread(u32),
    /// The target, or CPython's unwinder, could not be traced any further.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The target ended.
    #[error("the target ended: {0}")]
    Ended(Ended),
    /// The target could not be brought to its gate, or away from it.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The stopped target's own stack made no sense.
    #[error("the chain of the stopped target cannot be read: {0}")]
    Truth(#[from] Rejection),
    /// The target's memory could not be accessed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// It is the turn of somebody who is not there; the check of a cast lets no such turn pass.
    #[error("it is the turn of {0}, who is not there")]
    NoActor(Actor),
    /// CPython's unwinder gave no samples.
    #[error(transparent)]
    Unwinder(#[from] UnwinderError),
    /// CPython's unwinder did something that the rig does not know.
    #[error("the access of CPython's unwinder is not understood: {0}")]
    Access(String),
    /// A thread of the harness could not be started or placed.
    #[error("cannot {action}: {errno}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        errno: Errno,
    },
}

impl RigError {
    /// The clause that CPython's unwinder broke by ending its process or by not answering, if that is why there is no result.
    /// The driver's end is found out by whoever waits for its thread, and told as [`RigError::Unwinder`].
    #[must_use]
    pub fn unwinder_violation(&self) -> Option<Violation> {
        match self {
            Self::Unwinder(error) => error.violation(),
            _ => None,
        }
    }
}
