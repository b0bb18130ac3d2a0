//! Runs all schedules of a scheduler on one rig.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use model::schedule::Scheduler;
use model::schedule::fingerprint::{CacheAnswer, LeafKind, SteppedFingerprint};

use super::failures::{Failing, Failures};
use crate::stepped::{Rig, RigError, SteppedRun};

/// Counts of samples with one kind of leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// All samples, with and without a stack.
    pub samples: u64,
    /// Samples without a stack.
    pub rejected: u64,
}

/// The counts of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchTally {
    /// Schedules that ran and count.
    pub schedules: u64,
    /// Runs that only revealed the points of other schedules, and do not count.
    pub told: u64,
    /// Samples, by the kind of the target's leaf when they began.
    pub leaves: BTreeMap<LeafKind, Leaves>,
    /// Samples without a stack, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Samples with a stack, by the outcome of the cache.
    pub answers: BTreeMap<CacheAnswer, u64>,
}

impl SearchTally {
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

    /// Adds the counts of another search.
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

    /// The number of all samples.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.leaves.values().map(|leaves| leaves.samples).sum()
    }
}

/// What ends a search early.
#[derive(Clone, Copy)]
pub struct Until<'a> {
    /// Ends the search at this time.
    pub deadline: Option<Instant>,
    /// Ends the search once this returns true.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Ends the search at the first failure.
    pub first: bool,
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchStop {
    /// All schedules within the bounds ran.
    Everything,
    /// The first failure was found, which was to end the search.
    First,
    /// The deadline passed before all schedules ran.
    Deadline,
    /// The search was interrupted.
    Interrupted,
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Searched {
    /// The counts of the search.
    pub tally: SearchTally,
    /// The failures that were found.
    pub failures: Failures,
    /// Why the search ended.
    pub ended: SearchStop,
}

/// Runs the schedules of `scheduler`. Calls `seen` with the progress after each run that counts.
///
/// # Errors
/// As [`Rig::run`].
pub fn search<S: Scheduler>(
    rig: &mut Rig,
    samples: u32,
    scheduler: &mut S,
    until: Until<'_>,
    seen: &mut dyn FnMut(&S, &SearchTally, &Failures),
) -> Result<Searched, RigError> {
    let (mut tally, mut failures) = (SearchTally::default(), Failures::default());
    let ended = loop {
        if (until.interrupted)() {
            break SearchStop::Interrupted;
        }
        if until.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break SearchStop::Deadline;
        }
        if !scheduler.begin() {
            break SearchStop::Everything;
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
                break SearchStop::First;
            }
        }
        seen(scheduler, &tally, &failures);
    };
    Ok(Searched { tally, failures, ended })
}

/// Searches for a failure that equals `wanted` except for its shape, in at most `limit` schedules. Returns the failure,
/// if it occurred, and how many schedules ran.
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
