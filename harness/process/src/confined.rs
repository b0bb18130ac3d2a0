//! Restrictions put on a child process before it executes its first instruction.

use std::env::consts::ARCH;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::personality::{self, Persona};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

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
    let Ok(filter) = filter() else { return };
    let install = move || {
        let _ = seccompiler::apply_filter(&filter);
        Ok(())
    };
    // SAFETY: the closure runs in the forked child before exec; it makes system calls and allocates nothing.
    unsafe { command.pre_exec(install) };
}

fn filter() -> Result<BpfProgram, BackendError> {
    let argument = |index, value| SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let empty_write_to_standard_output = SeccompRule::new(vec![argument(0, 1)?, argument(2, 0)?])?;
    let rules = [
        (libc::SYS_process_vm_readv, vec![]),
        (libc::SYS_process_vm_writev, vec![]),
        (libc::SYS_write, vec![empty_write_to_standard_output]),
    ];
    let (others, these) = (SeccompAction::Allow, SeccompAction::Trace(0));
    SeccompFilter::new(rules.into(), others, these, ARCH.try_into()?)?.try_into()
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
    use seccompiler::sock_filter;

    use super::*;

    /// Interprets the filter like the kernel.
    fn decide(call: libc::c_long, arguments: [u64; 3]) -> u32 {
        let mut data = [0_u32; 16];
        data[0] = u32::try_from(call).unwrap();
        let audit = match ARCH {
            "aarch64" => 0xc000_00b7,
            _ => 0xc000_003e,
        };
        data[1] = audit;
        for (index, argument) in arguments.into_iter().enumerate() {
            data[4 + 2 * index] = argument as u32;
        }
        let program = filter().unwrap();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                code if code & 7 == libc::BPF_LD => loaded = data[k as usize / 4],
                code if code == libc::BPF_JMP | libc::BPF_JA => at += k as usize,
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if loaded == k { jt } else { jf });
                }
                code if code & 7 == libc::BPF_RET => return k,
                other => panic!("an instruction that the filter does not need: {other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_stops_only_remote_accesses_and_the_mark() {
        let traced = |call, arguments| decide(call, arguments) == libc::SECCOMP_RET_TRACE;
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
    }
}
