//! Collects the failures of many schedules, and keeps the simplest schedule of each kind.

use std::collections::BTreeMap;

use model::schedule::fingerprint::SteppedFingerprint;
use model::schedule::shape::Shape;
use model::schedule::{Move, Schedule};

use crate::stepped::SteppedRun;

/// The first failure of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Identifies the kind of the failure.
    pub fingerprint: SteppedFingerprint,
    /// The moves up to the failure.
    pub schedule: Schedule,
    /// The number of samples up to the failure, including the failing one.
    pub samples: u32,
}

impl Failing {
    /// The first failure of a run, if there is one. Later samples are left out.
    #[must_use]
    pub fn of(run: &SteppedRun) -> Option<Self> {
        let (number, _) = run.first_wrong()?;
        let samples = u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
        let until = |one: &&Move| one.at.sample < samples;
        let schedule = Schedule { moves: run.ran.schedule.moves.iter().filter(until).copied().collect() };
        let shape = Shape::of(&schedule, &run.ran.points);
        Some(Self { fingerprint: SteppedFingerprint { shape, ..run.fingerprint(number)? }, schedule, samples })
    }

    /// The order of simplicity: number of moves, number of steps, number of samples, then the moves themselves.
    fn size(&self) -> (usize, u64, u32, &Schedule) {
        (self.schedule.moves.len(), self.schedule.total_steps(), self.samples, &self.schedule)
    }
}

/// All failures with the same fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureKind {
    /// The simplest of them.
    pub simplest: Failing,
    /// How many schedules failed in this way.
    pub count: u64,
}

/// The failures that were found. The order in which they are added does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    kinds: BTreeMap<SteppedFingerprint, FailureKind>,
}

impl Failures {
    /// Adds one failure. Of equal fingerprints, the simplest schedule is kept.
    pub fn add(&mut self, failing: Failing) {
        self.add_kind(FailureKind { simplest: failing, count: 1 });
    }

    /// Adds the failures of another search.
    pub fn merge(&mut self, other: Self) {
        for kind in other.kinds.into_values() {
            self.add_kind(kind);
        }
    }

    pub(super) fn add_kind(&mut self, kind: FailureKind) {
        match self.kinds.get_mut(&kind.simplest.fingerprint) {
            None => drop(self.kinds.insert(kind.simplest.fingerprint.clone(), kind)),
            Some(known) => {
                known.count += kind.count;
                if kind.simplest.size() < known.simplest.size() {
                    known.simplest = kind.simplest;
                }
            }
        }
    }

    /// The kinds, the simplest first.
    #[must_use]
    pub fn kinds(&self) -> Vec<&FailureKind> {
        let mut kinds: Vec<&FailureKind> = self.kinds.values().collect();
        kinds.sort_by(|one, other| {
            (one.simplest.size(), &one.simplest.fingerprint).cmp(&(other.simplest.size(), &other.simplest.fingerprint))
        });
        kinds
    }

    /// How many schedules failed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kinds.values().map(|kind| kind.count).sum()
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(shape: &str, schedule: &str) -> Failing {
        let fingerprint = format!("stepped/own-cached/spliced/full-hit/function/{shape}").parse().unwrap();
        Failing { fingerprint, schedule: schedule.parse().unwrap(), samples: 2 }
    }

    #[test]
    fn each_kind_keeps_its_simplest_schedule_in_any_order() {
        let all = [
            failing("still", "0.0:9"),
            failing("between-samples", "0.0:1,1.0:3"),
            failing("between-samples", "1.0:5"),
            failing("between-samples", "1.0:4"),
            failing("still", "0.0:7"),
        ];
        let of = |order: &[usize]| {
            let mut failures = Failures::default();
            for &index in order {
                failures.add(all[index].clone());
            }
            failures
        };
        let failures = of(&[0, 1, 2, 3, 4]);
        assert_eq!(failures, of(&[4, 3, 2, 1, 0]));
        let mut merged = of(&[0, 3]);
        merged.merge(of(&[1, 2, 4]));
        assert_eq!(merged, failures);
        let kinds: Vec<_> =
            failures.kinds().iter().map(|kind| (kind.simplest.schedule.to_string(), kind.count)).collect();
        assert_eq!(kinds, [("1.0:4".to_owned(), 3), ("0.0:7".to_owned(), 2)]);
        assert_eq!((failures.count(), failures.is_empty()), (5, false));
    }
}
