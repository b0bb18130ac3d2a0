//! Exact confidence bounds for proportions, and the comparison of two of them.
//!
//! The rate of impossible stacks depends on load, on luck, and on how long an unlucky stored walk is served. A verdict
//! may therefore use only bounds that hold at the stated confidence, whatever the rate. The bounds are those of Clopper
//! and Pearson. They come from the binomial distribution itself, so they also hold for few samples and for counts of
//! zero. A normal approximation does not.

use serde::{Deserialize, Serialize};

use crate::invariants::Violation;
use crate::oracle::cause::Cause;
use crate::oracle::proportion::Proportion;
use crate::oracle::tally::Tally;

/// What a comparison must guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The probability that no comparison of the run reports a false violation.
    pub confidence: f64,
    /// How many comparisons the run makes. The permitted error is divided among them (Bonferroni).
    pub comparisons: u64,
    /// The excess of the cached rate that must be excluded for the result "not worse".
    pub margin: f64,
}

impl Demand {
    /// The default margin: one stack in a hundred.
    pub const MARGIN: f64 = 0.01;

    /// A demand with the default margin.
    #[must_use]
    pub fn new(confidence: f64, comparisons: u64) -> Self {
        Self { confidence, comparisons, margin: Self::MARGIN }
    }

    /// The error that each bound may have. One comparison uses two bounds.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a count of comparisons is small")]
    pub fn error_per_bound(self) -> f64 {
        (1.0 - self.confidence).clamp(0.0, 1.0) / (2.0 * self.comparisons.max(1) as f64)
    }
}

/// The result of comparing the cached rate with the uncached one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "comparison")]
pub enum Comparison {
    /// The cached rate is higher: the bounds do not overlap.
    CachedWorse {
        /// Lower bound of the cached rate.
        cached_at_least: f64,
        /// Upper bound of the uncached rate.
        uncached_at_most: f64,
    },
    /// The cached rate exceeds the uncached one by less than the margin, if at all.
    NotWorse {
        /// Upper bound of the excess.
        excess_at_most: f64,
    },
    /// There are too few samples for either result.
    CannotTell {
        /// Upper bound of the excess.
        excess_at_most: f64,
    },
}

/// Compares the rates of impossible stacks with and without the cache.
#[must_use]
pub fn compare(cached: Proportion, uncached: Proportion, demand: Demand) -> Comparison {
    let error = demand.error_per_bound();
    let (cached_at_least, uncached_at_most) = (cached.at_least(error), uncached.at_most(error));
    let excess_at_most = (cached.at_most(error) - uncached.at_least(error)).max(0.0);
    if cached_at_least > uncached_at_most {
        Comparison::CachedWorse { cached_at_least, uncached_at_most }
    } else if excess_at_most < demand.margin {
        Comparison::NotWorse { excess_at_most }
    } else {
        Comparison::CannotTell { excess_at_most }
    }
}

/// The violations that follow from the tallies of two walkers on the same target. There is one for each cause whose
/// episodes alone are more frequent than all episodes of impossible stacks without the cache. The known failures decide
/// how much of this, torn reads included, a released build may do.
#[must_use]
pub fn accuse(cached: &Tally, uncached: &Tally, demand: Demand) -> Vec<Violation> {
    let comparisons = demand.comparisons.max(1).saturating_mul(Cause::ALL.len() as u64);
    let demand = Demand { comparisons, ..demand };
    Cause::ALL
        .into_iter()
        .filter_map(|cause| match compare(cached.impossible_share(cause), uncached.impossible_shares(), demand) {
            Comparison::CachedWorse { cached_at_least, uncached_at_most } => {
                Some(Violation::CacheWorse { cause: cause.name().to_owned(), cached_at_least, uncached_at_most })
            }
            Comparison::NotWorse { .. } | Comparison::CannotTell { .. } => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} within {tolerance}");
    }

    #[test]
    fn no_samples_give_no_decision() {
        let nothing = Proportion::new(0, 0);
        assert_eq!((nothing.at_least(0.01), nothing.at_most(0.01)), (0.0, 1.0));
        let demand = Demand::new(0.9999, 1);
        for (cached, uncached) in [(nothing, nothing), (Proportion::new(500, 500), nothing)] {
            assert!(matches!(compare(cached, uncached, demand), Comparison::CannotTell { .. }));
        }
    }

    #[test]
    fn the_cache_is_accused_only_if_the_bounds_are_disjoint() {
        let demand = Demand::new(0.9999, 1);
        let said = |cached: (u64, u64), uncached: (u64, u64)| {
            compare(Proportion::new(cached.0, cached.1), Proportion::new(uncached.0, uncached.1), demand)
        };
        assert!(
            matches!(said((880, 10_000), (1, 10_000)), Comparison::CachedWorse { cached_at_least, uncached_at_most }
            if cached_at_least > 0.07 && uncached_at_most < 0.002)
        );
        assert!(
            matches!(said((2, 10_000), (1, 10_000)), Comparison::NotWorse { excess_at_most } if excess_at_most > 0.0)
        );
        assert!(matches!(said((0, 10_000), (700, 10_000)), Comparison::NotWorse { excess_at_most: 0.0 }));
        assert!(matches!(said((3, 20), (1, 20)), Comparison::CannotTell { .. }));
    }

    #[test]
    fn an_excess_as_large_as_the_margin_is_not_excluded() {
        let said = |margin| {
            let demand = Demand { margin, ..Demand::new(0.9999, 1) };
            compare(Proportion::new(2, 10_000), Proportion::new(1, 10_000), demand)
        };
        let Comparison::NotWorse { excess_at_most } = said(0.01) else { panic!("{:?}", said(0.01)) };
        assert_eq!(said(excess_at_most), Comparison::CannotTell { excess_at_most });
    }

    #[test]
    fn more_comparisons_need_more_evidence() {
        let (cached, uncached) = (Proportion::new(22, 1_000), Proportion::new(0, 1_000));
        let worse = |comparisons| {
            matches!(compare(cached, uncached, Demand::new(0.99, comparisons)), Comparison::CachedWorse { .. })
        };
        assert!(worse(1));
        assert!(!worse(1_000_000));
        close(Demand::new(0.99, 5).error_per_bound(), 0.001, 1e-12);
    }

    #[test]
    fn each_cause_is_accused_separately() {
        let tally = |impossible: &[(Cause, u64)]| Tally {
            samples: 10_500,
            rejected: [("moved".to_owned(), 500)].into(),
            impossible: impossible.iter().copied().collect(),
            impossible_episodes: impossible.iter().copied().collect(),
            ..Tally::default()
        };
        let cached = tally(&[(Cause::TornRead, 3), (Cause::StalePartialHit, 400), (Cause::StaleFullHit, 2)]);
        let accused = accuse(&cached, &tally(&[(Cause::TornRead, 3)]), Demand::new(0.9999, 6));
        let [Violation::CacheWorse { cause, cached_at_least, uncached_at_most }] = accused.as_slice() else {
            panic!("{accused:?}")
        };
        assert_eq!(cause, "stale-partial-hit");
        // The Poisson limit: P(X <= 3) = 0.0001 / (2 * 6 * 5) at a mean of 20.8.
        close(*uncached_at_most, 0.00208, 0.00002);
        assert!(*cached_at_least > 0.031 && *cached_at_least < 0.034, "{cached_at_least}");
        assert_eq!(accuse(&cached, &tally(&[(Cause::TornRead, 400)]), Demand::new(0.9999, 6)), []);
        let torn = accuse(&tally(&[(Cause::TornRead, 400)]), &tally(&[(Cause::TornRead, 3)]), Demand::new(0.9999, 6));
        assert!(matches!(torn.as_slice(), [Violation::CacheWorse { cause, .. }] if cause == "torn-read"), "{torn:?}");
        assert_eq!(accuse(&cached, &Tally::default(), Demand::new(0.9999, 6)), []);
    }
}
