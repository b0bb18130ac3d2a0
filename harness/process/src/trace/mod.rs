//! One thread of a child under `ptrace`: attaching, stopping, resuming and detaching (x86-64 only).
//!
//! A thread is traced from [`Traced::attach`] until [`Traced::detach`] or drop, on every path, and then runs on. The
//! process' other threads run all the time. If the harness dies meanwhile, the kernel kills the target.

mod error;
mod registers;
mod watchdog;
mod watchpoints;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

pub use self::error::TraceError;
pub use self::registers::SystemCall;
pub use self::watchdog::Watchdog;
pub use self::watchpoints::Watched;
use crate::memory::permission_advice;

/// How to resume a stopped thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Run until the next event.
    Freely,
    /// Run until the next event, or until a system call begins or ends.
    ToSystemCall,
    /// Stop again after one instruction.
    OneInstruction,
}

/// Why a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A watchpoint, the end of a single step, or a breakpoint instruction.
    Trap,
    /// The beginning or the end of a system call.
    SystemCall,
    /// The beginning of a system call that a seccomp filter traps.
    Filtered,
    /// This signal is about to be delivered. It is delivered when the thread is resumed.
    Signal(Signal),
    /// The thread was interrupted, or a signal stopped its process.
    Interrupted,
}

/// A traced thread. The kernel ties it to the thread of the harness that attached it, so it is not `Send`.
pub struct Traced {
    process: i32,
    thread: Pid,
    /// The signal to deliver on resuming.
    signal: Option<Signal>,
    attached: bool,
    running: bool,
    /// Whether its debug registers are set.
    watched: bool,
    /// Makes the type neither `Send` nor `Sync`, like raw pointers.
    bound: std::marker::PhantomData<*const ()>,
}

impl Traced {
    /// Traces thread `thread` of process `process` and stops it. If it waits in a system call, the call restarts when
    /// the thread is resumed.
    ///
    /// # Errors
    /// The kernel refuses, or the thread has ended.
    pub fn attach(process: i32, thread: i32) -> Result<Self, TraceError> {
        let pid = Pid::from_raw(thread);
        let options = Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACESECCOMP;
        ptrace::seize(pid, options).map_err(|errno| match errno {
            Errno::EPERM => TraceError::Denied { process, thread, advice: permission_advice(process) },
            errno => TraceError::System { action: "trace", thread, errno },
        })?;
        let mut traced = Self {
            process,
            thread: pid,
            signal: None,
            attached: true,
            running: true,
            watched: false,
            bound: std::marker::PhantomData,
        };
        traced.stop()?;
        Ok(traced)
    }

    /// The process that the traced thread belongs to.
    #[must_use]
    pub fn process(&self) -> i32 {
        self.process
    }

    /// The kernel's id of the traced thread.
    #[must_use]
    pub fn thread(&self) -> i32 {
        self.thread.as_raw()
    }

    /// Whether the thread was resumed and has not stopped since.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Resumes the stopped thread and delivers a pending signal.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn resume(&mut self, how: Resume) -> Result<(), TraceError> {
        let signal = self.signal.take();
        let resumed = match how {
            Resume::Freely => ptrace::cont(self.thread, signal),
            Resume::ToSystemCall => ptrace::syscall(self.thread, signal),
            Resume::OneInstruction => ptrace::step(self.thread, signal),
        };
        match resumed {
            Ok(()) => {
                self.running = true;
                Ok(())
            }
            // The thread was killed while it was stopped. Its end is the better error.
            Err(Errno::ESRCH) => Err(self.ended().unwrap_or_else(|| self.error("resume", Errno::ESRCH))),
            Err(errno) => Err(self.error("resume", errno)),
        }
    }

    /// Waits until a running thread stops. If that takes longer than `watchdog` allows, the thread is stopped wherever
    /// it is.
    ///
    /// # Errors
    /// The thread ended, or [`TraceError::Blocked`] or [`TraceError::Loops`] if the wait took too long.
    pub fn wait(&mut self, watchdog: &Watchdog) -> Result<Stop, TraceError> {
        let watch = watchdog.watch(self.process, self.thread.as_raw());
        let status = self.status(WaitPidFlag::empty());
        let late = watch.end();
        let stop = self.stopped(status?);
        if late {
            return Err(self.impatience(watchdog)?);
        }
        stop.ok_or_else(|| self.error("wait for", Errno::EAGAIN))
    }

    /// Interprets a stop and keeps a signal for [`Traced::resume`].
    pub fn stopped(&mut self, status: WaitStatus) -> Option<Stop> {
        let stop = match status {
            WaitStatus::StillAlive | WaitStatus::Continued(_) => return None,
            WaitStatus::PtraceSyscall(_) => Stop::SystemCall,
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_SECCOMP) => Stop::Filtered,
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Stop::Trap,
            WaitStatus::Stopped(_, signal) => {
                self.signal = Some(signal);
                Stop::Signal(signal)
            }
            _ => Stop::Interrupted,
        };
        Some(stop)
    }

    /// Stops the thread wherever it is.
    ///
    /// # Errors
    /// The thread ended.
    pub fn stop(&mut self) -> Result<(), TraceError> {
        if self.running {
            self.interrupt()?;
            let status = self.status(WaitPidFlag::empty())?;
            // This may be an earlier stop. The interruption then arrives later as one extra stop.
            self.stopped(status);
        }
        Ok(())
    }

    /// Makes a running thread stop wherever it is. The caller has to wait for the stop.
    ///
    /// # Errors
    /// The thread ended.
    pub fn interrupt(&mut self) -> Result<(), TraceError> {
        ptrace::interrupt(self.thread).map_err(|errno| self.error("stop", errno))
    }

    /// Stops tracing and lets the thread run on.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn detach(mut self) -> Result<(), TraceError> {
        self.release()
    }

    fn release(&mut self) -> Result<(), TraceError> {
        if !self.attached {
            return Ok(());
        }
        self.stop()?;
        self.unwatch()?;
        self.attached = false;
        ptrace::detach(self.thread, self.signal.take()).map_err(|errno| self.error("let go of", errno))
    }

    /// Waits for a stop and consumes it. The exit status of the process is left for the code that started it.
    ///
    /// # Errors
    /// The thread ended.
    pub fn status(&mut self, patience: WaitPidFlag) -> Result<WaitStatus, TraceError> {
        let any = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
        let leads = self.thread.as_raw() == self.process;
        loop {
            let looked = waitid(Id::Pid(self.thread), any | patience).and_then(|status| match status {
                WaitStatus::StillAlive => Ok(status),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) if leads => Ok(status),
                _ => waitpid(self.thread, Some(WaitPidFlag::__WALL)),
            });
            match looked {
                Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => {
                    self.attached = false;
                    self.running = false;
                    return Err(TraceError::Ended { thread: self.thread.as_raw(), status });
                }
                Ok(WaitStatus::StillAlive) => return Ok(WaitStatus::StillAlive),
                Ok(status) => {
                    self.running = false;
                    return Ok(status);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    self.attached = errno != Errno::ECHILD;
                    return Err(self.error("wait for", errno));
                }
            }
        }
    }

    /// The error for a thread that has ended.
    fn ended(&mut self) -> Option<TraceError> {
        self.status(WaitPidFlag::WNOHANG).err()
    }

    /// What the thread was doing when the wait took too long. Consumes the watchdog's signal, so that it stops nothing.
    fn impatience(&mut self, watchdog: &Watchdog) -> Result<TraceError, TraceError> {
        let thread = self.thread.as_raw();
        let call = self.system_call()?;
        // There may be other stops before it.
        while self.signal.take() != Some(Watchdog::SIGNAL) {
            self.resume(Resume::Freely)?;
            let status = self.status(WaitPidFlag::empty())?;
            self.stopped(status);
        }
        Ok(match u64::try_from(call.number) {
            Ok(call) => TraceError::Blocked { thread, call },
            Err(_) => TraceError::Loops { thread, seconds: watchdog.patience().as_secs_f64() },
        })
    }

    pub(super) fn error(&self, action: &'static str, errno: Errno) -> TraceError {
        TraceError::System { action, thread: self.thread.as_raw(), errno }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.release();
    }
}
