//! The input of a lane, and the reasons it can end early.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framewalk::rejection::Rejection;
use framewalk::sample::WalkerKind;
use framewalk::walker::Unsupported;
use framewalk::weakening::Weakening;
use model::oracle::statistics::Demand;
use model::run::bounds::RowPool;
use model::run::cell::{CellId, CellOutcome, Inconclusive, NotRun};
use model::run::finding::Fingerprint;
use model::run::known::KnownFailures;
use model::workload::user_program::UserProgram;
use model::workload::{Family, Mode, Overrides, Parameters, Workload, generate};
use process::build::BuildVariant;
use process::deadline::{CalledOff, Deadline};
use process::gate::GateError;
use process::target::{LaunchError, StopError};
use process::unwinder::UnwinderError;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A target that does not reach its next gate within this time, or a walker that does not answer, is given up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One workload on one row in one lane, with everything that determines how it runs.
pub struct Cell<'a> {
    /// Its name in reports.
    pub id: &'a CellId,
    /// The build and run mode.
    pub row: &'a BuildVariant,
    /// The workload's family. Meaningless if `program` is set.
    pub family: Family,
    /// The user's program, which runs instead of a generated one.
    pub program: Option<&'a UserProgram>,
    /// The workload parameters that the user overrode.
    pub overrides: Overrides,
    /// Faults put into our own cached walker.
    pub weakenings: &'a BTreeSet<Weakening>,
    /// The confidence that comparisons of the live lane must reach.
    pub demand: Demand,
    /// Known failures of the released builds.
    pub known: &'a KnownFailures,
    /// The counts of the live lane so far, by row.
    pub rows: &'a Mutex<BTreeMap<String, RowPool>>,
    /// Whether the live lane compares profiles with the truth.
    pub profiles: bool,
    /// When the cell's share of the budget is spent.
    pub deadline: Instant,
    /// When the run's budget and its grace period are spent. Nothing waits beyond this, not even for a target that is
    /// starting.
    pub limit: Instant,
    /// How often to stop a target for each cached walker, if a count rather than time bounds the cell.
    pub stops: Option<u32>,
    /// How many schedules the stepped lane runs, if a count rather than time bounds the cell.
    pub schedules: Option<u32>,
    /// Whether this is the first cell of its kind in the run. The kept schedules run only there.
    pub is_first: bool,
    /// Set when the user stops the run.
    pub interrupted: &'a AtomicBool,
    /// The failure whose appearance ends the run.
    pub sought: Option<&'a Sought>,
    /// The folder for the targets' files.
    pub folder: &'a Path,
}

/// A failure to look for. The run ends once it is seen.
#[derive(Debug)]
pub struct Sought {
    fingerprint: Fingerprint,
    seen: AtomicBool,
}

impl Sought {
    /// Looks for this failure, which has not been seen yet.
    #[must_use]
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, seen: AtomicBool::new(false) }
    }

    /// Marks the failure as seen if the fingerprint matches.
    pub fn look(&self, fingerprint: &Fingerprint) {
        if *fingerprint == self.fingerprint {
            self.seen.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the failure was seen.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }
}

/// Why a cell ended before its deadline.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The target or a walker could not be set up.
    #[error("{0}")]
    SetUp(String),
    /// The cell cannot give a verdict.
    #[error(transparent)]
    Inconclusive(#[from] Inconclusive),
    /// The target did not reach a place where it can be stopped, and still runs.
    #[error("{0}")]
    NotStopped(String),
}

impl From<CellError> for CellOutcome {
    fn from(cut: CellError) -> Self {
        match cut {
            CellError::SetUp(why) => Self::NotRun(NotRun::SetUp(why)),
            CellError::Inconclusive(why) => Self::Inconclusive(why),
            CellError::NotStopped(why) => Self::Inconclusive(Inconclusive::Deadline(why)),
        }
    }
}

impl From<LaunchError> for CellError {
    fn from(error: LaunchError) -> Self {
        match error {
            LaunchError::NotReady { source: GateError::CalledOff(why), .. } => why.into(),
            LaunchError::NotReady { source: GateError::Deadline { .. }, .. } => {
                Self::Inconclusive(Inconclusive::Deadline(error.to_string()))
            }
            _ => Self::SetUp(error.to_string()),
        }
    }
}

impl From<CalledOff> for CellError {
    fn from(why: CalledOff) -> Self {
        Self::Inconclusive(match why {
            CalledOff::Interrupted => Inconclusive::Interrupted,
            CalledOff::BudgetSpent => Inconclusive::Deadline(why.to_string()),
        })
    }
}

impl From<GateError> for CellError {
    fn from(error: GateError) -> Self {
        let text = error.to_string();
        Self::Inconclusive(match error {
            GateError::CalledOff(why) => return why.into(),
            GateError::Deadline { .. } => Inconclusive::Deadline(text),
            _ => Inconclusive::TargetEnded(text),
        })
    }
}

impl From<StopError> for CellError {
    fn from(error: StopError) -> Self {
        Self::Inconclusive(Inconclusive::TargetEnded(error.to_string()))
    }
}

impl From<UnwinderError> for CellError {
    fn from(error: UnwinderError) -> Self {
        let text = error.to_string();
        match error {
            UnwinderError::CalledOff(why) => why.into(),
            UnwinderError::Deadline => Self::Inconclusive(Inconclusive::Deadline(text)),
            UnwinderError::NotReady { source, .. } if matches!(*source, UnwinderError::Deadline) => {
                Self::Inconclusive(Inconclusive::Deadline(text))
            }
            UnwinderError::Start { .. } | UnwinderError::NotReady { .. } | UnwinderError::NotAvailable { .. } => {
                Self::SetUp(text)
            }
            UnwinderError::Denied { .. }
            | UnwinderError::Raised { .. }
            | UnwinderError::NotOpen
            | UnwinderError::Ended(_)
            | UnwinderError::Malformed(_)
            | UnwinderError::System(_) => Self::Inconclusive(Inconclusive::Unreadable(text)),
        }
    }
}

impl From<Rejection> for CellError {
    fn from(rejection: Rejection) -> Self {
        Self::Inconclusive(Inconclusive::Unreadable(rejection.to_string()))
    }
}

impl From<Unsupported> for CellError {
    fn from(error: Unsupported) -> Self {
        Self::SetUp(error.to_string())
    }
}

impl Cell<'_> {
    /// Whether the target is a generated program. Attached processes and users' programs have no family.
    #[must_use]
    pub fn is_workload(&self) -> bool {
        self.id.family == self.family.name()
    }

    /// Whether the cell includes `walker`.
    #[must_use]
    pub fn has(&self, walker: WalkerKind) -> bool {
        self.id.walkers.contains(&walker)
    }

    /// The cached walkers of the cell.
    pub fn cached(&self) -> impl Iterator<Item = WalkerKind> + '_ {
        self.id.walkers.iter().copied().filter(|walker| walker.is_cached())
    }

    /// Whether the user stopped the run.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether to stop: the user interrupted the run, or the sought failure was seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_interrupted() || self.sought.is_some_and(Sought::is_seen)
    }

    /// The outcome, if the cell is over before its deadline.
    #[must_use]
    pub fn ended_early(&self) -> Option<CellOutcome> {
        match (self.is_interrupted(), self.is_over()) {
            (true, _) => Some(CellOutcome::Inconclusive(Inconclusive::Interrupted)),
            (false, true) => Some(CellOutcome::Ran),
            (false, false) => None,
        }
    }

    /// How long to wait for an answer. Only a hang takes that long; the end of the run ends the wait earlier.
    #[must_use]
    pub fn patience(&self) -> Deadline {
        patience().within(self.limit)
    }

    /// Generates the cell's workload in this mode. The result is the same each time.
    #[must_use]
    pub fn workload(&self, mode: Mode) -> Workload {
        let mut random = ChaCha8Rng::seed_from_u64(self.id.seed);
        let parameters = Parameters::draw(self.family, &mut random).overridden(self.family, self.overrides);
        generate(self.family, mode, &parameters, self.id.seed)
    }

    /// The run mode, in the form that target launches take.
    #[must_use]
    pub fn jit(&self) -> Option<bool> {
        self.row.jit.switch()
    }

    /// The deadline of the `index`th of `count` equal parts of the remaining time. If a stop count bounds the cell, the
    /// cell's deadline.
    #[must_use]
    pub fn part(&self, index: u32, count: u32) -> Instant {
        if self.stops.is_some() {
            return self.deadline;
        }
        let now = Instant::now();
        let left = self.deadline.saturating_duration_since(now);
        now + left / count.saturating_sub(index).max(1)
    }
}

/// A deadline that only a hang can reach. Ctrl-C ends the wait at once.
#[must_use]
pub fn patience() -> Deadline {
    Deadline::interruptible(PATIENCE)
}

#[cfg(test)]
mod tests {
    use process::target::{ChildEnd, Ended};

    use super::*;

    fn late() -> GateError {
        GateError::Deadline { pid: 7, seconds: 20.0, stderr: String::new() }
    }

    #[test]
    fn a_deadline_is_inconclusive_wherever_it_passes() {
        let not_ready = LaunchError::NotReady { python: "/py".into(), source: late() };
        let unwinder = UnwinderError::Deadline;
        for (cut, words) in
            [(CellError::from(late()), "process 7"), (not_ready.into(), "/py did not start"), (unwinder.into(), "")]
        {
            let outcome = CellOutcome::from(cut);
            let CellOutcome::Inconclusive(Inconclusive::Deadline(text)) = &outcome else { panic!("{outcome:?}") };
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_cancelled_wait_blames_nobody() {
        let not_ready = |why| LaunchError::NotReady { python: "/py".into(), source: GateError::CalledOff(why) };
        for why in [CalledOff::Interrupted, CalledOff::BudgetSpent] {
            for cut in [
                CellError::from(not_ready(why)),
                GateError::CalledOff(why).into(),
                UnwinderError::CalledOff(why).into(),
            ] {
                let outcome = CellOutcome::from(cut);
                match why {
                    CalledOff::Interrupted => assert_eq!(outcome, CellOutcome::Inconclusive(Inconclusive::Interrupted)),
                    CalledOff::BudgetSpent => assert!(
                        matches!(&outcome, CellOutcome::Inconclusive(Inconclusive::Deadline(text)) if text.contains("--budget")),
                        "{outcome:?}"
                    ),
                }
            }
        }
    }

    #[test]
    fn a_target_that_ends_is_distinguished_from_one_that_never_started() {
        let ended =
            || GateError::Ended(Ended { pid: 7, end: ChildEnd::Exited(3), stderr: String::new(), failed_in: None });
        let outcome = CellOutcome::from(CellError::from(ended()));
        assert!(matches!(outcome, CellOutcome::Inconclusive(Inconclusive::TargetEnded(_))), "{outcome:?}");
        let outcome =
            CellOutcome::from(CellError::from(LaunchError::NotReady { python: "/py".into(), source: ended() }));
        assert!(matches!(outcome, CellOutcome::NotRun(NotRun::SetUp(_))), "{outcome:?}");
    }
}
