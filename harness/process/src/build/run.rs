//! Runs a program that may hang, print without end or fail, and leaves no process behind.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use framewalk::printable::excerpt;
use nix::poll::PollFlags;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use rustix::process::{PidfdFlags, pidfd_open};

use super::super::deadline::{CalledOff, Deadline, Over};
use super::super::{limits, pipe};
use super::sanitizer::without_leak_search;

/// How long to wait for output after the kill. Only a descendant that left the process group can still write then.
const AFTER_THE_KILL: Duration = Duration::from_secs(1);

/// The exit status of a program, and the beginning of its output.
#[derive(Debug)]
pub(super) struct CommandOutput {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Why a program has no outcome.
#[derive(Debug)]
pub(super) enum RunError {
    /// It could not be started.
    Start(io::Error),
    /// It still ran at the deadline. It was killed together with its children.
    Deadline,
    /// The user interrupted the run. It was killed together with its children.
    CalledOff(CalledOff),
    /// Waiting for it failed.
    Wait(io::Error),
}

/// Runs `command` in its own process group until `deadline` at most, and keeps `limit` bytes of each output stream.
/// After that many bytes, the pipe is closed.
pub(super) fn run(command: &mut Command, deadline: Duration, limit: u64) -> Result<CommandOutput, RunError> {
    let end = Instant::now() + deadline;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = die_with_us(command).spawn().map_err(|error| RunError::Start(limits::explained(error)))?;
    let group = pid(&child);
    let stdout = read_beginning(child.stdout.take(), limit);
    let stderr = read_beginning(child.stderr.take(), limit);

    // This does not reap the process, so no other process can have its number when the group is killed.
    let over = end_of(group, Deadline::interruptible(deadline));
    // Also kill children that the program left behind.
    let _ = killpg(group, Signal::SIGKILL);
    let status = child.wait().map_err(RunError::Wait)?;
    match over.map_err(RunError::Wait)? {
        None => {}
        Some(Over::Hangs) => return Err(RunError::Deadline),
        Some(Over::CalledOff(why)) => return Err(RunError::CalledOff(why)),
    }
    let rest = || end.saturating_duration_since(Instant::now()).max(AFTER_THE_KILL);
    let stdout = stdout.recv_timeout(rest()).map_err(|_| RunError::Deadline)?;
    let stderr = stderr.recv_timeout(rest()).map_err(|_| RunError::Deadline)?;
    Ok(CommandOutput { status, stdout, stderr })
}

/// Waits until a child ends and returns `None`, or why the wait ended before that.
fn end_of(child: Pid, deadline: Deadline) -> io::Result<Option<Over>> {
    let pid = rustix::process::Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    pipe::wait(&[(pidfd.as_fd(), PollFlags::POLLIN)], deadline)
}

/// The time limit for an interpreter's answer, and the limit on its size in bytes.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER: u64 = 256 << 10;

/// The output of `python` run with `arguments`.
///
/// # Errors
/// It cannot be run, does not end in time, or fails. A failure includes the last line of its error output.
pub fn ask(python: &Path, arguments: &[&str]) -> io::Result<Vec<u8>> {
    let mut command = Command::new(python);
    let outcome =
        run(without_leak_search(&mut command).args(arguments), PATIENCE, ANSWER).map_err(|error| match error {
            RunError::Start(error) | RunError::Wait(error) => error,
            RunError::Deadline => io::ErrorKind::TimedOut.into(),
            RunError::CalledOff(why) => io::Error::other(why),
        })?;
    if outcome.status.success() {
        return Ok(outcome.stdout);
    }
    let text = String::from_utf8_lossy(&outcome.stderr);
    let reason = excerpt(text.trim_end().lines().next_back().unwrap_or_default());
    Err(io::Error::other(format!("it ended with {}: {reason}", outcome.status)))
}

/// Reads up to `limit` bytes on a separate thread, then closes the pipe.
fn read_beginning(source: Option<impl Read + Send + 'static>, limit: u64) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(source) = source {
            // Output before an error is still worth showing.
            let _ = source.take(limit).read_to_end(&mut bytes);
        }
        send.send(bytes)
    });
    receive
}

/// The process id in the type that system calls take.
fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Makes the kernel kill the program when the thread that started it ends. That thread waits for the program, so it
/// ends first only if the whole harness dies, for example by `kill -9`. The program has its own process group, so
/// Ctrl-C on the terminal reaches only the harness, which then decides.
pub(super) fn die_with_us(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let hook = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have ended before the line above.
        if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec the hook makes two system calls and neither allocates nor takes a lock.
    unsafe { command.process_group(0).pre_exec(hook) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> Result<CommandOutput, RunError> {
        run(Command::new("/bin/sh").args(["-c", script]), deadline, 100)
    }

    #[test]
    fn output_and_exit_status_are_returned() {
        let outcome = shell("echo out; echo err >&2; exit 3", Duration::from_secs(10)).unwrap();
        assert_eq!(
            (outcome.stdout.as_slice(), outcome.stderr.as_slice(), outcome.status.code()),
            (&b"out\n"[..], &b"err\n"[..], Some(3))
        );
    }

    #[test]
    fn endless_output_is_truncated() {
        assert_eq!(shell("exec yes", Duration::from_secs(10)).unwrap().stdout.len(), 100);
    }

    #[test]
    fn a_hanging_program_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = format!("sleep 1000 > '{}' & wait", pipe.display());
        // The pipe ends when its only writer, the child, ends.
        let (send, ended) = mpsc::channel();
        thread::spawn(move || send.send(std::fs::read(pipe)));
        assert!(matches!(shell(&script, Duration::from_millis(300)), Err(RunError::Deadline)));
        assert!(ended.recv_timeout(Duration::from_secs(10)).unwrap().unwrap().is_empty());
    }
}
