//! Running a program that may hang, babble or fail, and outliving none.

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
use super::super::pipe;
use super::sanitizer::without_leak_search;

/// After the kill nothing is left to write, except by a descendant that left the process group.
const AFTER_THE_KILL: Duration = Duration::from_secs(1);

/// How a program ended, and the beginning of what it wrote.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Why there is no outcome.
#[derive(Debug)]
pub(super) enum RunError {
    /// It could not be started.
    Start(io::Error),
    /// It still ran at the deadline and was killed with its children.
    Deadline,
    /// The user stopped the run; it was killed with its children.
    CalledOff(CalledOff),
    /// Waiting for it failed.
    Wait(io::Error),
}

/// Runs `command` in a process group of its own until `deadline` at most, keeping `limit` bytes of each output.
/// Who writes more finds the pipe closed.
pub(super) fn run(command: &mut Command, deadline: Duration, limit: u64) -> Result<Outcome, RunError> {
    let end = Instant::now() + deadline;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = die_with_us(command).spawn().map_err(RunError::Start)?;
    let group = pid(&child);
    let stdout = read_beginning(child.stdout.take(), limit);
    let stderr = read_beginning(child.stderr.take(), limit);

    // This leaves the process unreaped, so that its number cannot be another's when the group is killed.
    let over = end_of(group, Deadline::interruptible(deadline));
    // Children that the program left behind are not wanted either.
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
    Ok(Outcome { status, stdout, stderr })
}

/// Waits for the end of a child; gives why the wait is over if it did not come.
fn end_of(child: Pid, deadline: Deadline) -> io::Result<Option<Over>> {
    let pid = rustix::process::Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    pipe::wait(&[(pidfd.as_fd(), PollFlags::POLLIN)], deadline)
}

/// The longest an interpreter may take to answer, and its longest answer in bytes.
const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER: u64 = 256 << 10;

/// What `python` writes when it is run with `arguments`.
///
/// # Errors
/// It cannot be run, does not end in time, or fails; then with the last line of its complaints.
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

/// Reads up to `limit` bytes in a thread of its own, then closes.
fn read_beginning(source: Option<impl Read + Send + 'static>, limit: u64) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(source) = source {
            // What came before an error is still worth showing.
            let _ = source.take(limit).read_to_end(&mut bytes);
        }
        send.send(bytes)
    });
    receive
}

/// The process number in the type that system calls take.
fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// Makes the kernel kill the program when the thread that starts it ends, which that thread does not do before it has
/// waited: even `kill -9` of the harness leaves nothing behind. Ctrl-C on the terminal does not reach the program, in
/// its own process group, but the harness, which then decides.
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

    fn shell(script: &str, deadline: Duration) -> Result<Outcome, RunError> {
        run(Command::new("/bin/sh").args(["-c", script]), deadline, 100)
    }

    #[test]
    fn output_and_status_are_kept() {
        let outcome = shell("echo out; echo err >&2; exit 3", Duration::from_secs(10)).unwrap();
        assert_eq!(
            (outcome.stdout.as_slice(), outcome.stderr.as_slice(), outcome.status.code()),
            (&b"out\n"[..], &b"err\n"[..], Some(3))
        );
    }

    #[test]
    fn endless_output_is_cut() {
        assert_eq!(shell("exec yes", Duration::from_secs(10)).unwrap().stdout.len(), 100);
    }

    #[test]
    fn a_hanging_program_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let script = format!("sleep 1000 > '{}' & wait", pipe.display());
        // The pipe ends when the child, its only writer, does.
        let (send, ended) = mpsc::channel();
        thread::spawn(move || send.send(std::fs::read(pipe)));
        assert!(matches!(shell(&script, Duration::from_millis(300)), Err(RunError::Deadline)));
        assert!(ended.recv_timeout(Duration::from_secs(10)).unwrap().unwrap().is_empty());
    }
}
