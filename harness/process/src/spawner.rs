//! The one thread that starts every child process.
//!
//! Children ask the kernel to kill them when their parent dies, so not even `kill -9` of the harness leaves one behind.
//! For the kernel the parent is the *thread* that forked. Threads of a worker pool come and go, so one thread that
//! lives as long as the process forks all children.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

use crate::limits;

struct Request {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();

/// Starts `command` in its own process group, so that Ctrl-C reaches only the harness. The child dies with the harness,
/// may be read by other children of the harness, and leaves no core dumps.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    let parent = getpid();
    command.process_group(0);
    // SAFETY: the closure runs in the forked child before exec and makes system calls only.
    unsafe { command.pre_exec(move || bind_to(parent)) };
    let (reply, answer) = channel();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel();
        // If the thread cannot be started, the receiver is dropped and the send below fails with a clear error.
        let _ = std::thread::Builder::new().name("spawner".into()).spawn(move || serve(&requests));
        Mutex::new(sender)
    });
    let ended = || io::Error::other(limits::exhausted());
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send(Request { command, reply }).map_err(|_| ended())?;
    answer.recv().map_err(|_| ended())?
}

fn serve(requests: &Receiver<Request>) {
    while let Ok(Request { mut command, reply }) = requests.recv() {
        if let Err(unclaimed) = reply.send(command.spawn().map_err(limits::explained))
            && let Ok(mut child) = unclaimed.0
        {
            // The caller no longer waits for the answer: do not leave the child running.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn bind_to(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above took effect.
    if getppid() != parent {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // Yama's default lets only ancestors read a process, but the unwinder's driver is a sibling of the target. Kernels
    // without Yama return EINVAL and need no permission.
    // SAFETY: this option takes one integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` outlives the call. If it fails, a crash may leave a core file.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    Ok(())
}
