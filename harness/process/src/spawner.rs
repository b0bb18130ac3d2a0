//! One thread that starts every child process.
//!
//! Children ask the kernel to be killed when their parent dies, so that not even `kill -9` of the harness leaves one
//! behind. To the kernel that parent is the *thread* that forked, and the threads of a worker pool come and go:
//! so all children are forked by one thread that lives as long as the process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

struct Request {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

static SPAWNER: OnceLock<Mutex<Sender<Request>>> = OnceLock::new();

/// Starts `command` in a process group of its own (Ctrl-C reaches the harness alone), bound to the harness' life,
/// readable by other children of the harness, and without core dumps.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    let parent = getpid();
    command.process_group(0);
    // SAFETY: the closure runs in the forked child before exec and makes system calls only.
    unsafe { command.pre_exec(move || bind_to(parent)) };
    let (reply, answer) = channel();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel();
        // A refused thread drops the receiver, and the send below then fails with a clear error.
        let _ = std::thread::Builder::new().name("spawner".into()).spawn(move || serve(&requests));
        Mutex::new(sender)
    });
    let ended = || io::Error::other("the thread that starts processes could not be started");
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send(Request { command, reply }).map_err(|_| ended())?;
    answer.recv().map_err(|_| ended())?
}

fn serve(requests: &Receiver<Request>) {
    while let Ok(Request { mut command, reply }) = requests.recv() {
        if let Err(unclaimed) = reply.send(command.spawn())
            && let Ok(mut child) = unclaimed.0
        {
            // Nobody waits for the answer any more: leave nothing running.
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
    // Yama's default lets only ancestors read a process, but the unwinder's driver is a sibling of the target.
    // Kernels without Yama answer EINVAL, and need no permission.
    // SAFETY: this option takes one integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `none` outlives the call. A failure only means that a crash may leave a core file.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    Ok(())
}
