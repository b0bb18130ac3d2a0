//! Kills what a user's program has started and left behind.
//!
//! A process that leaves its group and whose parent has ended can be recognised only by what it inherited. The
//! environment that a process was started with stays readable in `/proc`, and a fork keeps it. So the processes of a
//! target are those whose environment has a value that no other target has. A process that was executed with another
//! environment is not found.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::{fs, io};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that forks while it is looked for has a child that may be missed. After this many searches nothing more
/// is done.
const SEARCHES: u32 = 20;

/// The entries of the environment that mark a process: all of this name whose value starts like this.
pub(super) struct Mark {
    pub(super) name: &'static str,
    pub(super) value: OsString,
}

/// Kills every process whose environment has such an entry, except `own`, which the caller ends and reaps.
pub(super) fn kill(mark: &Mark, own: Option<i32>) {
    let mark = [mark.name.as_bytes(), b"=", mark.value.as_bytes()].concat();
    for _ in 0..SEARCHES {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids =
            pids.filter_map(|process| process.file_name().to_str()?.parse().ok()).filter(|&pid| Some(pid) != own);
        // Each of them is looked at.
        if pids.filter(|&pid| kill_if(pid, &mark).unwrap_or(false)).count() == 0 {
            return;
        }
    }
}

/// Kills a process if an entry of its environment starts like this. Returns whether it did.
fn kill_if(pid: i32, mark: &[u8]) -> io::Result<bool> {
    let environment = format!("/proc/{pid}/environ");
    let is_marked =
        || Ok::<_, io::Error>(fs::read(&environment)?.split(|&byte| byte == 0).any(|one| one.starts_with(mark)));
    let Some(number) = Pid::from_raw(pid).filter(|_| is_marked().unwrap_or(false)) else { return Ok(false) };
    // Another process may have the number by now, and keeps it as long as the descriptor is open.
    let process = pidfd_open(number, PidfdFlags::empty())?;
    if !is_marked()? {
        return Ok(false);
    }
    pidfd_send_signal(process, Signal::KILL)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn only_processes_with_the_entry_are_killed() {
        let of = |value: &str| Command::new("sleep").arg("1000").env("FRAMEDIFF_TEST_KILL", value).spawn().unwrap();
        let own = format!("{}/", std::process::id());
        let (mut killed, mut spared, mut other) = (of(&format!("{own}x")), of(&own), of(&format!("0{own}")));
        let spared_pid = i32::try_from(spared.id()).unwrap();
        // The environment is that of the parent until the execution; `spawn` returns after it.
        kill(&Mark { name: "FRAMEDIFF_TEST_KILL", value: own.into() }, Some(spared_pid));
        assert_eq!(killed.wait().unwrap().signal(), Some(9));
        for child in [&mut spared, &mut other] {
            assert_eq!(child.try_wait().unwrap(), None);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
