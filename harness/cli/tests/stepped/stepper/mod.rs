//! Runs one thread of a target instruction by instruction and reports what each one loads and stores (x86-64 only).
//!
//! A thread is traced from [`Stepper::attach`] until [`Stepper::detach`] or drop, on every path. The other threads keep
//! running. If the harness dies meanwhile, the kernel kills the target.

mod instruction;
pub(crate) mod record;

use std::time::{Duration, Instant};

use framewalk::memory::{MemoryError, RemoteMemory};
use iced_x86::InstructionInfoFactory;
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use process::memory::ProcessMemory;
pub(crate) use process::trace::TraceError as StepError;
use process::trace::{Resume, Traced};

use self::instruction::{INSTRUCTION_LIMIT, Instruction, InstructionAccess, decode};

/// The smallest page size. The memory after a page need not be mapped.
const PAGE: u64 = 4096;

/// A traced thread of a target. It is stopped except while a method runs.
pub(crate) struct Stepper {
    traced: Traced,
    memory: ProcessMemory,
    factory: InstructionInfoFactory,
}

/// A pending trap arrives at once. If none arrives within this time, the thread has restarted its system call.
const TRAP: Duration = Duration::from_millis(200);

impl Stepper {
    /// Traces thread `thread` of process `process` and stops it. If it waits in a system call, the call restarts at the
    /// next step.
    ///
    /// # Errors
    /// The kernel refuses, or the thread has ended.
    pub(crate) fn attach(process: i32, thread: i32) -> Result<Self, StepError> {
        Ok(Self {
            traced: Traced::attach(process, thread)?,
            memory: ProcessMemory::new(process),
            factory: InstructionInfoFactory::new(),
        })
    }

    /// Decodes the instruction that the next step executes.
    ///
    /// # Errors
    /// Registers or code cannot be read.
    pub(crate) fn upcoming(&mut self) -> Result<Instruction, StepError> {
        let registers = self.traced.registers()?;
        let mut code = [0; INSTRUCTION_LIMIT];
        if let Err(error) = self.memory.read(registers.rip, &mut code) {
            // The instruction may end at the end of the page, with nothing mapped after it.
            let rest = usize::try_from(PAGE - registers.rip % PAGE).unwrap_or(usize::MAX);
            let code = code.get_mut(..rest).ok_or(error)?;
            self.memory.read(registers.rip, code)?;
        }
        Ok(decode(&mut self.factory, &code, &registers))
    }

    /// Executes `instruction`, which [`Stepper::upcoming`] returned, or one iteration of a `rep` instruction.
    /// `deadline` limits system calls; nothing else waits.
    ///
    /// # Errors
    /// The thread ended, or did not return from a system call in time.
    pub(crate) fn step(&mut self, instruction: &Instruction, deadline: Instant) -> Result<(), StepError> {
        self.traced.resume(Resume::OneInstruction)?;
        self.wait(instruction.system_call.map(|(call, _)| (call, deadline)))
    }

    /// Stops tracing and lets the thread run on.
    ///
    /// # Errors
    /// The thread has ended.
    pub(crate) fn detach(self) -> Result<(), StepError> {
        self.traced.detach()
    }

    /// Waits for the stop after a step. If the thread stays in a system call past the deadline, it is stopped inside
    /// the call.
    fn wait(&mut self, system_call: Option<(u64, Instant)>) -> Result<(), StepError> {
        let mut blocked = None;
        let mut until = system_call.map(|(_, deadline)| deadline);
        let mut interruptions = 0;
        loop {
            let patience = if until.is_some() { WaitPidFlag::WNOHANG } else { WaitPidFlag::empty() };
            let status = self.traced.status(patience)?;
            self.traced.stopped(status);
            match status {
                WaitStatus::StillAlive => {
                    if let (Some((call, _)), Some(end)) = (system_call, until)
                        && Instant::now() >= end
                    {
                        self.traced.interrupt()?;
                        interruptions += 1;
                        until = None;
                        blocked = Some(StepError::Blocked { thread: self.traced.thread(), call });
                    }
                    std::thread::yield_now();
                    continue;
                }
                WaitStatus::Stopped(..) => {}
                // Either the trap of the step is still pending and would kill the thread once it is not traced, or the
                // kernel restarts the call and the thread blocks again. Resume freely, because a single step would
                // leave another trap pending.
                _ if interruptions == 1 => {
                    self.traced.resume(Resume::Freely)?;
                    until = Some(Instant::now() + TRAP);
                    continue;
                }
                _ => {}
            }
            return blocked.map_or(Ok(()), Err);
        }
    }

    /// Reads the present contents of a range.
    pub(crate) fn bytes(&mut self, access: InstructionAccess) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = vec![0; access.size];
        self.memory.read(access.address, &mut bytes)?;
        Ok(bytes)
    }

    /// The memory of the process.
    pub(crate) fn memory(&mut self) -> &mut ProcessMemory {
        &mut self.memory
    }
}
