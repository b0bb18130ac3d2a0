//! Errors of tracing a thread.

use framewalk::memory::MemoryError;
use nix::errno::Errno;
use nix::sys::wait::WaitStatus;
use thiserror::Error;

/// Why a thread could not be traced, stepped or moved.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The kernel refused tracing.
    #[error("cannot trace thread {thread} of process {process}: {advice}")]
    Denied {
        /// The process of the thread.
        process: i32,
        /// The thread that was traced.
        thread: i32,
        /// The setting that refuses, and what to do about it.
        advice: String,
    },
    /// The thread ended, and perhaps its whole process.
    #[error("thread {thread} ended while it was traced: {status:?}")]
    Ended {
        /// The thread that was traced.
        thread: i32,
        /// The status that the kernel reports.
        status: WaitStatus,
    },
    /// A system call of the thread did not return in time.
    #[error("thread {thread} is blocked in system call {call}: it can be stepped only after the call returns")]
    Blocked {
        /// The thread that was traced.
        thread: i32,
        /// The number of the system call on this architecture.
        call: u64,
    },
    /// The thread kept running and did not reach the expected stop.
    #[error("thread {thread} ran for {seconds:.1} s without a stop: it loops, or the machine is overloaded")]
    Loops {
        /// The thread that was traced.
        thread: i32,
        /// How long the harness waited, in seconds.
        seconds: f64,
    },
    /// Hardware watchpoints are not available.
    #[error(
        "thread {thread} cannot get hardware watchpoints ({why}): this machine or its emulator has none free; the \
         target can still be moved from gate to gate (explore --step gate)"
    )]
    NoWatchpoints {
        /// The thread that was traced.
        thread: i32,
        /// The kernel's error, or the effect that did not occur.
        why: String,
    },
    /// Code or memory of the thread cannot be read.
    #[error("cannot read the next instructions: {0}")]
    Memory(#[from] MemoryError),
    /// A system call of the tracer failed.
    #[error("cannot {action} thread {thread}: {errno}")]
    System {
        /// The action that failed.
        action: &'static str,
        /// The thread that was traced.
        thread: i32,
        /// The error of the system call.
        errno: Errno,
    },
}
