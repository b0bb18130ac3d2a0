//! How long to wait for another process, and what ends a wait early.
//!
//! Besides an answer, three things end a wait. After its hang deadline, the other side is considered hung. The budget
//! of the run can be spent, and the user can interrupt the run; neither says anything about the other side.

use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use thiserror::Error;

/// When to stop waiting. A plain [`Instant`] sets a hang deadline only.
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
    /// A wait of at most `patience`, after which the other side is considered hung. [`interrupt`] ends it at once.
    #[must_use]
    pub fn interruptible(patience: Duration) -> Self {
        Self { hangs: Instant::now() + patience, spent: None, interruptible: true }
    }

    /// The same wait, which also ends when the budget of the run is spent.
    #[must_use]
    pub fn within(self, spent: Instant) -> Self {
        Self { spent: Some(spent), ..self }
    }

    /// The same wait with a new hang deadline, `patience` from now.
    pub(super) fn again(self, patience: Duration) -> Self {
        Self { hangs: Instant::now() + patience, ..self }
    }

    /// The latest moment at which the wait ends.
    pub(super) fn last(&self) -> Instant {
        self.spent().map_or(self.hangs, |spent| spent.min(self.hangs))
    }

    /// When the budget of this wait is spent, or of the run.
    fn spent(&self) -> Option<Instant> {
        self.spent.into_iter().chain(end_of_run()).min()
    }

    /// A descriptor that becomes readable when the run is interrupted, or `None` if this wait is not interruptible.
    pub(super) fn interruption(&self) -> Option<BorrowedFd<'static>> {
        if self.interruptible { Some(bell()?.reader.as_fd()) } else { None }
    }

    /// Why the wait is over, if it is.
    pub(super) fn over(&self) -> Option<Over> {
        let now = Instant::now();
        if self.interruptible && INTERRUPTED.load(Ordering::Relaxed) {
            return Some(Over::CalledOff(CalledOff::Interrupted));
        }
        match self.spent() {
            // If the budget ends before the hang deadline, the other side may still have answered in time.
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
    /// The answer is no longer needed.
    CalledOff(CalledOff),
}

/// Why a wait was given up. It says nothing about the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CalledOff {
    /// The user interrupted the run.
    #[error("interrupted")]
    Interrupted,
    /// The budget of the run is spent.
    #[error("the budget of the run and its grace period ended while waiting for an answer; give a longer --budget")]
    BudgetSpent,
}

/// When the run that is under way is over, whatever it waits for.
static RUN_ENDS: RwLock<Option<Instant>> = RwLock::new(None);

/// What a run may take beyond its budget, at least and as a part of it. Work that was begun in time takes less; only a
/// process that does not answer takes so long.
const LEAST_GRACE: Duration = Duration::from_secs(5);
const GRACE: f64 = 0.5;

/// While this exists, no wait of this process lasts longer than the budget of the run and half of it more, or 5 s more.
#[derive(Debug)]
pub struct BoundedRun(());

impl BoundedRun {
    /// A run that begins now.
    #[must_use]
    pub fn new(budget: Duration) -> Self {
        let end = Instant::now() + budget + budget.mul_f64(GRACE).max(LEAST_GRACE);
        *RUN_ENDS.write().unwrap_or_else(PoisonError::into_inner) = Some(end);
        Self(())
    }
}

impl Drop for BoundedRun {
    fn drop(&mut self) {
        *RUN_ENDS.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn end_of_run() -> Option<Instant> {
    *RUN_ENDS.read().unwrap_or_else(PoisonError::into_inner)
}

/// `patience`, or what is left of the run if that is less.
#[cfg(target_arch = "x86_64")]
pub(super) fn within_run(patience: Duration) -> Duration {
    end_of_run().map_or(patience, |end| patience.min(end.saturating_duration_since(Instant::now())))
}

/// Set by [`interrupt`] and never cleared.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A pipe that holds a byte once the run is interrupted. Nobody reads that byte, so every wait that polls the pipe
/// wakes up.
struct Bell {
    reader: PipeReader,
    writer: PipeWriter,
}

fn bell() -> Option<&'static Bell> {
    static BELL: OnceLock<Option<Bell>> = OnceLock::new();
    // If no descriptors are left, waits cannot be interrupted and end at their hang deadline.
    BELL.get_or_init(|| pipe().ok().map(|(reader, writer)| Bell { reader, writer })).as_ref()
}

/// Ends every interruptible wait of this process and every wait for a pipe, now and later. The flag is global because one user stops the whole
/// process.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
    model::files::call_off();
    if let Some(bell) = bell() {
        // The write can only fail if the pipe is full, and then the pipe is readable already.
        let _ = (&bell.writer).write(&[1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn a_wait_ends_at_the_first_of_its_limits() {
        let now = Instant::now();
        let hangs = Deadline::from(now);
        assert_eq!((hangs.over(), hangs.last()), (Some(Over::Hangs), now));
        assert_eq!(hangs.within(now + LONG).over(), Some(Over::Hangs));
        assert_eq!(Deadline::from(now + LONG).over(), None);
        let spent = Deadline::from(now + LONG).within(now);
        assert_eq!((spent.over(), spent.last()), (Some(Over::CalledOff(CalledOff::BudgetSpent)), now));
    }

    #[test]
    fn the_end_of_the_run_ends_every_wait() {
        let now = Instant::now();
        let far = Deadline::from(now + 10 * LONG);
        let run = BoundedRun::new(2 * LONG);
        assert!(far.last() < now + 4 * LONG && Deadline::interruptible(10 * LONG).last() < now + 4 * LONG);
        assert!(far.last() > now + 2 * LONG && Deadline::from(now).last() == now);
        drop(run);
        assert_eq!(far.last(), now + 10 * LONG);
    }

    #[test]
    fn only_interruptible_waits_end_on_ctrl_c() {
        assert!(Deadline::from(Instant::now()).interruption().is_none());
        assert!(Deadline::interruptible(LONG).within(Instant::now()).interruption().is_some());
    }
}
