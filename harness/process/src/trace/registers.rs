//! Registers of a stopped thread, and the system call that they describe.

use nix::libc::user_regs_struct;
use nix::sys::ptrace;

use super::{TraceError, Traced};

/// The system call that a thread is beginning, is in, or finished last (x86-64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// Its number; negative if the thread is not in a system call.
    pub number: i64,
    /// Its arguments, in the order of the calling convention; unused ones have any value.
    pub arguments: [u64; 6],
    /// Whether the call is about to begin, so that it has no result yet.
    pub begins: bool,
}

/// Content of the result register when a call is about to begin: `-ENOSYS`.
const NO_RESULT: u64 = (-(nix::libc::ENOSYS as i64)).cast_unsigned();
/// The call number that makes the kernel skip a call that is about to begin.
const NO_CALL: u64 = u64::MAX;

impl Traced {
    /// The general-purpose registers of the stopped thread.
    ///
    /// # Errors
    /// The thread is not stopped, or has ended.
    pub fn registers(&self) -> Result<user_regs_struct, TraceError> {
        ptrace::getregs(self.thread).map_err(|errno| self.error("read the registers of", errno))
    }

    /// Sets the general-purpose registers of the stopped thread.
    ///
    /// # Errors
    /// As [`Traced::registers`].
    pub fn set_registers(&mut self, registers: user_regs_struct) -> Result<(), TraceError> {
        ptrace::setregs(self.thread, registers).map_err(|errno| self.error("set the registers of", errno))
    }

    /// The system call that the thread is stopped in.
    ///
    /// # Errors
    /// As [`Traced::registers`].
    pub fn system_call(&self) -> Result<SystemCall, TraceError> {
        let registers = self.registers()?;
        Ok(SystemCall {
            number: registers.orig_rax.cast_signed(),
            arguments: [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9],
            begins: registers.rax == NO_RESULT,
        })
    }

    /// Skips a system call that is about to begin. The thread sees it return `result`.
    ///
    /// # Errors
    /// As [`Traced::registers`].
    pub fn leave_out_system_call(&mut self, result: i64) -> Result<(), TraceError> {
        let mut registers = self.registers()?;
        registers.orig_rax = NO_CALL;
        registers.rax = result.cast_unsigned();
        self.set_registers(registers)
    }
}
