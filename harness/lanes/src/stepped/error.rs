//! Why a rig could not be set up, or could not finish a schedule.

use framewalk::memory::MemoryError;
use framewalk::rejection::Rejection;
use framewalk::walker::Unsupported;
use model::invariants::Violation;
use model::schedule::cast::ProfilerId;
use model::workload::Family;
use nix::errno::Errno;
use process::build::LocateError;
use process::gate::GateError;
use process::target::{Ended, LaunchError};
use process::trace::TraceError;
use process::unwinder::UnwinderError;
use thiserror::Error;

/// Why there is no result. This proves nothing, for or against, unless CPython's unwinder is to blame: see
/// [`RigError::unwinder_violation`].
#[derive(Debug, Error)]
pub enum RigError {
    /// Workloads of this family cannot be driven store by store.
    #[error("workloads of the family {0} are not stepped: their threads run by the kernel's schedule, not by ours")]
    Threads(Family),
    /// The program cannot be brought back to its start.
    #[error("the workload has no gate at the start of its rounds: generate it with one of the modes that have")]
    NoRounds,
    /// The program's stores differ from round to round.
    #[error("the workload stores differently in each of {rounds} rounds: a schedule cannot be repeated on it")]
    NotRepeatable {
        /// How many rounds were compared.
        rounds: usize,
    },
    /// The target could not be launched.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its `_PyRuntime` was not found, or its layout is unknown.
    #[error(transparent)]
    Site(#[from] LocateError),
    /// The walker does not work on the build.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The thread at the gate has no thread state.
    #[error("no thread state has the native thread id {0}")]
    NoThread(u32),
    /// The target or CPython's unwinder can no longer be traced.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The target ended during the run.
    #[error("the target ended: {0}")]
    Ended(Ended),
    /// The target could not be brought to its gate, or past it.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The stopped target's own chain makes no sense.
    #[error("the chain of the stopped target cannot be read: {0}")]
    Truth(#[from] Rejection),
    /// The target's memory could not be accessed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// It is the turn of an actor that does not exist. The check of a cast rules this out.
    #[error("it is the turn of {0}, who is not there")]
    NoActor(ProfilerId),
    /// CPython's unwinder returned no samples.
    #[error(transparent)]
    Unwinder(#[from] UnwinderError),
    /// CPython's unwinder made an access that the rig does not understand.
    #[error("the access of CPython's unwinder is not understood: {0}")]
    Access(String),
    /// A thread of the harness could not be started or placed.
    #[error("cannot {action}: {errno}")]
    System {
        /// What the harness tried to do.
        action: &'static str,
        /// The error of the system call.
        errno: Errno,
    },
}

impl RigError {
    /// The clause that CPython's unwinder broke by ending its process or by not answering, if that is why there is no
    /// result. The wait for the driver's thread detects the end of the driver and reports it as [`RigError::Unwinder`].
    #[must_use]
    pub fn unwinder_violation(&self) -> Option<Violation> {
        match self {
            Self::Unwinder(error) => error.violation(),
            _ => None,
        }
    }
}
