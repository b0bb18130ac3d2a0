//! Medians of blocks, ratios of blocks that were measured next to each other, and their confidence intervals.
//!
//! Times depend on the addresses that the kernel and the loader choose anew for each launch, and on other load, which
//! changes from block to block. Intervals are therefore made by resampling first launches and then blocks within them
//! (a two-level bootstrap with percentile intervals). Ratios are taken block by block between neighbours in time, so
//! that load that slows both cancels out.

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::bench::document::Launches;

/// The confidence of displayed intervals.
pub const CONFIDENCE: f64 = 0.95;
/// Number of resamples for one interval.
const RESAMPLES: usize = 2000;
/// Number of resamples for intervals of higher confidence, which depend on the outer tails.
const MANY_RESAMPLES: usize = 10_000;

/// An estimate and its interval at the requested confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower bound of the confidence interval.
    pub low: f64,
    /// The estimate, which lies within the bounds.
    pub value: f64,
    /// The upper bound of the confidence interval.
    pub high: f64,
}

impl Interval {
    /// The reciprocal: the interval of b/a from that of a/b.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { low: 1.0 / self.high, value: 1.0 / self.value, high: 1.0 / self.low }
    }
}

/// The median, or `None` for an empty slice.
#[must_use]
pub fn median(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let (count, middle) = (values.len(), values.len() / 2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().max_by(f64::total_cmp).filter(|_| count.is_multiple_of(2));
    Some(lower.map_or(upper, |lower| f64::midpoint(lower, upper)))
}

/// The median of all blocks with its interval, or `None` if there are no blocks.
#[must_use]
pub fn estimate(launches: &[Vec<f64>], seed: u64) -> Option<Interval> {
    let value = median(&mut launches.concat())?;
    let mut medians = resampled(launches, RESAMPLES, seed);
    interval(value, &mut medians, CONFIDENCE)
}

/// The ratios of two contenders, block by block.
#[must_use]
pub fn ratios(over: &[Vec<f64>], under: &[Vec<f64>]) -> Launches {
    let of = |(over, under): (&Vec<f64>, &Vec<f64>)| over.iter().zip(under).map(|(over, under)| over / under).collect();
    over.iter().zip(under).map(of).collect()
}

/// The ratio of the median of `after` to that of `before`, with an interval of this confidence. The two were not
/// measured next to each other.
#[must_use]
pub fn change(before: &[Vec<f64>], after: &[Vec<f64>], confidence: f64, seed: u64) -> Option<Interval> {
    let value = median(&mut after.concat())? / median(&mut before.concat())?;
    let before = resampled(before, MANY_RESAMPLES, seed);
    let after = resampled(after, MANY_RESAMPLES, seed.wrapping_add(1));
    let mut factors: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after / before).collect();
    interval(value, &mut factors, confidence)
}

/// Medians of resampled blocks.
fn resampled(launches: &[Vec<f64>], times: usize, seed: u64) -> Vec<f64> {
    let launches: Vec<&Vec<f64>> = launches.iter().filter(|blocks| !blocks.is_empty()).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = Vec::new();
    let mut medians = Vec::with_capacity(times);
    for _ in 0..times {
        drawn.clear();
        for _ in &launches {
            let Some(blocks) = launches.choose(&mut random) else { break };
            drawn.extend(blocks.iter().filter_map(|_| blocks.choose(&mut random)));
        }
        medians.extend(median(&mut drawn));
    }
    medians
}

fn interval(value: f64, estimates: &mut [f64], confidence: f64) -> Option<Interval> {
    estimates.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    Some(Interval { low: quantile(estimates, tail)?, value, high: quantile(estimates, 1.0 - tail)? })
}

/// The quantile `p` of sorted `values`.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn quantile(values: &[f64], p: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    values.get((p.clamp(0.0, 1.0) * last as f64).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fixtures::blocks;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 100.0]), Some(3.5));
    }

    #[test]
    fn intervals_contain_the_truth_about_as_often_as_promised() {
        // The median of the noise: half of all draws are below 0.05.
        let truth = 1000.0 * (1.0 + 0.05_f64.powi(2) * 5.0);
        let holds = (0..200)
            .filter(|&seed| {
                let found = estimate(&blocks(1000.0, 5, 10, seed), seed).unwrap();
                assert!(found.low <= found.value && found.value <= found.high);
                found.low <= truth && truth <= found.high
            })
            .count();
        // Five launches are few for a bootstrap, so some intervals may miss. An interval that always holds would be too
        // wide.
        assert!((170..200).contains(&holds), "{holds} of 200");
    }

    #[test]
    fn the_variation_between_launches_widens_the_interval() {
        // Many blocks that agree within each of two launches do not predict a third launch.
        let apart = vec![vec![100.0; 50], vec![110.0; 50]];
        let found = estimate(&apart, 1).unwrap();
        assert_eq!((found.low, found.high), (100.0, 110.0));
        let one = estimate(&[vec![100.0; 50]], 1).unwrap();
        assert_eq!((one.low, one.value, one.high), (100.0, 100.0, 100.0));
    }

    #[test]
    fn a_slowdown_of_both_neighbours_cancels_out() {
        let load = [1.0, 5.0, 2.0, 1.0, 9.0];
        let blocks = |time: f64| vec![load.iter().map(|load| load * time).collect::<Vec<_>>()];
        let found = estimate(&ratios(&blocks(80.0), &blocks(10.0)), 1).unwrap();
        assert_eq!((found.low, found.value, found.high), (8.0, 8.0, 8.0));
        assert_eq!(found.inverse().value, 0.125);
    }

    #[test]
    fn no_data_gives_no_estimate() {
        assert_eq!(estimate(&[], 1), None);
        assert_eq!(estimate(&[vec![]], 1), None);
        assert_eq!(change(&[vec![1.0]], &[], 0.95, 1), None);
    }
}
