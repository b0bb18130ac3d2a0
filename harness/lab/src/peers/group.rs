//! A process with descendants of its own, all of which end with it.

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
use process::target::End;

/// How often the caller is asked whether to go on while nothing comes.
const ASK: Duration = Duration::from_millis(50);
/// How much is kept of the error output: its end, where the reason stands.
const STDERR_KEPT: usize = 8 << 10;
/// The longest line that is taken for one.
const LINE_LIMIT: u64 = 1 << 20;
/// After the kill nothing is left to write, except by a descendant that left the process group.
const AFTER_THE_KILL: Duration = Duration::from_secs(1);

/// What came next from a [`Group`].
pub(super) enum Next {
    /// A line of its output.
    Line(Vec<u8>),
    /// Its first process ended, and all its lines were given.
    Ended(End),
    /// The deadline passed.
    Deadline,
    /// The caller wants no more.
    Interrupted,
}

/// A process in a process group of its own. The whole group is killed when the process ends and when this is dropped; if the
/// harness is killed, the kernel kills the first process, and its standard input, which is held open here, closes.
pub(super) struct Group {
    child: Child,
    pid: Pid,
    lines: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    /// Told when the first process has ended.
    end: Receiver<()>,
    ended: Option<End>,
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
            // It stays unreaped, so that its number cannot be another's.
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            send.send(())
        });
        Ok(Self { child, pid, lines, stderr, end, ended: None })
    }

    /// Waits for a line or the end.
    pub(super) fn next(&mut self, deadline: Instant, interrupted: &dyn Fn() -> bool) -> io::Result<Next> {
        loop {
            if interrupted() {
                return Ok(Next::Interrupted);
            }
            if let Some(end) = self.ended {
                // The group is dead, so that the pipe closes at once.
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
                // It closed its output, and may still run.
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.end.recv_timeout(ASK.min(deadline - now));
                }
            }
            if self.has_ended()? {
                self.ended = Some(self.kill()?);
            }
        }
    }

    /// The end of the error output, once the group is killed.
    pub(super) fn stderr(&mut self) -> String {
        if self.ended.is_none() {
            self.ended = self.kill().ok();
        }
        let bytes = self.stderr.recv_timeout(AFTER_THE_KILL).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the first process has ended. It stays unreaped, so that its number cannot be another group's.
    fn has_ended(&self) -> io::Result<bool> {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid), look) {
            Ok(status) => Ok(matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..))),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills the group and reaps its first process.
    fn kill(&self) -> io::Result<End> {
        // It fails only if all have ended.
        let _ = killpg(self.pid, Signal::SIGKILL);
        loop {
            match waitpid(self.pid, None) {
                Ok(WaitStatus::Exited(_, status)) => return Ok(End::Exited(status)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(End::Killed(signal)),
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

/// Reads to the end and keeps the last of it.
fn end_of(mut stderr: impl Read) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(STDERR_KEPT));
    }
    kept
}
