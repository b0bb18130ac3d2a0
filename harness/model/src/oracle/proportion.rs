//! Shares with exact confidence bounds.

use serde::{Deserialize, Serialize};
use statrs::function::beta::checked_beta_reg;

/// A share: how many of a number of samples had a property.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proportion {
    /// Samples with the property. A count above `samples` is taken as `samples`.
    pub hits: u64,
    /// All samples, with and without the property.
    pub samples: u64,
}

impl Proportion {
    /// A share of `hits` in `samples`.
    #[must_use]
    pub fn new(hits: u64, samples: u64) -> Self {
        Self { hits: hits.min(samples), samples }
    }

    /// The one-sided lower bound. The true rate is below it with a probability of at most `error`.
    #[must_use]
    pub fn at_least(self, error: f64) -> f64 {
        let (hits, misses) = self.counts();
        if hits == 0.0 { 0.0 } else { beta_quantile(hits, misses + 1.0, error.clamp(0.0, 1.0)) }
    }

    /// The one-sided upper bound. The true rate is above it with a probability of at most `error`.
    #[must_use]
    pub fn at_most(self, error: f64) -> f64 {
        let (hits, misses) = self.counts();
        if misses == 0.0 { 1.0 } else { 1.0 - beta_quantile(misses, hits + 1.0, error.clamp(0.0, 1.0)) }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 do not occur")]
    fn counts(self) -> (f64, f64) {
        let hits = self.hits.min(self.samples);
        (hits as f64, (self.samples - hits) as f64)
    }
}

/// The `p` quantile of Beta(`a`, `b`).
///
/// Found by bisection until no number lies between the ends. The distribution function is monotone, so this always
/// terminates, even far out in the tails, where Newton's method may not.
fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        match checked_beta_reg(a, b, middle) {
            Ok(probability) if probability < p => low = middle,
            _ => high = middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} within {tolerance}");
    }

    /// Two-sided 95 % Clopper-Pearson intervals as printed in statistical tables.
    #[test]
    fn bounds_match_published_tables() {
        for (hits, samples, low, high) in [
            (0, 10, 0.0, 0.30850),
            (1, 10, 0.002_53, 0.445_02),
            (5, 10, 0.187_09, 0.812_91),
            (10, 10, 0.691_50, 1.0),
            (4, 20, 0.057_33, 0.436_61),
            (1, 100, 0.000_25, 0.054_46),
            (50, 100, 0.398_32, 0.601_68),
        ] {
            let proportion = Proportion::new(hits, samples);
            close(proportion.at_least(0.025), low, 1e-5);
            close(proportion.at_most(0.025), high, 1e-5);
        }
    }

    #[test]
    fn bounds_without_hits_have_a_closed_form_however_far_out() {
        for (samples, error) in [(10_u32, 0.025_f64), (1_000, 1e-4), (1_400_000, 1e-9)] {
            let expected = 1.0 - error.powf(1.0 / f64::from(samples));
            let actual = Proportion::new(0, u64::from(samples)).at_most(error);
            close(actual / expected, 1.0, 1e-6);
            close(Proportion::new(u64::from(samples), u64::from(samples)).at_least(error), 1.0 - expected, 1e-9);
        }
    }

    #[test]
    fn bounds_of_many_samples_agree_with_the_normal_approximation() {
        // 97.5 % quantile of the normal distribution.
        let quantile = 1.959_964;
        for (hits, samples) in [(500_000, 1_000_000), (100_000, 1_400_000), (88_000, 1_000_000)] {
            let (k, n) = (f64::from(hits), f64::from(samples));
            let width = quantile * (k / n * (1.0 - k / n) / n).sqrt();
            let proportion = Proportion::new(hits as u64, samples as u64);
            close((k / n - proportion.at_least(0.025)) / width, 1.0, 0.01);
            close((proportion.at_most(0.025) - k / n) / width, 1.0, 0.01);
        }
    }
}
