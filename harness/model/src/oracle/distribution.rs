//! The distance of a profile from the truth, and how much of it is chance.
//!
//! Samples taken shortly after each other see the same call of a function, so they are not independent draws. They are
//! therefore counted by slice of time, and whole slices are resampled: a block bootstrap. A target that waits for a
//! core is seen in one place for longer than a slice. Blocks of several slices are therefore tried, too, and the
//! largest variation counts.
//!
//! Let `p` and `t` be the true shares of a profile and its reference, and `P` and `T` their estimates. The triangle
//! inequality gives `|TVD(P, T) - TVD(p, t)| <= half the sum of |(P - p) - (T - t)|`. The bootstrap estimates the
//! distribution of the right side, the *noise*. Unlike a percentile interval of the distance itself, `distance ± noise`
//! also holds if the true distance is zero. The distance of two samples is never zero.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How often the slices are resampled.
const REPLICATES: usize = 400;
/// The probability that chance does not exceed the noise.
const CONFIDENCE: f64 = 0.95;
/// With fewer slices, their variation is not estimated.
pub const FEWEST_SLICES: usize = 8;
/// The block lengths that are tried, in slices.
const BLOCKS: [usize; 3] = [1, 2, 4];
/// More noise than this would hide any bias that matters. The result is then "undecided", unless a bias is seen
/// anyway.
pub const COARSEST: f64 = 0.1;

/// Counts by category, one list for each slice of time. A shorter list has zeros at its end.
pub type Slices = Vec<Vec<u64>>;

/// The conclusion from a distance. It is advice and never decides a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// The distance is no more than the noise, and the noise is small.
    NotSeen,
    /// There are too few slices, or too much noise.
    CannotTell,
    /// The distance exceeds the noise.
    Seen,
}

impl Bias {
    /// The words in tables.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NotSeen => "no bias seen",
            Self::CannotTell => "undecided",
            Self::Seen => "biased",
        }
    }
}

/// The total variation distance of two samples, between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// Half the sum of the differences of the shares.
    pub distance: f64,
    /// Chance alone exceeds this distance in one of twenty cases. `None` if there are too few slices.
    pub noise: Option<f64>,
}

impl Distance {
    /// The distance of `profile` from a sampled `truth`; `None` if one of them is empty. The result depends only on the
    /// arguments.
    #[must_use]
    pub fn between(profile: &Slices, truth: &Slices, seed: u64) -> Option<Self> {
        let width = profile.iter().chain(truth).map(Vec::len).max().unwrap_or(0);
        let (p, t) = (shares(profile.iter(), width)?, shares(truth.iter(), width)?);
        let noise = noise(&[(profile, &p), (truth, &t)], width, seed);
        Some(Self { distance: total_variation(&p, &t), noise })
    }

    /// The distance of `profile` from shares that are known up to an error of `inexact`; `None` if the profile is
    /// empty.
    #[must_use]
    pub fn from_known(profile: &Slices, truth: &[f64], inexact: f64, seed: u64) -> Option<Self> {
        let width = profile.iter().map(Vec::len).max().unwrap_or(0);
        let p = shares(profile.iter(), width)?;
        let noise = noise(&[(profile, &p)], width, seed).map(|noise| noise + inexact);
        Some(Self { distance: total_variation(&p, truth), noise })
    }

    /// The interval of the true distance, at the confidence of the noise.
    #[must_use]
    pub fn interval(self) -> Option<(f64, f64)> {
        let noise = self.noise?;
        Some(((self.distance - noise).max(0.0), (self.distance + noise).min(1.0)))
    }

    /// The conclusion from this distance.
    #[must_use]
    pub fn bias(self) -> Bias {
        match self.noise {
            None => Bias::CannotTell,
            Some(noise) if self.distance > noise => Bias::Seen,
            Some(noise) if noise > COARSEST => Bias::CannotTell,
            Some(_) => Bias::NotSeen,
        }
    }
}

/// Half the sum of the differences. A shorter list has zeros at its end.
#[must_use]
pub fn total_variation(left: &[f64], right: &[f64]) -> f64 {
    let at = |list: &[f64], index: usize| list.get(index).copied().unwrap_or(0.0);
    (0..left.len().max(right.len())).map(|index| (at(left, index) - at(right, index)).abs()).sum::<f64>() / 2.0
}

/// The count of each of `width` categories over all slices.
pub fn sums<'a>(slices: impl IntoIterator<Item = &'a Vec<u64>>, width: usize) -> Vec<u64> {
    let mut sums = vec![0; width];
    for slice in slices {
        for (sum, count) in sums.iter_mut().zip(slice) {
            *sum += count;
        }
    }
    sums
}

/// The share of each category over all slices; `None` if nothing was counted.
#[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 do not occur")]
fn shares<'a>(slices: impl Iterator<Item = &'a Vec<u64>>, width: usize) -> Option<Vec<f64>> {
    let sums = sums(slices, width);
    let total: u64 = sums.iter().sum();
    (total > 0).then(|| sums.iter().map(|&sum| sum as f64 / total as f64).collect())
}

/// The distance that chance alone produces for samples with these shares; `None` if one of them has too few slices.
fn noise(samples: &[(&Slices, &[f64])], width: usize, seed: u64) -> Option<f64> {
    let counted = |slices: &Slices| slices.iter().filter(|slice| slice.iter().any(|&n| n > 0)).count();
    let fewest = samples.iter().map(|(slices, _)| counted(slices)).min()?;
    let lengths = BLOCKS.into_iter().filter(|length| fewest / length >= FEWEST_SLICES);
    lengths.map(|length| noise_of_blocks(samples, length, width, seed)).max_by(f64::total_cmp)
}

/// The same for blocks of `length` slices.
fn noise_of_blocks(samples: &[(&Slices, &[f64])], length: usize, width: usize, seed: u64) -> f64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let samples: Vec<(Slices, &[f64])> = (samples.iter())
        .map(|(slices, shares)| (slices.chunks(length).map(|block| sums(block, width)).collect(), *shares))
        .collect();
    let mut noises: Vec<f64> = (0..REPLICATES)
        .map(|_| {
            let mut sum = vec![0.0; width];
            for ((slices, shares), sign) in samples.iter().zip([1.0, -1.0]) {
                let deviation = deviation((slices, shares), width, &mut random);
                sum.iter_mut().zip(deviation).for_each(|(sum, deviation)| *sum += sign * deviation);
            }
            sum.iter().map(|deviation| deviation.abs()).sum::<f64>() / 2.0
        })
        .collect();
    noises.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small number between 0 and their count"
    )]
    let at = (REPLICATES as f64 * CONFIDENCE) as usize;
    noises.get(at).copied().unwrap_or(1.0)
}

/// The deviation of the shares of resampled slices from those of all slices. Draws from `n` slices vary less than the
/// slices themselves, by a factor of `(n - 1) / n`, which is corrected here.
#[allow(clippy::cast_precision_loss, reason = "a small number")]
fn deviation((slices, all): (&Slices, &[f64]), width: usize, random: &mut ChaCha8Rng) -> Vec<f64> {
    let n = slices.len();
    let drawn: Vec<&Vec<u64>> = (0..n).filter_map(|_| slices.get(random.random_range(0..n))).collect();
    let Some(drawn) = shares(drawn.into_iter(), width) else { return vec![0.0; width] };
    let scale = (n as f64 / n.saturating_sub(1).max(1) as f64).sqrt();
    drawn.iter().zip(all).map(|(drawn, all)| (drawn - all) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn distances_match_values_computed_by_hand() {
        close(total_variation(&[0.5, 0.5], &[0.5, 0.5]), 0.0);
        close(total_variation(&[1.0], &[0.0, 1.0]), 1.0);
        close(total_variation(&[0.5, 0.3, 0.2], &[0.25, 0.25, 0.5]), 0.3);
        let distance = Distance::between(&vec![vec![1, 1], vec![2]], &vec![vec![1, 3]], 1).unwrap();
        close(distance.distance, 0.5);
        assert_eq!((distance.noise, distance.bias()), (None, Bias::CannotTell));
        assert_eq!(Distance::between(&vec![], &vec![vec![1]], 1), None);
        assert_eq!(Distance::between(&vec![vec![0]], &vec![vec![1]], 1), None);
    }

    /// `slices` of ten samples each, all of the same category: the strongest possible correlation.
    fn correlated(weights: &[f64], slices: usize, random: &mut ChaCha8Rng) -> Slices {
        let draw = |random: &mut ChaCha8Rng| {
            let mut left = random.random::<f64>();
            let at = weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            let mut counts = vec![0; weights.len()];
            counts[at.unwrap_or(weights.len() - 1)] = 10;
            counts
        };
        (0..slices).map(|_| draw(random)).collect()
    }

    #[test]
    fn the_false_positive_rate_holds_even_for_correlated_samples() {
        let weights = [1.0, 2.0, 4.0, 8.0].map(|weight| weight / 15.0);
        let mut random = ChaCha8Rng::seed_from_u64(151_613);
        let trials = 200_u32;
        let wrong = (0..trials).filter(|&trial| {
            let profile = correlated(&weights, 60, &mut random);
            let truth = correlated(&weights, 60, &mut random);
            Distance::between(&profile, &truth, u64::from(trial)).unwrap().bias() == Bias::Seen
        });
        let wrong = wrong.count();
        // One in twenty is ten of 200. More than twenty would occur once in a thousand such tests.
        assert!(wrong <= 20, "{wrong} of {trials}");
    }

    /// Imitates a target that sometimes waits for a core: four slices in a row see only one category.
    fn waiting(weights: &[f64], slices: usize, random: &mut ChaCha8Rng) -> Slices {
        let visits = correlated(weights, slices.div_ceil(4), random);
        visits.iter().flat_map(|visit| std::iter::repeat_n(visit.clone(), 4)).take(slices).collect()
    }

    #[test]
    fn waiting_for_longer_than_a_slice_is_not_a_bias() {
        let weights = [0.4, 0.3, 0.2, 0.1];
        let mut random = ChaCha8Rng::seed_from_u64(153_804);
        let wrong = (0..200).filter(|&trial| {
            let profile = waiting(&weights, 64, &mut random);
            let truth = waiting(&weights, 64, &mut random);
            Distance::between(&profile, &truth, trial).unwrap().bias() == Bias::Seen
        });
        let wrong = wrong.count();
        assert!(wrong <= 20, "{wrong} of 200");
    }

    #[test]
    fn a_known_truth_adds_no_noise() {
        let profile: Slices = (0..40).map(|_| vec![50, 50]).collect();
        let distance = |truth: [f64; 2]| Distance::from_known(&profile, &truth, 0.01, 1).unwrap();
        assert_eq!(distance([0.5, 0.5]), Distance { distance: 0.0, noise: Some(0.01) });
        close(distance([0.505, 0.495]).distance, 0.005);
        assert_eq!([0.505, 0.6].map(|share| distance([share, 1.0 - share]).bias()), [Bias::NotSeen, Bias::Seen]);
        // A category that only the truth has counts, too.
        close(Distance::from_known(&profile, &[0.25, 0.25, 0.5], 0.0, 1).unwrap().distance, 0.5);
        assert_eq!(Distance::from_known(&vec![], &[1.0], 0.0, 1), None);
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let weights = [1.0, 2.0, 4.0, 8.0].map(|weight| weight / 15.0);
        let wrong = (0..200).filter(|&trial| {
            let profile = correlated(&weights, 60, &mut random);
            Distance::from_known(&profile, &weights, 0.0, trial).unwrap().bias() == Bias::Seen
        });
        let wrong = wrong.count();
        assert!(wrong <= 20, "{wrong} of 200");
    }

    #[test]
    fn intervals_hold_the_true_distance() {
        let (p, t) = ([0.4, 0.3, 0.3], [0.3, 0.3, 0.4]);
        let mut random = ChaCha8Rng::seed_from_u64(151_426);
        let held = (0..200_u64).filter(|&trial| {
            let (profile, truth) = (correlated(&p, 60, &mut random), correlated(&t, 60, &mut random));
            let (low, high) = Distance::between(&profile, &truth, trial).unwrap().interval().unwrap();
            (low..=high).contains(&0.1)
        });
        let held = held.count();
        assert!(held >= 180, "{held} of 200");
    }

    #[test]
    fn a_bias_is_detected_and_its_absence_is_reported() {
        let slices = |counts: [u64; 2]| -> Slices { (0..40).map(|_| counts.to_vec()).collect() };
        let said = |left, right| Distance::between(&slices(left), &slices(right), 7).unwrap().bias();
        assert_eq!(said([50, 50], [50, 50]), Bias::NotSeen);
        assert_eq!(said([60, 40], [50, 50]), Bias::Seen);
    }

    #[test]
    fn equal_samples_give_equal_results() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (profile, truth) = (correlated(&[0.5, 0.5], 20, &mut random), correlated(&[0.5, 0.5], 20, &mut random));
        assert_eq!(Distance::between(&profile, &truth, 9), Distance::between(&profile, &truth, 9));
    }
}
