//! A child process with pipes, used for targets and for the unwinder's driver.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use framewalk::printable;
use model::invariants::Death;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};
use thiserror::Error;

use super::deadline::{CalledOff, Deadline, Over};
use super::descendants::Mark;
use super::pipe::{self, Moved};
use super::{descendants, spawner};

/// How many bytes of a child's standard error are kept. The last ones are kept, because they usually contain the
/// reason.
const STDERR_KEPT: usize = 8 * 1024;
/// Function names are looked for in this many bytes at the start of a line.
const LINE_KEPT: usize = 1024;
/// How long to wait for the rest of an ended child's standard error. A grandchild may keep the pipe open.
const STDERR_REST: Duration = Duration::from_millis(500);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildEnd {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Killed(Signal),
}

impl fmt::Display for ChildEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => write!(f, "was killed by {signal}"),
        }
    }
}

/// A process that has ended, and the end of its standard error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("process {pid} {end}{}{}", place(.failed_in.as_deref()), last_words(.stderr))]
pub struct Ended {
    /// The id that the process had.
    pub pid: i32,
    /// Its exit status or the signal that killed it.
    pub end: ChildEnd,
    /// The last part of its standard error.
    pub stderr: String,
    /// The function whose assertion failed or that reported a fatal error, if the standard error names one. All of the
    /// output is searched, because much more may be printed after it.
    pub failed_in: Option<String>,
}

impl Ended {
    /// How the process ended, if it was responsible for that itself. `None` if a signal from outside ended it.
    #[must_use]
    pub fn own_doing(&self) -> Option<Death> {
        match self.end {
            ChildEnd::Exited(status) => Some(Death::Status(status)),
            ChildEnd::Killed(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT) => {
                None
            }
            ChildEnd::Killed(signal) => Some(Death::Signal(signal.as_str().to_owned())),
        }
    }
}

fn place(function: Option<&str>) -> String {
    function.map(|function| format!(" in {function}")).unwrap_or_default()
}

fn last_words(stderr: &str) -> String {
    match printable::last_words(stderr).as_str() {
        "" => "; its stderr is empty".into(),
        words => format!("; the end of its stderr: {words}"),
    }
}

/// Why communication with a child failed.
#[derive(Debug, Error)]
pub(super) enum ChildError {
    #[error("no answer before the deadline")]
    Deadline,
    #[error(transparent)]
    CalledOff(#[from] CalledOff),
    #[error(transparent)]
    Ended(Ended),
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Over> for ChildError {
    fn from(over: Over) -> Self {
        match over {
            Over::Hangs => Self::Deadline,
            Over::CalledOff(why) => Self::CalledOff(why),
        }
    }
}

/// A running child. Dropping it kills and reaps it.
pub(super) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stdout_closed: bool,
    received: Vec<u8>,
    stderr: Arc<Mutex<ErrorOutput>>,
    stderr_done: Receiver<()>,
    ended: Option<Ended>,
    /// An entry of its environment. When the child has ended, its process group and all processes with this entry are
    /// killed.
    marker: Option<Mark>,
}

impl Child {
    /// Starts `command` with all three standard streams piped.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawner::spawn(command)?;
        let made = Self::with_pipes(&mut child);
        if made.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        made
    }

    fn with_pipes(child: &mut std::process::Child) -> io::Result<Self> {
        let missing = || io::Error::other("a standard stream is missing");
        let stdin = OwnedFd::from(child.stdin.take().ok_or_else(missing)?);
        let stdout = OwnedFd::from(child.stdout.take().ok_or_else(missing)?);
        let stderr_pipe = child.stderr.take().ok_or_else(missing)?;
        pipe::set_nonblocking(&stdin)?;
        pipe::set_nonblocking(&stdout)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let raw = rustix::process::Pid::from_raw(pid.as_raw()).ok_or_else(missing)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
        let stderr = Arc::default();
        let stderr_done = keep_end(stderr_pipe, Arc::clone(&stderr))?;
        Ok(Self {
            pid,
            pidfd,
            stdin,
            stdout,
            stdout_closed: false,
            received: Vec::new(),
            stderr,
            stderr_done,
            ended: None,
            marker: None,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// From now on, what the child started is killed when the child ends: its process group, and the processes whose
    /// environment has this entry, which no other child has.
    pub(super) fn kill_all_at_end(&mut self, marker: Mark) {
        self.marker = Some(marker);
    }

    /// Kills the processes that the child started. Call it before the child is reaped: until then, no other process
    /// group can have its number.
    fn kill_group(&self) {
        if let Some(marker) = &self.marker {
            // This fails only if all of them have ended.
            let _ = killpg(self.pid, Signal::SIGKILL);
            descendants::kill(marker, Some(self.pid.as_raw()));
        }
    }

    /// The last part of the standard error so far.
    pub(super) fn stderr(&self) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, tail) = kept.end.as_slices();
        String::from_utf8_lossy(&[head, tail].concat()).into_owned()
    }

    /// Sends all of `bytes`.
    pub(super) fn send(&mut self, mut bytes: &[u8], deadline: Deadline) -> Result<(), ChildError> {
        while !bytes.is_empty() {
            match pipe::write(&self.stdin, bytes)? {
                Moved::Bytes(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Moved::Closed => return Err(self.wait_for_end(deadline)),
                Moved::Later => {
                    let waiting = [(self.stdin.as_fd(), PollFlags::POLLOUT), (self.pidfd.as_fd(), PollFlags::POLLIN)];
                    if let Some(over) = pipe::wait_for_answer(&waiting, deadline)? {
                        return Err(over.into());
                    }
                    self.check()?;
                }
            }
        }
        Ok(())
    }

    /// Receives exactly `N` bytes.
    pub(super) fn receive_array<const N: usize>(&mut self, deadline: Deadline) -> Result<[u8; N], ChildError> {
        loop {
            if let Some(&array) = self.received.first_chunk::<N>() {
                self.received.drain(..N);
                return Ok(array);
            }
            self.receive_more(deadline)?;
        }
    }

    /// Receives exactly `length` bytes.
    pub(super) fn receive(&mut self, length: usize, deadline: Deadline) -> Result<Vec<u8>, ChildError> {
        while self.received.len() < length {
            self.receive_more(deadline)?;
        }
        Ok(self.received.drain(..length).collect())
    }

    /// Receives one line of at most `limit` bytes and returns it without the newline.
    pub(super) fn receive_line(&mut self, limit: usize, deadline: Deadline) -> Result<Vec<u8>, ChildError> {
        let mut searched = 0;
        loop {
            let fresh = self.received.get(searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=searched + at).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.received.len();
            if searched > limit {
                return Err(io::Error::other(format!("a line of more than {limit} bytes")).into());
            }
            self.receive_more(deadline)?;
        }
    }

    fn receive_more(&mut self, deadline: Deadline) -> Result<(), ChildError> {
        let mut buffer = [0; 64 * 1024];
        loop {
            if self.stdout_closed {
                return Err(self.wait_for_end(deadline));
            }
            match pipe::read(&self.stdout, &mut buffer)? {
                Moved::Bytes(count) => {
                    self.received.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    return Ok(());
                }
                Moved::Closed => self.stdout_closed = true,
                Moved::Later => {
                    // Check for the child's end only when the pipe is empty: bytes written before the end still count.
                    self.check()?;
                    let waiting = [(self.stdout.as_fd(), PollFlags::POLLIN), (self.pidfd.as_fd(), PollFlags::POLLIN)];
                    if let Some(over) = pipe::wait_for_answer(&waiting, deadline)? {
                        return Err(over.into());
                    }
                }
            }
        }
    }

    /// Waits until `deadline`. Fails if the child ends before that.
    pub(super) fn run_until(&mut self, deadline: Deadline) -> Result<(), ChildError> {
        match pipe::wait(&[(self.pidfd.as_fd(), PollFlags::POLLIN)], deadline)? {
            None => Err(self.wait_for_end(deadline)),
            Some(_) => Ok(()),
        }
    }

    fn wait_for_end(&mut self, deadline: Deadline) -> ChildError {
        match pipe::wait(&[(self.pidfd.as_fd(), PollFlags::POLLIN)], deadline) {
            Ok(None) => self.check().err().unwrap_or(ChildError::Deadline),
            Ok(Some(over)) => over.into(),
            Err(error) => error.into(),
        }
    }

    /// Fails if the child has ended. Does not consume stop reports, for which a tracer of the child may be waiting.
    pub(super) fn check(&mut self) -> Result<(), ChildError> {
        if self.ended.is_none() && !self.has_ended() {
            return Ok(());
        }
        self.wait_status(WaitPidFlag::WNOHANG).map(drop)
    }

    /// Whether the child has ended but was not reaped.
    fn has_ended(&self) -> bool {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        matches!(waitid(Id::Pid(self.pid), look), Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)))
    }

    /// Calls `waitpid`. If the child has ended, remembers that and returns it as an error.
    pub(super) fn wait_status(&mut self, flags: WaitPidFlag) -> Result<WaitStatus, ChildError> {
        if let Some(ended) = &self.ended {
            return Err(ChildError::Ended(ended.clone()));
        }
        if self.marker.is_some() {
            // Leave the child unreaped for now, so that its group can be killed first.
            let _ = waitid(Id::Pid(self.pid), flags | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            if self.has_ended() {
                self.kill_group();
            }
        }
        let end = loop {
            match waitpid(self.pid, Some(flags)) {
                Ok(WaitStatus::Exited(_, status)) => break ChildEnd::Exited(status),
                Ok(WaitStatus::Signaled(_, signal, _)) => break ChildEnd::Killed(signal),
                Ok(other) => return Ok(other),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        };
        // Everything the child wrote is in the pipe by now. The timeout is for a grandchild that keeps the pipe open.
        let _ = self.stderr_done.recv_timeout(STDERR_REST);
        let failed_in = self.stderr.lock().unwrap_or_else(PoisonError::into_inner).failed_in.clone();
        let ended = Ended { pid: self.pid.as_raw(), end, stderr: self.stderr(), failed_in };
        self.ended = Some(ended.clone());
        Err(ChildError::Ended(ended))
    }

    /// Sends a signal. Refuses once the child was reaped, because another process may have its number then.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), ChildError> {
        if let Some(ended) = &self.ended {
            return Err(ChildError::Ended(ended.clone()));
        }
        Ok(kill(self.pid, signal).map_err(io::Error::from)?)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.kill_group();
            // `waitpid` may report a pending stop first.
            while !matches!(
                waitpid(self.pid, None),
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD)
            ) {}
        }
    }
}

/// The kept part of a child's standard error.
#[derive(Default)]
struct ErrorOutput {
    end: VecDeque<u8>,
    /// The start of the current, incomplete line.
    line: Vec<u8>,
    failed_in: Option<String>,
}

impl ErrorOutput {
    fn take(&mut self, bytes: &[u8]) {
        self.end.extend(bytes);
        let surplus = self.end.len().saturating_sub(STDERR_KEPT);
        self.end.drain(..surplus);
        for (index, part) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if index > 0 {
                self.end_line();
            }
            let room = LINE_KEPT.saturating_sub(self.line.len());
            self.line.extend(part.iter().take(room));
        }
    }

    /// Only the first failure counts; later ones are consequences.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.failed_in.is_none() {
            self.failed_in = failing_function(&String::from_utf8_lossy(&line));
        }
    }
}

/// The function named by a line that reports a failure: an assertion of the C library or of CPython ("file:line:
/// function: Assertion ..."), CPython's fatal error, or a sanitizer's summary.
fn failing_function(line: &str) -> Option<String> {
    let function = if let Some((before, _)) = line.split_once(": Assertion ") {
        before.rsplit(": ").next()
    } else if let Some((_, error)) = line.split_once("Fatal Python error: ") {
        error.split_once(": ").map(|(function, _)| function)
    } else if line.contains("SUMMARY: ") && line.contains("Sanitizer: ") {
        line.rsplit_once(" in ").map(|(_, function)| function)
    } else {
        None
    };
    let is_name =
        |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.:".contains(c));
    function.map(str::trim).filter(is_name).map(printable::excerpt)
}

/// Drains `stderr` on a thread, so that the child never blocks on a full pipe, and keeps the relevant parts.
fn keep_end(mut stderr: ChildStderr, kept: Arc<Mutex<ErrorOutput>>) -> io::Result<Receiver<()>> {
    let (done, receiver) = channel();
    std::thread::Builder::new().name("stderr".into()).spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.take(buffer.get(..count).unwrap_or_default());
        }
        kept.lock().unwrap_or_else(PoisonError::into_inner).end_line();
        let _ = done.send(());
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: ChildEnd, written: &[u8]) -> Ended {
        let mut output = ErrorOutput::default();
        // In pieces, like reads from a pipe.
        written.chunks(7).for_each(|piece| output.take(piece));
        output.end_line();
        let stderr = String::from_utf8_lossy(output.end.make_contiguous()).into_owned();
        Ended { pid: 7, end, stderr, failed_in: output.failed_in }
    }

    #[test]
    fn the_failing_function_is_found_before_long_output() {
        let repr = "\\U7fb1c2f0".repeat(10_000);
        let written = format!(
            "../Objects/unicodeobject.c:673: _PyUnicode_CheckConsistency: Assertion failed: maxchar <= 0x10ffff\n\
             object repr     : '{repr}'\n\nFatal Python error: _PyObject_AssertFailed: _PyObject_AssertFailed\n"
        );
        let ended = ended(ChildEnd::Killed(Signal::SIGABRT), written.as_bytes());
        assert_eq!(ended.failed_in.as_deref(), Some("_PyUnicode_CheckConsistency"));
        assert_eq!(ended.own_doing(), Some(Death::Signal("SIGABRT".into())));
        assert!(ended.stderr.len() <= STDERR_KEPT);
        let told = ended.to_string();
        assert!(told.starts_with("process 7 was killed by SIGABRT in _PyUnicode_CheckConsistency; "), "{told}");
        assert!(told.chars().count() < 2 * printable::LONGEST, "{told}");
    }

    #[test]
    fn lines_without_a_function_name_give_none() {
        for (line, function) in [
            ("python3: a.c:3: f: Assertion `x' failed.", Some("f")),
            (
                "Fatal Python error: _Py_CheckFunctionResult: a function returned a result",
                Some("_Py_CheckFunctionResult"),
            ),
            ("Fatal Python error: Segmentation fault", None),
            ("SUMMARY: AddressSanitizer: heap-use-after-free /src/a.c:3:1 in unwind_frame", Some("unwind_frame")),
            ("SUMMARY: AddressSanitizer: SEGV ??", None),
            (": Assertion ", None),
            ("say \x1b[2J x: \x1b[2J: Assertion ", None),
            ("RuntimeError: no", None),
        ] {
            assert_eq!(failing_function(line).as_deref(), function, "{line}");
        }
    }

    #[test]
    fn a_process_ended_by_a_signal_from_outside_is_not_blamed() {
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
            assert_eq!(ended(ChildEnd::Killed(signal), b"").own_doing(), None);
        }
        assert_eq!(ended(ChildEnd::Exited(3), b"").own_doing(), Some(Death::Status(3)));
        let told = ended(ChildEnd::Exited(3), b"").to_string();
        assert_eq!(told, "process 7 exited with status 3; its stderr is empty");
    }
}
