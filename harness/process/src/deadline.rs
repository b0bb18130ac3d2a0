//! Until when something is waited for, and what ends a wait before.
//!
//! A wait ends for one of three reasons besides an answer, and they say different things. Nothing that works takes longer
//! than the patience of a wait: then the other side hangs. The time of the run can be spent, and the user can stop the run:
//! both say nothing about the other side.

use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use thiserror::Error;

/// Until when something is waited for. A plain [`Instant`] is a deadline that only a hang reaches.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    hangs: Instant,
    spent: Option<Instant>,
    interruptible: bool,
}

impl From<Instant> for Deadline {
    fn from(hangs: Instant) -> Self {
        Self { hangs, spent: None, interruptible: false }
    }
}

impl Deadline {
    /// Who does not answer within `patience` hangs; [`interrupt`] ends the wait at once.
    #[must_use]
    pub fn interruptible(patience: Duration) -> Self {
        Self { hangs: Instant::now() + patience, spent: None, interruptible: true }
    }

    /// The same wait, which also ends when the time of the run is over.
    #[must_use]
    pub fn within(self, spent: Instant) -> Self {
        Self { spent: Some(spent), ..self }
    }

    /// The same wait, but who does not answer within `patience` from now on hangs.
    pub(super) fn again(self, patience: Duration) -> Self {
        Self { hangs: Instant::now() + patience, ..self }
    }

    /// The moment at which a wait ends that nothing interrupts.
    pub(super) fn last(&self) -> Instant {
        self.spent.map_or(self.hangs, |spent| spent.min(self.hangs))
    }

    /// What is readable once the wait is interrupted; none if nothing interrupts it.
    pub(super) fn interruption(&self) -> Option<BorrowedFd<'static>> {
        if self.interruptible { Some(bell()?.reader.as_fd()) } else { None }
    }

    /// Why the wait is over, if it is.
    pub(super) fn over(&self) -> Option<Over> {
        let now = Instant::now();
        if self.interruptible && INTERRUPTED.load(Ordering::Relaxed) {
            return Some(Over::CalledOff(CalledOff::Interrupted));
        }
        match self.spent {
            // A run whose time is up first says nothing about who would have answered later.
            Some(spent) if now >= spent && spent <= self.hangs => Some(Over::CalledOff(CalledOff::BudgetSpent)),
            _ => (now >= self.hangs).then_some(Over::Hangs),
        }
    }
}

/// Why a wait ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The other side hangs.
    Hangs,
    /// Nobody wants the answer any more.
    CalledOff(CalledOff),
}

/// Why an answer is not waited for any more. It says nothing about who was to give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CalledOff {
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
    /// The time of the run is over.
    #[error("the budget of the run and its grace were spent while an answer was waited for; give a longer --budget")]
    BudgetSpent,
}

/// Set for good by [`interrupt`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A pipe that holds a byte once the run is interrupted. Nobody reads it, so every wait that polls it wakes up.
struct Bell {
    reader: PipeReader,
    writer: PipeWriter,
}

fn bell() -> Option<&'static Bell> {
    static BELL: OnceLock<Option<Bell>> = OnceLock::new();
    // Without descriptors left for it, waits are not interrupted, and end by their patience.
    BELL.get_or_init(|| pipe().ok().map(|(reader, writer)| Bell { reader, writer })).as_ref()
}

/// Ends every interruptible wait of this process, now and from now on. A process has one user who can stop it, so this is
/// no property of a single wait.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
    if let Some(bell) = bell() {
        // It can only fail once the pipe is full, and then it has rung.
        let _ = (&bell.writer).write(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn a_wait_ends_by_what_comes_first() {
        let now = Instant::now();
        let hangs = Deadline::from(now);
        assert_eq!((hangs.over(), hangs.last()), (Some(Over::Hangs), now));
        assert_eq!(hangs.within(now + LONG).over(), Some(Over::Hangs));
        assert_eq!(Deadline::from(now + LONG).over(), None);
        let spent = Deadline::from(now + LONG).within(now);
        assert_eq!((spent.over(), spent.last()), (Some(Over::CalledOff(CalledOff::BudgetSpent)), now));
    }

    #[test]
    fn only_a_wait_that_may_be_interrupted_listens() {
        assert!(Deadline::from(Instant::now()).interruption().is_none());
        assert!(Deadline::interruptible(LONG).within(Instant::now()).interruption().is_some());
    }
}
