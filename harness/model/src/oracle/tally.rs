//! The counts of a cell.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use framewalk::miss::MissReason;
use framewalk::sample::{Lookup, ThreadSample};
use serde::{Deserialize, Serialize};

use crate::oracle::cause::Cause;
use crate::oracle::limits::Limit;
use crate::oracle::proportion::Proportion;

/// The walks of a cell are spread over its time, so at least this many samples count as independent, even if the answer
/// never changes.
const FEW_CHANGES: u64 = 100;

/// The counts of one walker. Tallies can be added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Walks of a thread, rejected ones included.
    pub samples: u64,
    /// Walks without a stack, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Stacks that are not in the grammar, by cause.
    pub impossible: BTreeMap<Cause, u64>,
    /// Samples that took all callers from the cache.
    pub full_hits: u64,
    /// Samples that took the older callers from the cache.
    pub partial_hits: u64,
    /// Samples that took nothing from the cache, by reason.
    pub misses: BTreeMap<MissReason, u64>,
    /// Samples that differ from another walker's sample of the same state, or from the target's own account.
    pub differences: u64,
    /// Frames that came from the cache.
    pub from_cache: u64,
    /// Episodes of impossible stacks, by cause; see [`crate::oracle::episodes`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub impossible_episodes: BTreeMap<Cause, u64>,
    /// Episodes of rejections, by [`Rejection::reason`](framewalk::rejection::Rejection::reason).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected_episodes: BTreeMap<String, u64>,
    /// Stacks that are incomplete because of a documented limit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub degraded: BTreeMap<Limit, u64>,
    /// Stops at which the walker took no sample, because its protocol is known to go wrong there by chance.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_asked: u64,
    /// Gates and stores in a generator's code at which the walker took a sample.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asked_instead: u64,
    /// Stacks whose leaf differs in function or position from the same thread's stack before. Live lane only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leaf_changes: u64,
    /// Schedules that were run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub schedules: u64,
    /// Kept schedules that ran differently here, because the walker accessed the target in a different way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub misfits: u64,
    /// Time spent in walks, without the time between them.
    #[serde(rename = "elapsed_seconds", with = "crate::seconds")]
    pub elapsed: Duration,
}

impl Tally {
    /// Counts one walk of a thread. Judging it is left to the oracles.
    pub fn count(&mut self, sample: &ThreadSample) {
        self.samples += 1;
        if let Err(rejection) = &sample.outcome {
            *self.rejected.entry(rejection.name().to_owned()).or_default() += 1;
        }
        match sample.provenance.lookup {
            Lookup::FullHit => self.full_hits += 1,
            Lookup::PartialHit => self.partial_hits += 1,
            Lookup::Miss(reason) => *self.misses.entry(reason).or_default() += 1,
            Lookup::Uncached | Lookup::Unknown => {}
        }
        self.from_cache += u64::try_from(sample.provenance.from_cache).unwrap_or(u64::MAX);
    }

    /// Counts one impossible stack.
    pub fn count_impossible(&mut self, cause: Cause) {
        *self.impossible.entry(cause).or_default() += 1;
    }

    /// Counts the lookups of several threads together, if it is unknown which thread had which result.
    pub fn count_lookups(&mut self, full_hits: u64, partial_hits: u64, misses: u64) {
        self.full_hits += full_hits;
        self.partial_hits += partial_hits;
        if misses > 0 {
            *self.misses.entry(MissReason::Unspecified).or_default() += misses;
        }
    }

    /// How many walks returned no stack.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// How many walks returned a stack.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.samples.saturating_sub(self.rejected())
    }

    /// How many stacks are not in the grammar.
    #[must_use]
    pub fn impossible(&self) -> u64 {
        self.impossible.values().sum()
    }

    /// How many samples took nothing from the cache.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses.values().sum()
    }

    /// The share of the stacks that are impossible.
    #[must_use]
    pub fn impossible_of_accepted(&self) -> Proportion {
        Proportion::new(self.impossible(), self.accepted())
    }

    /// The episodes with this cause, as a share of the good stacks and all episodes of impossible stacks.
    #[must_use]
    pub fn impossible_share(&self, cause: Cause) -> Proportion {
        Proportion::new(
            self.impossible_episodes.get(&cause).copied().unwrap_or_default(),
            self.impossible_shares().samples,
        )
    }

    /// All episodes of impossible stacks, as a share of the good stacks and these episodes.
    #[must_use]
    pub fn impossible_shares(&self) -> Proportion {
        let episodes = self.impossible_episodes.values().sum();
        Proportion::new(episodes, self.accepted().saturating_sub(self.impossible()) + episodes)
    }

    /// The episodes of impossible stacks that a hit returned, as a share of the good stacks and all episodes of impossible
    /// stacks.
    #[must_use]
    pub fn stale_share(&self) -> Proportion {
        let causes = [Cause::StaleFullHit, Cause::StalePartialHit, Cause::StoredTornWalkServedAgain];
        let stale = causes.iter().filter_map(|cause| self.impossible_episodes.get(cause)).sum();
        Proportion::new(stale, self.impossible_shares().samples)
    }

    /// The episodes of rejections for this reason, as a share of the stacks and all episodes of rejections.
    #[must_use]
    pub fn rejected_share(&self, reason: &str) -> Proportion {
        let episodes: u64 = self.rejected_episodes.values().sum();
        Proportion::new(self.rejected_episodes.get(reason).copied().unwrap_or_default(), self.accepted() + episodes)
    }

    /// The share of all samples that were rejected, for whatever reason.
    ///
    /// Samples taken shortly after each other see the same state, so they are not independent. The number of
    /// independent samples is estimated by the number of changes between rejections and stacks, and the proportion is
    /// scaled to it. Unlike a share of episodes, this share approaches one if nearly everything is rejected.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    pub fn rejected_of_samples(&self) -> Proportion {
        let changes = 2 * self.rejected_episodes.values().sum::<u64>();
        let independent = changes.max(FEW_CHANGES).min(self.samples);
        let share = self.rejected() as f64 / self.samples.max(1) as f64;
        Proportion::new((share * independent as f64).round() as u64, independent)
    }

    /// The share of each cause of impossible stacks and of each reason for rejections that occurred, in episodes.
    #[must_use]
    pub fn shares(&self) -> Vec<(String, Proportion)> {
        let causes =
            self.impossible_episodes.keys().map(|&cause| (cause.name().to_owned(), self.impossible_share(cause)));
        let reasons = self.rejected_episodes.keys().map(|reason| (reason.clone(), self.rejected_share(reason)));
        causes.chain(reasons).collect()
    }

    /// Samples per second of walking; `None` if no time was spent.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn per_second(&self) -> Option<f64> {
        let seconds = self.elapsed.as_secs_f64();
        (seconds > 0.0).then(|| self.samples as f64 / seconds)
    }
}

impl AddAssign<&Self> for Tally {
    fn add_assign(&mut self, other: &Self) {
        self.samples += other.samples;
        merge(&mut self.rejected, &other.rejected);
        merge(&mut self.impossible, &other.impossible);
        self.full_hits += other.full_hits;
        self.partial_hits += other.partial_hits;
        merge(&mut self.misses, &other.misses);
        self.differences += other.differences;
        self.from_cache += other.from_cache;
        merge(&mut self.impossible_episodes, &other.impossible_episodes);
        merge(&mut self.rejected_episodes, &other.rejected_episodes);
        self.not_asked += other.not_asked;
        self.asked_instead += other.asked_instead;
        for (limit, count) in &other.degraded {
            *self.degraded.entry(*limit).or_default() += count;
        }
        self.leaf_changes += other.leaf_changes;
        self.schedules += other.schedules;
        self.misfits += other.misfits;
        self.elapsed += other.elapsed;
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn merge<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use framewalk::rejection::Rejection;
    use framewalk::sample::Provenance;

    use super::*;

    fn sample(outcome: Result<(), Rejection>, lookup: Lookup, from_cache: usize) -> ThreadSample {
        ThreadSample {
            native_thread_id: 1,
            outcome: outcome.map(|()| [].into()),
            provenance: Provenance { lookup, from_cache },
        }
    }

    #[test]
    fn a_rejected_walk_counts_as_a_sample_without_a_stack() {
        let mut tally = Tally::default();
        tally.count(&sample(Ok(()), Lookup::FullHit, 3));
        tally.count(&sample(Ok(()), Lookup::Miss(MissReason::NoEntry), 0));
        tally.count(&sample(Err(Rejection::Moved), Lookup::PartialHit, 0));
        assert_eq!((tally.samples, tally.rejected(), tally.accepted()), (3, 1, 2));
        assert_eq!((tally.full_hits, tally.partial_hits, tally.misses(), tally.from_cache), (1, 1, 1, 3));
        assert_eq!(tally.rejected.get("moved"), Some(&1));
    }

    #[test]
    fn every_impossible_stack_of_a_hit_is_stale() {
        let episodes = [
            (Cause::TornRead, 1),
            (Cause::StoredTornWalkServedAgain, 2),
            (Cause::StaleFullHit, 4),
            (Cause::StalePartialHit, 8),
            (Cause::Unattributed, 16),
        ];
        let tally = Tally {
            samples: 1_000,
            impossible: [(Cause::TornRead, 900)].into(),
            impossible_episodes: episodes.into(),
            ..Tally::default()
        };
        assert_eq!(tally.stale_share(), Proportion::new(14, 131));
    }

    #[test]
    fn tallies_are_added_for_each_reason() {
        let mut left = Tally { samples: 1, elapsed: Duration::from_millis(500), ..Tally::default() };
        left.count_impossible(Cause::TornRead);
        let mut right = Tally { samples: 2, elapsed: Duration::from_millis(1500), differences: 4, ..Tally::default() };
        right.count_impossible(Cause::TornRead);
        right.count_impossible(Cause::StaleFullHit);
        left += &right;
        assert_eq!(left.impossible, BTreeMap::from([(Cause::TornRead, 2), (Cause::StaleFullHit, 1)]));
        assert_eq!((left.samples, left.differences, left.per_second()), (3, 4, Some(1.5)));
        assert_eq!(Tally::default().per_second(), None);
    }
}
