//! Runs all that a scheduler says on one rig.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use model::schedule::Scheduler;
use model::schedule::fingerprint::{Answer, LeafKind, SteppedFingerprint};

use super::failures::{Failing, Failures};
use crate::stepped::{Rig, RigError, SteppedRun};

/// Samples of one kind of leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// All of them.
    pub samples: u64,
    /// Those that gave no stack.
    pub rejected: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Schedules that ran and count.
    pub schedules: u64,
    /// Runs that told others' points, and do not count.
    pub told: u64,
    /// Samples, by the kind of leaf that the target had when they began.
    pub leaves: BTreeMap<LeafKind, Leaves>,
    /// Samples without a stack, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// What the cache answered.
    pub answers: BTreeMap<Answer, u64>,
}

impl Tally {
    /// Adds a run that counts.
    pub fn add(&mut self, run: &SteppedRun) {
        self.schedules += 1;
        for sample in &run.samples {
            let leaf = sample.moments.first().map_or(LeafKind::Function, |moment| moment.leaf);
            let leaves = self.leaves.entry(leaf).or_default();
            leaves.samples += 1;
            match &sample.sample.outcome {
                Err(rejection) => {
                    leaves.rejected += 1;
                    *self.rejected.entry(rejection.name()).or_default() += 1;
                }
                Ok(_) => *self.answers.entry(sample.sample.provenance.lookup.into()).or_default() += 1,
            }
        }
    }

    /// Adds what another search counted.
    pub fn merge(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.told += other.told;
        for (leaf, leaves) in &other.leaves {
            let own = self.leaves.entry(*leaf).or_default();
            own.samples += leaves.samples;
            own.rejected += leaves.rejected;
        }
        for (name, count) in &other.rejected {
            *self.rejected.entry(name).or_default() += count;
        }
        for (answer, count) in &other.answers {
            *self.answers.entry(*answer).or_default() += count;
        }
    }

    /// All samples.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.leaves.values().map(|leaves| leaves.samples).sum()
    }
}

/// When a search ends before everything ran.
#[derive(Clone, Copy)]
pub struct Until<'a> {
    /// Then.
    pub deadline: Option<Instant>,
    /// When this says so.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// At the first failure.
    pub first: bool,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything ran.
    Everything,
    /// The first failure was found, and no more was asked for.
    First,
    /// The time was spent.
    Deadline,
    /// It was stopped.
    Interrupted,
}

/// What came of a search.
#[derive(Clone, Debug)]
pub struct Searched {
    /// What was counted.
    pub tally: Tally,
    /// What was found.
    pub failures: Failures,
    /// Why it ended.
    pub ended: Ended,
}

/// Runs what `scheduler` says. `seen` is told of the progress after each run.
///
/// # Errors
/// As [`Rig::run`].
pub fn search<S: Scheduler>(
    rig: &mut Rig,
    samples: u32,
    scheduler: &mut S,
    until: Until<'_>,
    seen: &mut dyn FnMut(&S, &Tally, &Failures),
) -> Result<Searched, RigError> {
    let (mut tally, mut failures) = (Tally::default(), Failures::default());
    let ended = loop {
        if (until.interrupted)() {
            break Ended::Interrupted;
        }
        if until.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break Ended::Deadline;
        }
        if !scheduler.begin() {
            break Ended::Everything;
        }
        let counted = scheduler.is_counted();
        let run = rig.run(samples, scheduler)?;
        if !counted {
            tally.told += 1;
            continue;
        }
        tally.add(&run);
        if let Some(failing) = Failing::of(&run) {
            failures.add(failing);
            if until.first {
                seen(scheduler, &tally, &failures);
                break Ended::First;
            }
        }
        seen(scheduler, &tally, &failures);
    };
    Ok(Searched { tally, failures, ended })
}

/// Looks for a failure that is `wanted` but for its shape, in so many schedules at most. Gives it, if it came, and how many ran.
///
/// # Errors
/// As [`Rig::run`].
pub fn find(
    rig: &mut Rig,
    samples: u32,
    mut scheduler: &mut dyn Scheduler,
    until: Until<'_>,
    wanted: &SteppedFingerprint,
    limit: u64,
) -> Result<(Option<Failing>, u64), RigError> {
    let wanted = wanted.without_shape();
    let mut found = None;
    let over = AtomicBool::new(false);
    let interrupted = || (until.interrupted)() || over.load(Ordering::Relaxed);
    let until = Until { interrupted: &interrupted, first: false, ..until };
    let searched = search(rig, samples, &mut scheduler, until, &mut |_, tally, failures| {
        let mut kinds = failures.kinds().into_iter();
        let kind = kinds.find(|kind| kind.simplest.fingerprint.without_shape() == wanted);
        found = kind.map(|kind| kind.simplest.clone());
        over.store(found.is_some() || tally.schedules >= limit, Ordering::Relaxed);
    })?;
    Ok((found, searched.tally.schedules))
}
