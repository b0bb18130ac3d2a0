//! Targets for tests.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use framewalk::memory::{MemoryError, RemoteMemory};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use process::memory::ProcessMemory;
use process::target::Target;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::executable::write_executable;

/// The target's side of the gate protocol.
pub const PROLOGUE: &str = "
import os, sys, json, struct, threading
def gate(context):
    os.write(1, struct.pack('<II', context, threading.get_native_id()))
    while os.read(0, 1) != b'g': account(sys._getframe())
def account(frame):
    frames = []
    while frame:
        frames.append([frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno])
        frame = frame.f_back
    data = json.dumps(frames).encode()
    os.write(1, struct.pack('<I', len(data)) + data)
os.write(1, b'framdiff')
os.read(0, 1)
";

pub fn python() -> PathBuf {
    super::release().python
}

/// A deadline that is only reached by a hang.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

pub struct Gated {
    pub source: String,
    pub jit: Option<bool>,
}

impl Gated {
    pub fn new(source: &str) -> Self {
        Self { source: source.into(), jit: None }
    }

    pub fn start(self) -> Target {
        let mut target = Target::launch(&python(), self.jit, &self.source, &std::env::temp_dir(), soon()).unwrap();
        target.start(soon()).unwrap();
        target
    }
}

/// A target that was launched and released.
pub fn started(source: &str) -> Target {
    Gated::new(source).start()
}

/// A process that need not be a child, with a descriptor that shows its end.
pub struct Watched(OwnedFd);

impl Watched {
    pub fn new(pid: i32) -> Self {
        Self(pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap())
    }

    pub fn ends_before(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::try_from(left).unwrap()).unwrap() == 1
    }
}

/// The first line of `output` that contains `mark`, from after the mark.
pub fn line_after(output: ChildStdout, mark: &str) -> String {
    BufReader::new(output)
        .lines()
        .map(Result::unwrap)
        .find_map(|line| line.split_once(mark).map(|(_, rest)| rest.trim().to_owned()))
        .unwrap()
}

/// A process that is not Python. It ends when its standard input closes, which happens on drop.
pub struct Cat(Child);

impl Cat {
    pub fn start(program: &Path) -> Self {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // `spawn` may return before the exec is complete. An echo proves that it is.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Cat {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// An error from a read of another process that the kernel refuses, even if root runs the tests.
pub fn refused_read() -> MemoryError {
    let read = |cat: &Cat| ProcessMemory::new(cat.pid()).read(0x1000, &mut [0; 8]).unwrap_err();
    if nix::unistd::geteuid().is_root() {
        let cat = Cat::start(Path::new("cat"));
        // Credentials belong to threads. Only glibc's wrapper applies a change to all of them.
        return std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                const NOBODY: u32 = 65534;
                // SAFETY: the call takes three integers, and only this thread, which ends below, changes its user.
                let set = unsafe { nix::libc::syscall(nix::libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
                assert_eq!(set, 0, "cannot become another user");
                read(&cat)
            });
            reader.join().unwrap()
        });
    }
    // A user who may not read an executable may not read the memory of the processes that run it.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("cat");
    write_executable(&copy, &std::fs::read(which::which("cat").unwrap()).unwrap());
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o111)).unwrap();
    read(&Cat::start(&copy))
}

/// Writes a shell script into `folder`.
pub fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
    let path = folder.join(name);
    write_executable(&path, format!("#!/bin/sh\n{body}\n").as_bytes());
    path
}
