//! Takes the anchors of a running process for a walker, and gives them back.

use std::time::{Duration, Instant};

use framewalk::memory::RemoteMemory;
use framewalk::rejection::Rejection;
use framewalk::walker::Walker;

use crate::cell::CellError;
/// A running target's thread list can be unreadable while a thread ends. If it stays unreadable for this long, the
/// target is considered gone.
pub(super) const LOST: Duration = Duration::from_secs(2);

pub(super) fn attach(walker: &mut dyn Walker, memory: &mut dyn RemoteMemory) -> Result<(), CellError> {
    persist(|| walker.attach(memory))
}

pub(super) fn detach(walker: &mut dyn Walker, memory: &mut dyn RemoteMemory) -> Result<(), CellError> {
    persist(|| walker.detach(memory))
}

/// Retries an action until it works. A thread of the running target that is just ending can make it fail.
fn persist(mut action: impl FnMut() -> Result<(), Rejection>) -> Result<(), CellError> {
    let until = Instant::now() + LOST;
    loop {
        match action() {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < until => {}
            Err(rejection) => return Err(rejection.into()),
        }
    }
}
