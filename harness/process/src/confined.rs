//! Restrictions put on a child process before it executes its first instruction.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc::{self, sock_filter};
use nix::sys::personality::{self, Persona};

/// Turns off address randomisation in the program that `command` starts, so that its addresses are the same in every
/// run.
///
/// Does nothing if the kernel or the container refuses; [`has_fixed_addresses`] reports whether it worked.
pub(super) fn fix_addresses(command: &mut Command) {
    let fix = || {
        let _ = personality::get().and_then(|now| personality::set(now | Persona::ADDR_NO_RANDOMIZE));
        Ok(())
    };
    // SAFETY: the closure runs in the forked child before exec and makes system calls only.
    unsafe { command.pre_exec(fix) };
}

/// Whether `fix_addresses` took effect in process `pid`.
pub fn has_fixed_addresses(pid: i32) -> bool {
    let persona = std::fs::read_to_string(format!("/proc/{pid}/personality")).unwrap_or_default();
    u64::from_str_radix(persona.trim(), 16).is_ok_and(|bits| bits & libc::ADDR_NO_RANDOMIZE as u64 != 0)
}

/// Makes the program that `command` starts stop for its tracer before every access to another process' memory, and
/// before an empty write to its standard output. Without a tracer these calls fail with `ENOSYS`.
///
/// Does nothing if the kernel or the container refuses; [`is_filtered`] reports whether it worked.
pub(super) fn stop_at_remote_accesses(command: &mut Command) {
    let filter = filter();
    let install = move || {
        let program =
            libc::sock_fprog { len: u16::try_from(filter.len()).unwrap_or(0), filter: filter.as_ptr().cast_mut() };
        // SAFETY: the first call takes integers only; the second one reads the program, which outlives the call.
        unsafe {
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 {
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program);
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs in the forked child before exec; it makes system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

/// Offset of the architecture in `struct seccomp_data` (`linux/seccomp.h`). The call's number is at offset 0;
/// [`argument`] gives the offset of an argument's lower half.
const ARCHITECTURE: u32 = 4;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// `AUDIT_ARCH_X86_64` (`linux/audit.h`). System call numbers are valid for this architecture only.
const X86_64: u32 = 0xc000_003e;

fn filter() -> [sock_filter; 12] {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let answer = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    // Falls through if the loaded word equals `word`, else skips `over` instructions.
    let unless = |word: u32, over| branch(word, 0, over);
    [
        load(ARCHITECTURE),
        unless(X86_64, 8),
        load(0),
        // The jumps below that count 7, 6 and 1 lead to the last instruction.
        branch(number(libc::SYS_process_vm_readv), 7, 0),
        branch(number(libc::SYS_process_vm_writev), 6, 0),
        unless(number(libc::SYS_write), 4),
        load(argument(0)),
        unless(1, 2),
        load(argument(2)),
        branch(0, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_TRACE),
    ]
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: 0, k }
}

/// Skips `equal` instructions if the loaded word equals `word`, else `unequal` instructions.
fn branch(word: u32, equal: u8, unequal: u8) -> sock_filter {
    sock_filter { jt: equal, jf: unequal, ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, word) }
}

/// Whether `stop_at_remote_accesses` took effect in process `pid`.
pub fn is_filtered(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let filters = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")).map(str::trim);
    // A container installs filters of its own, so compare with this process.
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let inherited = own.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")).map(str::trim);
    filters.is_some() && filters != inherited
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the filter like the kernel.
    fn decide(call: libc::c_long, arguments: [u64; 3], architecture: u32) -> u32 {
        let mut data = [0_u32; 16];
        data[0] = number(call);
        data[1] = architecture;
        for (index, argument) in arguments.into_iter().enumerate() {
            data[4 + 2 * index] = argument as u32;
        }
        let program = filter();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) & 7 {
                libc::BPF_LD => loaded = data[k as usize / 4],
                libc::BPF_JMP => at += usize::from(if loaded == k { jt } else { jf }),
                _ => return k,
            }
        }
    }

    #[test]
    fn the_filter_stops_only_remote_accesses_and_the_mark() {
        let traced = |call, arguments| decide(call, arguments, X86_64) == libc::SECCOMP_RET_TRACE;
        assert!(traced(libc::SYS_process_vm_readv, [7, 0, 0]) && traced(libc::SYS_process_vm_writev, [7, 0, 0]));
        assert!(traced(libc::SYS_write, [1, 5, 0]));
        for (call, arguments) in [
            (libc::SYS_write, [1, 5, 1]),
            (libc::SYS_write, [2, 5, 0]),
            (libc::SYS_read, [1, 5, 0]),
            (libc::SYS_exit_group, [0, 0, 0]),
        ] {
            assert!(!traced(call, arguments), "{call} {arguments:?}");
        }
        assert_eq!(decide(libc::SYS_process_vm_readv, [7, 0, 0], 3), libc::SECCOMP_RET_ALLOW);
    }
}
