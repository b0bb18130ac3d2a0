//! Pipes with deadlines.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::deadline::{Deadline, Over};

/// Makes reads and writes return instead of waiting; waiting is done by [`wait`] alone.
pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Waits until one of the descriptors is ready for what is asked of it, or has hung up; then nothing is given, else why
/// the wait is over. What is ready when the wait is over still counts.
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

/// A machine can stand still itself: a virtual one is paused, or all cores are busy with others. Then a deadline passes without any
/// fault of the other side, which has not run either. So who seems to hang gets so many slices of time more, each of which the
/// whole machine has to live through.
const SECOND_CHANCE: (u32, Duration) = (30, Duration::from_millis(100));

/// [`wait`] for an answer: that it is over because the other side hangs is said of one that had its second chance.
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

/// What one attempt to move bytes gave.
pub(super) enum Moved {
    /// This many bytes.
    Bytes(usize),
    /// None yet.
    Later,
    /// The other end is closed.
    Closed,
}

/// Reads what is there, up to the buffer's size.
pub(super) fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Moved> {
    match nix::unistd::read(fd, buffer) {
        Ok(0) => Ok(Moved::Closed),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Moved::Later),
        Err(error) => Err(error.into()),
    }
}

/// Writes what fits.
pub(super) fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<Moved> {
    match nix::unistd::write(fd, bytes) {
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Moved::Later),
        Err(Errno::EPIPE) => Ok(Moved::Closed),
        Err(error) => Err(error.into()),
    }
}
