//! Why a thread cannot be traced any further.

use framewalk::memory::MemoryError;
use nix::errno::Errno;
use nix::sys::wait::WaitStatus;
use thiserror::Error;

/// Why a thread could not be traced, stepped or moved.
#[derive(Debug, Error)]
pub enum TraceError {
    /// Tracing was refused.
    #[error("cannot trace thread {thread} of process {process}: {advice}")]
    Denied {
        /// The process.
        process: i32,
        /// The thread.
        thread: i32,
        /// Which setting refuses, and what to do.
        advice: String,
    },
    /// The thread ended, and perhaps its process.
    #[error("thread {thread} ended while it was traced: {status:?}")]
    Ended {
        /// The thread.
        thread: i32,
        /// What the kernel says of it.
        status: WaitStatus,
    },
    /// A system call of the thread did not return.
    #[error("thread {thread} waits in system call {call}: whatever it waits for has to happen before it is stepped")]
    Blocked {
        /// The thread.
        thread: i32,
        /// The call's number.
        call: u64,
    },
    /// The thread ran on and did nothing that it was waited for.
    #[error("thread {thread} ran for {seconds:.1} s without a stop: it loops, or the machine is overloaded")]
    Loops {
        /// The thread.
        thread: i32,
        /// How long it was waited for.
        seconds: f64,
    },
    /// There are no hardware watchpoints.
    #[error(
        "thread {thread} cannot be given hardware watchpoints ({why}): this machine, or what emulates it, has none to \
         spare; its target can still be moved from gate to gate (explore --step gate)"
    )]
    NoWatchpoints {
        /// The thread.
        thread: i32,
        /// What the kernel says, or what did not happen.
        why: String,
    },
    /// Its code or its memory cannot be read.
    #[error("cannot read the code that is to be run: {0}")]
    Memory(#[from] MemoryError),
    /// A system call of the tracer failed.
    #[error("cannot {action} thread {thread}: {errno}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// The thread.
        thread: i32,
        /// Why not.
        errno: Errno,
    },
}
