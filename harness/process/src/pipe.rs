//! Pipes to child processes whose reads and writes have deadlines.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::deadline::{Deadline, Over};

/// Makes reads and writes on `fd` return instead of blocking. Only [`wait`] blocks.
pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Waits until one of the descriptors is ready or has hung up, and returns `None`, or until the wait is over, and
/// returns why. A descriptor that is ready when the wait ends still counts as ready.
pub(super) fn wait(waiting: &[(BorrowedFd<'_>, PollFlags)], deadline: Deadline) -> io::Result<Option<Over>> {
    loop {
        let over = deadline.over();
        let mut polled: Vec<PollFd<'_>> = waiting.iter().map(|&(fd, flags)| PollFd::new(fd, flags)).collect();
        polled.extend(deadline.interruption().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let left = deadline.last().saturating_duration_since(Instant::now());
        let left = if over.is_some() { Duration::ZERO } else { left };
        match ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |one: &PollFd<'_>| one.any().unwrap_or(true);
        if polled.iter().take(waiting.len()).any(ready) {
            return Ok(None);
        }
        if over.is_some() {
            return Ok(over);
        }
    }
}

/// How many slices of extra time a process gets before it is considered hung, and the length of a slice.
///
/// The machine itself can stall: a virtual machine is paused, or other processes use all cores. Then a deadline passes
/// although the other side could not run. Separate slices help because a stall of the whole machine uses up only one of
/// them.
const SECOND_CHANCE: (u32, Duration) = (30, Duration::from_millis(100));

/// Like [`wait`], but reports a hang only after the extra time of [`SECOND_CHANCE`].
pub(super) fn wait_for_answer(waiting: &[(BorrowedFd<'_>, PollFlags)], deadline: Deadline) -> io::Result<Option<Over>> {
    let mut over = wait(waiting, deadline)?;
    let (slices, slice) = SECOND_CHANCE;
    for _ in 0..slices {
        if over != Some(Over::Hangs) {
            break;
        }
        over = wait(waiting, deadline.again(slice))?;
    }
    Ok(over)
}

/// The result of one attempt to move bytes.
pub(super) enum Moved {
    Bytes(usize),
    /// Nothing could be moved yet.
    Later,
    /// The other end is closed.
    Closed,
}

/// Reads the available bytes, up to the buffer's size.
pub(super) fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Moved> {
    match nix::unistd::read(fd, buffer) {
        Ok(0) => Ok(Moved::Closed),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Moved::Later),
        Err(error) => Err(error.into()),
    }
}

/// Writes the bytes that fit into the pipe.
pub(super) fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<Moved> {
    match nix::unistd::write(fd, bytes) {
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Moved::Later),
        Err(Errno::EPIPE) => Ok(Moved::Closed),
        Err(error) => Err(error.into()),
    }
}
