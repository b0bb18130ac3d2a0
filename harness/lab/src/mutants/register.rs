//! What a register of a stopped thread contains, by the name that the disassembler gives it.

use iced_x86::Register;
use nix::libc::user_regs_struct;

/// The value of a register that can be part of an address, or `None` for other registers.
#[must_use]
pub fn value(register: Register, registers: &user_regs_struct) -> Option<u64> {
    let full = match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        // The bases of these segments are zero in 64-bit mode.
        Register::ES | Register::CS | Register::SS | Register::DS => return Some(0),
        Register::FS => return Some(registers.fs_base),
        Register::GS => return Some(registers.gs_base),
        _ => return None,
    };
    Some(if register.size() == 4 { full & u64::from(u32::MAX) } else { full })
}
