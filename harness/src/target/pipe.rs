//! Pipes with deadlines.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Makes reads and writes return instead of waiting; waiting is done by [`wait`] alone.
pub(super) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Waits until one of the descriptors is ready for what is asked of it, or has hung up; `false` once `deadline` has
/// passed.
pub(super) fn wait(waiting: &[(BorrowedFd<'_>, PollFlags)], deadline: Instant) -> io::Result<bool> {
    loop {
        let mut polled: Vec<PollFd<'_>> = waiting.iter().map(|&(fd, flags)| PollFd::new(fd, flags)).collect();
        let left = deadline.saturating_duration_since(Instant::now());
        match ppoll(&mut polled, Some(TimeSpec::from_duration(left)), None) {
            Ok(0) if left == Duration::ZERO => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
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
