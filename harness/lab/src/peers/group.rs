//! A process with descendants, all of which end with it.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use process::spawner;
use process::target::ChildEnd;

/// How often to check for an interruption while no output arrives.
const ASK: Duration = Duration::from_millis(50);
/// How many bytes of the standard error are kept. The last ones are kept, because they contain the reason.
const STDERR_KEPT: usize = 8 << 10;
/// Maximum length of a line in bytes. Longer lines are split.
const LINE_LIMIT: u64 = 1 << 20;
/// How long to wait for output after the kill. Only a descendant that left the process group can still write then.
const AFTER_THE_KILL: Duration = Duration::from_secs(1);

/// The next event of a [`Group`].
pub(super) enum Next {
    /// A line of output.
    Line(Vec<u8>),
    /// The first process ended, and all its lines were returned.
    Ended(ChildEnd),
    /// The deadline passed before the next line.
    Deadline,
    /// The caller interrupted the wait.
    Interrupted,
}

/// A process in its own process group. The whole group is killed when the process ends and when this is dropped. If the
/// harness is killed, the kernel kills the first process, and its standard input, which is kept open here, closes.
pub(super) struct Group {
    child: Child,
    pid: Pid,
    lines: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    /// Receives a message when the first process has ended.
    end: Receiver<()>,
    ended: Option<ChildEnd>,
}

impl Group {
    /// Starts `command` with all three standard streams piped.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawner::spawn(command)?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let (send, lines) = mpsc::channel();
        let stdout = child.stdout.take();
        thread::spawn(move || {
            let Some(mut stdout) = stdout.map(BufReader::new) else { return };
            loop {
                let mut line = Vec::new();
                match stdout.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line) {
                    Ok(1..) if send.send(line).is_ok() => {}
                    _ => return,
                }
            }
        });
        let (send, stderr) = mpsc::channel();
        if let Some(pipe) = child.stderr.take() {
            thread::spawn(move || send.send(end_of(pipe)));
        }
        let (send, end) = mpsc::channel();
        thread::spawn(move || {
            // This does not reap the process, so no other process can have its number.
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            send.send(())
        });
        Ok(Self { child, pid, lines, stderr, end, ended: None })
    }

    /// Waits for a line or for the end.
    pub(super) fn next(&mut self, deadline: Instant, interrupted: &dyn Fn() -> bool) -> io::Result<Next> {
        loop {
            if interrupted() {
                return Ok(Next::Interrupted);
            }
            if let Some(end) = self.ended {
                // The group is dead, so the pipe closes at once.
                return Ok(match self.lines.recv_timeout(AFTER_THE_KILL) {
                    Ok(line) => Next::Line(line),
                    Err(_) => Next::Ended(end),
                });
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Next::Deadline);
            }
            match self.lines.recv_timeout(ASK.min(deadline - now)) {
                Ok(line) => return Ok(Next::Line(line)),
                Err(RecvTimeoutError::Timeout) => {}
                // The process closed its output but may still be running.
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.end.recv_timeout(ASK.min(deadline - now));
                }
            }
            if self.has_ended()? {
                self.ended = Some(self.kill()?);
            }
        }
    }

    /// The last part of the standard error. Kills the group first.
    pub(super) fn stderr(&mut self) -> String {
        if self.ended.is_none() {
            self.ended = self.kill().ok();
        }
        let bytes = self.stderr.recv_timeout(AFTER_THE_KILL).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the first process has ended. It is not reaped, so no other group can have its number.
    fn has_ended(&self) -> io::Result<bool> {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid), look) {
            Ok(status) => Ok(matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..))),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the group and reaps its first process.
    fn kill(&self) -> io::Result<ChildEnd> {
        // This fails only if all of them have ended.
        let _ = killpg(self.pid, Signal::SIGKILL);
        loop {
            match waitpid(self.pid, None) {
                Ok(WaitStatus::Exited(_, status)) => return Ok(ChildEnd::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(ChildEnd::Killed(signal)),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = self.kill();
        }
        drop(self.child.stdin.take());
    }
}

/// Reads to the end and keeps the last bytes.
fn end_of(mut stderr: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(STDERR_KEPT));
    }
    kept
}
