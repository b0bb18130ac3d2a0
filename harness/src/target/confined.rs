//! What a child process is confined by, from before its first instruction on.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::personality::{self, Persona};

/// Has the program that `command` starts see the same addresses in every run.
///
/// A kernel or container that refuses changes nothing: [`has_fixed_addresses`] tells.
pub(super) fn fix_addresses(command: &mut Command) {
    let fix = || {
        let _ = personality::get().and_then(|now| personality::set(now | Persona::ADDR_NO_RANDOMIZE));
        Ok(())
    };
    // SAFETY: the closure runs in the forked child before exec and makes system calls only.
    unsafe { command.pre_exec(fix) };
}

/// Whether [`fix_addresses`] had its effect on process `pid`.
pub(crate) fn has_fixed_addresses(pid: i32) -> bool {
    let persona = std::fs::read_to_string(format!("/proc/{pid}/personality")).unwrap_or_default();
    u64::from_str_radix(persona.trim(), 16).is_ok_and(|bits| bits & libc::ADDR_NO_RANDOMIZE as u64 != 0)
}
