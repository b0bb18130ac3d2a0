//! What a lane is given to run, and how it ends early.

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
use process::build::Row;
use process::deadline::{CalledOff, Deadline};
use process::gate::GateError;
use process::target::{LaunchError, StopError};
use process::unwinder::UnwinderError;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A target that does not get to its next gate, or a walker that does not answer, within this is given up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One workload on one row in one lane, with everything that decides how it runs.
pub struct Cell<'a> {
    /// Its name in reports.
    pub id: &'a CellId,
    /// Build and run mode.
    pub row: &'a Row,
    /// The workload's family; without a meaning where a program of the user's is run.
    pub family: Family,
    /// The program of the user's that is run in the place of a generated one.
    pub program: Option<&'a UserProgram>,
    /// What the user wants the workload to look like.
    pub overrides: Overrides,
    /// Faults put into the own cached walker.
    pub weakenings: &'a BTreeSet<Weakening>,
    /// What a comparison of the live lane must guarantee.
    pub demand: Demand,
    /// What the released builds were seen to do.
    pub known: &'a KnownFailures,
    /// What CPython's walkers rejected in the live lane so far, by row.
    pub rows: &'a Mutex<BTreeMap<String, RowPool>>,
    /// Whether profiles are held against the truth in the live lane.
    pub profiles: bool,
    /// When the cell's share of the budget is spent.
    pub deadline: Instant,
    /// When the run's budget and its grace are spent: nothing is waited for any longer, not even a target that starts.
    pub limit: Instant,
    /// How often a target is stopped for each cached walker, if that and not the time decides.
    pub stops: Option<u32>,
    /// How many schedules of the stepped lane run, if that and not the time decides.
    pub schedules: Option<u32>,
    /// Whether it is the first cell of its kind in the run: only there the kept schedules run.
    pub is_first: bool,
    /// Set when the user stops the run.
    pub interrupted: &'a AtomicBool,
    /// The failure with which the run is to end.
    pub sought: Option<&'a Sought>,
    /// Where targets' files are written.
    pub folder: &'a Path,
}

/// A failure that is looked for: the run ends when it is seen.
#[derive(Debug)]
pub struct Sought {
    fingerprint: Fingerprint,
    seen: AtomicBool,
}

impl Sought {
    /// Not seen yet.
    #[must_use]
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, seen: AtomicBool::new(false) }
    }

    /// Takes note of a violation.
    pub fn look(&self, fingerprint: &Fingerprint) {
        if *fingerprint == self.fingerprint {
            self.seen.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was seen.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }
}

/// Why a cell ended before its deadline.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The target or a walker could not be set up.
    #[error("{0}")]
    SetUp(String),
    /// Nothing is proved.
    #[error(transparent)]
    Inconclusive(#[from] Inconclusive),
    /// The target did not come to where it is stopped, and still runs.
    #[error("{0}")]
    NotStopped(String),
}

impl From<Cut> for CellOutcome {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::SetUp(why) => Self::NotRun(NotRun::SetUp(why)),
            Cut::Inconclusive(why) => Self::Inconclusive(why),
            Cut::NotStopped(why) => Self::Inconclusive(Inconclusive::Deadline(why)),
        }
    }
}

impl From<LaunchError> for Cut {
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

impl From<CalledOff> for Cut {
    fn from(why: CalledOff) -> Self {
        Self::Inconclusive(match why {
            CalledOff::Interrupted => Inconclusive::Interrupted,
            CalledOff::BudgetSpent => Inconclusive::Deadline(why.to_string()),
        })
    }
}

impl From<GateError> for Cut {
    fn from(error: GateError) -> Self {
        let text = error.to_string();
        Self::Inconclusive(match error {
            GateError::CalledOff(why) => return why.into(),
            GateError::Deadline { .. } => Inconclusive::Deadline(text),
            _ => Inconclusive::TargetEnded(text),
        })
    }
}

impl From<StopError> for Cut {
    fn from(error: StopError) -> Self {
        Self::Inconclusive(Inconclusive::TargetEnded(error.to_string()))
    }
}

impl From<UnwinderError> for Cut {
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

impl From<Rejection> for Cut {
    fn from(rejection: Rejection) -> Self {
        Self::Inconclusive(Inconclusive::Unreadable(rejection.to_string()))
    }
}

impl From<Unsupported> for Cut {
    fn from(error: Unsupported) -> Self {
        Self::SetUp(error.to_string())
    }
}

impl Cell<'_> {
    /// Whether the target is a generated program: a process of somebody else's, or a user's program, has no family.
    #[must_use]
    pub fn is_workload(&self) -> bool {
        self.id.family == self.family.name()
    }

    /// Whether `walker` takes part.
    #[must_use]
    pub fn has(&self, walker: WalkerKind) -> bool {
        self.id.walkers.contains(&walker)
    }

    /// The cached walkers that take part.
    pub fn cached(&self) -> impl Iterator<Item = WalkerKind> + '_ {
        self.id.walkers.iter().copied().filter(|walker| walker.is_cached())
    }

    /// Whether the user stopped the run.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Whether nothing more is to be run: the user stopped it, or the failure that is looked for was seen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_interrupted() || self.sought.is_some_and(Sought::is_seen)
    }

    /// How the cell ended, if it is over before its deadline.
    #[must_use]
    pub fn ended_early(&self) -> Option<CellOutcome> {
        match (self.is_interrupted(), self.is_over()) {
            (true, _) => Some(CellOutcome::Inconclusive(Inconclusive::Interrupted)),
            (false, true) => Some(CellOutcome::Ran),
            (false, false) => None,
        }
    }

    /// Until when an answer is waited for. Only a hang takes that long, and the end of the run ends the wait before.
    #[must_use]
    pub fn patience(&self) -> Deadline {
        patience().within(self.limit)
    }

    /// The cell's program.
    #[must_use]
    pub fn workload(&self, mode: Mode) -> Workload {
        let mut random = ChaCha8Rng::seed_from_u64(self.id.seed);
        let parameters = Parameters::draw(self.family, &mut random).overridden(self.family, self.overrides);
        generate(self.family, mode, &parameters, self.id.seed)
    }

    /// The run mode as targets take it.
    #[must_use]
    pub fn jit(&self) -> Option<bool> {
        self.row.jit.switch()
    }

    /// The deadline of the `index`th of `count` equal parts of what is left; where the time does not decide, of all parts.
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

/// A moment that only a hang can reach. Ctrl-C ends the wait at once.
#[must_use]
pub fn patience() -> Deadline {
    Deadline::interruptible(PATIENCE)
}

#[cfg(test)]
mod tests {
    use process::target::{End, Ended};

    use super::*;

    fn late() -> GateError {
        GateError::Deadline { pid: 7, seconds: 20.0, stderr: String::new() }
    }

    #[test]
    fn a_deadline_proves_nothing_wherever_it_passes() {
        let not_ready = LaunchError::NotReady { python: "/py".into(), source: late() };
        let unwinder = UnwinderError::Deadline;
        for (cut, words) in
            [(Cut::from(late()), "process 7"), (not_ready.into(), "/py did not get ready"), (unwinder.into(), "")]
        {
            let outcome = CellOutcome::from(cut);
            let CellOutcome::Inconclusive(Inconclusive::Deadline(text)) = &outcome else { panic!("{outcome:?}") };
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_wait_that_is_called_off_says_nothing_about_who_was_to_answer() {
        let not_ready = |why| LaunchError::NotReady { python: "/py".into(), source: GateError::CalledOff(why) };
        for why in [CalledOff::Interrupted, CalledOff::BudgetSpent] {
            for cut in
                [Cut::from(not_ready(why)), GateError::CalledOff(why).into(), UnwinderError::CalledOff(why).into()]
            {
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
    fn a_target_that_ends_is_told_from_one_that_never_began() {
        let ended = || GateError::Ended(Ended { pid: 7, end: End::Exited(3), stderr: String::new(), failed_in: None });
        let outcome = CellOutcome::from(Cut::from(ended()));
        assert!(matches!(outcome, CellOutcome::Inconclusive(Inconclusive::TargetEnded(_))), "{outcome:?}");
        let outcome = CellOutcome::from(Cut::from(LaunchError::NotReady { python: "/py".into(), source: ended() }));
        assert!(matches!(outcome, CellOutcome::NotRun(NotRun::SetUp(_))), "{outcome:?}");
    }
}
