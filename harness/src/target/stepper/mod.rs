//! Runs one thread of a target instruction by instruction, and tells what each loads and stores (x86-64 only).
//!
//! A thread is traced from [`Stepper::attach`] to [`Stepper::detach`] or the drop, on whatever path; the others run on.
//! If the harness dies meanwhile, the kernel kills the target.

mod instruction;
pub mod record;

use std::time::Instant;

use iced_x86::InstructionInfoFactory;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use thiserror::Error;

pub use self::instruction::{Access, Instruction};
use self::instruction::{INSTRUCTION_LIMIT, decode};
use crate::memory::process::{ProcessMemory, permission_advice};
use crate::memory::{MemoryError, RemoteMemory};

/// The smallest page; what follows it need not be mapped.
const PAGE: u64 = 4096;

/// Why a thread could not be stepped.
#[derive(Debug, Error)]
pub enum StepError {
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
    #[error("thread {thread} ended while it was stepped: {status:?}")]
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
    /// Its code cannot be read.
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

/// A thread of a target under trace. It is stopped unless a method runs. The kernel ties it to the thread of the
/// harness that attached it: it cannot be sent to another one.
pub struct Stepper {
    thread: Pid,
    memory: ProcessMemory,
    factory: InstructionInfoFactory,
    /// To be delivered with the next step.
    signal: Option<Signal>,
    attached: bool,
    /// Raw pointers are neither `Send` nor `Sync`.
    bound: std::marker::PhantomData<*const ()>,
}

impl Stepper {
    /// Traces thread `thread` of process `process` and stops it; a system call in which it waits begins anew when it is
    /// stepped.
    ///
    /// # Errors
    /// The kernel refuses, or the thread has ended.
    pub fn attach(process: i32, thread: i32) -> Result<Self, StepError> {
        let pid = Pid::from_raw(thread);
        ptrace::seize(pid, Options::PTRACE_O_EXITKILL).map_err(|errno| match errno {
            Errno::EPERM => StepError::Denied { process, thread, advice: permission_advice(process) },
            errno => StepError::System { action: "trace", thread, errno },
        })?;
        let mut stepper = Self {
            thread: pid,
            memory: ProcessMemory::new(process),
            factory: InstructionInfoFactory::new(),
            signal: None,
            attached: true,
            bound: std::marker::PhantomData,
        };
        ptrace::interrupt(pid).map_err(|errno| stepper.error("stop", errno))?;
        stepper.wait(None)?;
        Ok(stepper)
    }

    /// The next instruction.
    ///
    /// # Errors
    /// Registers or code cannot be read.
    pub fn upcoming(&mut self) -> Result<Instruction, StepError> {
        let registers = ptrace::getregs(self.thread).map_err(|errno| self.error("read the registers of", errno))?;
        let mut code = [0; INSTRUCTION_LIMIT];
        if let Err(error) = self.memory.read(registers.rip, &mut code) {
            // It may end with its page.
            let rest = usize::try_from(PAGE - registers.rip % PAGE).unwrap_or(usize::MAX);
            let code = code.get_mut(..rest).ok_or(error)?;
            self.memory.read(registers.rip, code)?;
        }
        Ok(decode(&mut self.factory, &code, &registers))
    }

    /// Executes `instruction`, which [`Stepper::upcoming`] gave, or one round of it if it repeats itself. `deadline` is for
    /// system calls; nothing else waits.
    ///
    /// # Errors
    /// The thread ended, or did not come back from a system call.
    pub fn step(&mut self, instruction: &Instruction, deadline: Instant) -> Result<(), StepError> {
        ptrace::step(self.thread, self.signal.take()).map_err(|errno| self.error("step", errno))?;
        self.wait(instruction.system_call.map(|(call, _)| (call, deadline)))
    }

    /// Lets the thread run on.
    ///
    /// # Errors
    /// It has ended.
    pub fn detach(mut self) -> Result<(), StepError> {
        self.release()
    }

    fn release(&mut self) -> Result<(), StepError> {
        if !std::mem::take(&mut self.attached) {
            return Ok(());
        }
        ptrace::detach(self.thread, self.signal.take()).map_err(|errno| self.error("let go of", errno))
    }

    /// Waits for the stop after a step. A thread inside a system call may stay there; it is then stopped, inside it.
    fn wait(&mut self, system_call: Option<(u64, Instant)>) -> Result<(), StepError> {
        let mut blocked = None;
        loop {
            let patient = system_call.is_some() && blocked.is_none();
            let status = self.status(if patient { WaitPidFlag::WNOHANG } else { WaitPidFlag::empty() })?;
            match status {
                WaitStatus::StillAlive => {
                    if let Some((call, deadline)) = system_call
                        && Instant::now() >= deadline
                    {
                        ptrace::interrupt(self.thread).map_err(|errno| self.error("stop", errno))?;
                        blocked = Some(StepError::Blocked { thread: self.thread.as_raw(), call });
                    }
                    std::thread::yield_now();
                    continue;
                }
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
                WaitStatus::Stopped(_, signal) => self.signal = Some(signal),
                // The step's own trap is still to come, and would kill a thread that is not traced.
                _ if blocked.is_some() => {
                    ptrace::step(self.thread, None).map_err(|errno| self.error("step", errno))?;
                    continue;
                }
                _ => {}
            }
            return blocked.map_or(Ok(()), Err);
        }
    }

    /// Waits for a stop and takes it. The end of the process is left for whoever started it.
    fn status(&mut self, patience: WaitPidFlag) -> Result<WaitStatus, StepError> {
        let any = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
        loop {
            let leads = self.thread.as_raw() == self.memory.pid();
            let looked = waitid(Id::Pid(self.thread), any | patience).and_then(|status| match status {
                WaitStatus::StillAlive => Ok(status),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) if leads => Ok(status),
                _ => waitpid(self.thread, Some(WaitPidFlag::__WALL)),
            });
            match looked {
                Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => {
                    self.attached = false;
                    return Err(StepError::Ended { thread: self.thread.as_raw(), status });
                }
                Ok(status) => return Ok(status),
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    self.attached = errno != Errno::ECHILD;
                    return Err(self.error("wait for", errno));
                }
            }
        }
    }

    fn error(&self, action: &'static str, errno: Errno) -> StepError {
        StepError::System { action, thread: self.thread.as_raw(), errno }
    }

    /// Reads what is stored now.
    pub(crate) fn bytes(&mut self, access: Access) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0; access.size];
        self.memory.read(access.address, &mut bytes)?;
        Ok(bytes)
    }

    /// The memory of the process.
    pub(crate) fn memory(&mut self) -> &mut ProcessMemory {
        &mut self.memory
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        let _ = self.release();
    }
}
