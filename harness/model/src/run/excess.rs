//! Excesses of the live lane count only if they are measured again.
//!
//! The confidence bounds of a share take its samples as independent. They are not: how often a target moves during a
//! walk depends on how the machine happens to schedule target and walkers, for a second or so at a time. One short
//! measurement of an untouched build can therefore exceed a bound by luck. A fault exceeds it every time. So an excess
//! is measured [`MEASUREMENTS`] times, each time on a new target, and counts only if every measurement has it.
//!
//! Two kinds of violations count at once: errors that no release raises, because one of them is enough, and what an
//! entry of the known failures excuses, because it does not fail the run.

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::invariants::Violation;
use crate::run::finding::Fingerprint;

/// How many measurements must have an excess.
pub const MEASUREMENTS: usize = 3;

/// The violations of a pair of walkers, measured up to [`MEASUREMENTS`] times.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// How many measurements there are.
    count: usize,
    /// What they found, by walker, clause and share.
    found: Vec<Found>,
}

/// One violation in all measurements that have it.
#[derive(Clone, Debug)]
struct Found {
    walker: WalkerKind,
    /// The first one that does not count at once.
    excess: Option<Violation>,
    /// The one with the smallest excess.
    weakest: Violation,
    /// Whether the weakest counts at once.
    counts: bool,
    /// How many measurements have it.
    times: usize,
}

/// What the measurements show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The violations that count, each with the numbers of the measurement in which it is weakest.
    pub violations: Vec<(WalkerKind, Violation)>,
    /// The excesses that were not in every measurement, as they were seen first.
    pub unconfirmed: Vec<(WalkerKind, Violation)>,
}

impl Measured {
    /// Adds a measurement. `is_excused` says whether an entry of the known failures excuses a violation.
    pub fn add(
        &mut self,
        violations: Vec<(WalkerKind, Violation)>,
        is_excused: impl Fn(WalkerKind, &Violation) -> bool,
    ) {
        self.count += 1;
        for (walker, violation) in violations {
            let counts = !is_statistical(&violation) || is_excused(walker, &violation);
            let excess = (!counts).then(|| violation.clone());
            let same = |found: &&mut Found| found.walker == walker && is_same(&found.weakest, &violation);
            match self.found.iter_mut().find(same) {
                None => self.found.push(Found { walker, excess, weakest: violation, counts, times: 1 }),
                Some(found) => {
                    found.times += 1;
                    found.excess = found.excess.take().or(excess);
                    if strength(&violation) < strength(&found.weakest) {
                        (found.weakest, found.counts) = (violation, counts);
                    }
                }
            }
        }
    }

    /// Whether another measurement can decide something: every measurement so far has an excess that does not count
    /// yet.
    #[must_use]
    pub fn needs_another(&self) -> bool {
        self.count < MEASUREMENTS && self.found.iter().any(|found| found.times == self.count && !found.counts)
    }

    /// How many measurements there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// What the measurements show.
    #[must_use]
    pub fn shown(self) -> Shown {
        let mut shown = Shown::default();
        for Found { walker, excess, weakest, counts, times } in self.found {
            let is_confirmed = times >= MEASUREMENTS && !counts;
            if counts || is_confirmed {
                shown.violations.push((walker, weakest));
            }
            shown.unconfirmed.extend(excess.filter(|_| !is_confirmed).map(|excess| (walker, excess)));
        }
        shown
    }
}

/// Whether the violation is a share beyond a bound that luck can exceed. A bound of zero means that no release raises
/// the error at all.
fn is_statistical(violation: &Violation) -> bool {
    match violation {
        Violation::MoreThanReleased { most, .. } => *most > 0.0,
        Violation::CacheWorse { .. } | Violation::LessThanReleased { .. } => true,
        _ => false,
    }
}

/// Whether two violations are about the same share.
fn is_same(one: &Violation, other: &Violation) -> bool {
    one.name() == other.name() && what(one) == what(other)
}

fn what(violation: &Violation) -> Option<&str> {
    match violation {
        Violation::CacheWorse { cause: what, .. }
        | Violation::MoreThanReleased { what, .. }
        | Violation::LessThanReleased { what, .. } => Some(what),
        _ => None,
    }
}

/// How far the share is beyond its bound, for comparison with the same share of another measurement.
fn strength(violation: &Violation) -> f64 {
    match violation {
        Violation::CacheWorse { cached_at_least, .. } => *cached_at_least,
        Violation::MoreThanReleased { at_least, .. } => *at_least,
        Violation::LessThanReleased { at_most, .. } => -at_most,
        _ => 0.0,
    }
}

/// An excess that was seen and not confirmed. It does not influence the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// The walker that was measured.
    pub walker: WalkerKind,
    /// The fingerprint that the violation would have.
    pub fingerprint: Fingerprint,
    /// The excess in words, with the numbers of the first measurement that has it.
    pub excess: String,
    /// How many measurements were made in all.
    pub measurements: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHED: WalkerKind = WalkerKind::CpythonCached;

    fn more(at_least: f64) -> (WalkerKind, Violation) {
        (CACHED, Violation::MoreThanReleased { what: "stale-partial-hit".into(), at_least, most: 0.03 })
    }

    fn worse(cached_at_least: f64) -> (WalkerKind, Violation) {
        (CACHED, Violation::CacheWorse { cause: "stale-partial-hit".into(), cached_at_least, uncached_at_most: 0.0 })
    }

    fn fewer(at_most: f64) -> (WalkerKind, Violation) {
        (CACHED, Violation::LessThanReleased { what: "hits".into(), at_most, least: 0.2 })
    }

    fn raised() -> (WalkerKind, Violation) {
        (CACHED, Violation::MoreThanReleased { what: "raised KeyError: N".into(), at_least: 0.001, most: 0.0 })
    }

    /// Takes measurements from `all` for as long as another one is needed. An excess of the cached walker over the
    /// uncached one is excused up to 5 %.
    fn measure(all: &[&[(WalkerKind, Violation)]]) -> (usize, Shown) {
        let is_excused = |_, violation: &Violation| matches!(violation, Violation::CacheWorse { cached_at_least, .. } if *cached_at_least <= 0.05);
        let mut measured = Measured::default();
        for violations in all {
            measured.add(violations.to_vec(), is_excused);
            if !measured.needs_another() {
                break;
            }
        }
        (measured.count(), measured.shown())
    }

    fn shown(violations: &[(WalkerKind, Violation)], unconfirmed: &[(WalkerKind, Violation)]) -> Shown {
        Shown { violations: violations.to_vec(), unconfirmed: unconfirmed.to_vec() }
    }

    #[test]
    fn an_excess_in_every_measurement_is_a_violation_with_the_weakest_numbers() {
        let all: [&[_]; 3] = [&[more(0.3), fewer(0.05)], &[more(0.2), fewer(0.1)], &[fewer(0.02), more(0.25)]];
        assert_eq!(measure(&all), (3, shown(&[more(0.2), fewer(0.1)], &[])));
    }

    #[test]
    fn an_excess_that_one_measurement_lacks_is_not_confirmed() {
        assert_eq!(measure(&[&[more(0.08)], &[], &[more(0.08)]]), (2, shown(&[], &[more(0.08)])));
        assert_eq!(measure(&[&[more(0.08)], &[more(0.09)], &[]]), (3, shown(&[], &[more(0.08)])));
        // The excess of another walker, or of another share, confirms nothing.
        let (_, violation) = more(0.08);
        let other = (WalkerKind::CpythonUncached, violation);
        assert_eq!(measure(&[&[more(0.08)], std::slice::from_ref(&other)]), (2, shown(&[], &[more(0.08), other])));
        assert_eq!(measure(&[&[more(0.08)], &[worse(0.08)]]), (2, shown(&[], &[more(0.08), worse(0.08)])));
    }

    #[test]
    fn each_excess_is_confirmed_by_itself() {
        let all: [&[_]; 3] = [&[more(0.3), fewer(0.05)], &[more(0.3)], &[more(0.3), fewer(0.05)]];
        assert_eq!(measure(&all), (3, shown(&[more(0.3)], &[fewer(0.05)])));
    }

    #[test]
    fn nothing_beyond_a_bound_needs_one_measurement() {
        assert_eq!(measure(&[&[], &[more(0.3)]]), (1, Shown::default()));
    }

    #[test]
    fn an_error_that_no_release_raises_counts_at_once() {
        assert_eq!(measure(&[&[raised()]]), (1, shown(&[raised()], &[])));
        let all: [&[_]; 2] = [&[raised(), more(0.3)], &[]];
        assert_eq!(measure(&all), (2, shown(&[raised()], &[more(0.3)])));
        // It may also occur only when another excess is measured again.
        let all: [&[_]; 2] = [&[more(0.3)], &[raised()]];
        assert_eq!(measure(&all), (2, shown(&[raised()], &[more(0.3)])));
        let died = (CACHED, Violation::UnwinderHung);
        assert_eq!(measure(&[std::slice::from_ref(&died)]), (1, shown(&[died], &[])));
    }

    #[test]
    fn what_is_known_is_reported_after_one_measurement() {
        assert_eq!(measure(&[&[worse(0.04)], &[]]), (1, shown(&[worse(0.04)], &[])));
        let all: [&[_]; 3] = [&[worse(0.04), more(0.3)], &[more(0.3)], &[more(0.3)]];
        assert_eq!(measure(&all), (3, shown(&[worse(0.04), more(0.3)], &[])));
    }

    #[test]
    fn an_excess_beyond_what_is_known_is_known_if_it_is_within_it_when_measured_again() {
        assert_eq!(measure(&[&[worse(0.09)], &[worse(0.03)]]), (2, shown(&[worse(0.03)], &[worse(0.09)])));
        let all: [&[_]; 3] = [&[worse(0.09)], &[worse(0.07)], &[worse(0.08)]];
        assert_eq!(measure(&all), (3, shown(&[worse(0.07)], &[])));
    }
}
