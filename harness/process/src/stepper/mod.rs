//! Runs one thread of a target instruction by instruction, and tells what each loads and stores (x86-64 only).
//!
//! A thread is traced from [`Stepper::attach`] to [`Stepper::detach`] or the drop, on whatever path; the others run on.
//! If the harness dies meanwhile, the kernel kills the target.

mod instruction;
pub mod record;

use std::time::{Duration, Instant};

use framewalk::memory::{MemoryError, RemoteMemory};
use iced_x86::InstructionInfoFactory;
use nix::sys::wait::{WaitPidFlag, WaitStatus};

pub use self::instruction::{Access, Instruction, value as register};
use self::instruction::{INSTRUCTION_LIMIT, decode};
pub use super::trace::TraceError as StepError;
use super::trace::{Resume, Traced};
use crate::memory::ProcessMemory;

/// The smallest page; what follows it need not be mapped.
const PAGE: u64 = 4096;

/// A thread of a target under trace. It is stopped unless a method runs.
pub struct Stepper {
    traced: Traced,
    memory: ProcessMemory,
    factory: InstructionInfoFactory,
}

/// A trap that is pending comes at once; a thread that has none within this time has begun its system call anew.
const TRAP: Duration = Duration::from_millis(200);

impl Stepper {
    /// Traces thread `thread` of process `process` and stops it; a system call in which it waits begins anew when it is
    /// stepped.
    ///
    /// # Errors
    /// The kernel refuses, or the thread has ended.
    pub fn attach(process: i32, thread: i32) -> Result<Self, StepError> {
        Ok(Self {
            traced: Traced::attach(process, thread)?,
            memory: ProcessMemory::new(process),
            factory: InstructionInfoFactory::new(),
        })
    }

    /// The next instruction.
    ///
    /// # Errors
    /// Registers or code cannot be read.
    pub fn upcoming(&mut self) -> Result<Instruction, StepError> {
        let registers = self.traced.registers()?;
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
        self.traced.resume(Resume::OneInstruction)?;
        self.wait(instruction.system_call.map(|(call, _)| (call, deadline)))
    }

    /// Lets the thread run on.
    ///
    /// # Errors
    /// It has ended.
    pub fn detach(self) -> Result<(), StepError> {
        self.traced.detach()
    }

    /// Waits for the stop after a step. A thread inside a system call may stay there; it is then stopped, inside it.
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
                // The step's own trap may still be to come, and would kill a thread that is not traced. Or the kernel begins
                // the call anew, and the thread blocks once more.
                // Not by a step, which would leave another trap.
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
