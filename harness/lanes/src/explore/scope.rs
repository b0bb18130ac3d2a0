//! The outcomes of the cache that a search is large enough to reach. If one is missing, the search shows nothing about
//! it.

use std::collections::BTreeSet;

use framewalk::sample::WalkerKind;
use model::schedule::cast::{Lifecycle, ProfilerId, ProfilerScript};
use model::schedule::fingerprint::CacheAnswer;

/// The bounds of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The number of samples.
    pub samples: u32,
    /// The most moves of the target.
    pub moves: u32,
    /// The most steps in one move.
    pub steps: u32,
}

impl Scope {
    /// The outcomes that an exhaustive search within these bounds must find among its samples. `round` is the number of
    /// steps within which the target gets from any point to any other.
    ///
    /// A first sample is a miss. If an actor takes two samples with one unwinder, the second is a full hit if the
    /// target did not move, and a partial hit if the target left a frame and went on elsewhere. A target that gets from
    /// any point to any other can do that.
    #[must_use]
    pub fn owed(self, walker: WalkerKind, cast: &ProfilerScript, round: u32) -> Vec<CacheAnswer> {
        if !walker.is_cached() || self.samples == 0 {
            return Vec::new();
        }
        let mut owed = vec![CacheAnswer::Miss];
        if self.samples_again(cast) {
            owed.push(CacheAnswer::FullHit);
            if self.moves > 0 && self.steps >= round {
                owed.push(CacheAnswer::PartialHit);
            }
        }
        owed
    }

    /// Whether one unwinder takes more than one of the samples.
    fn samples_again(self, cast: &ProfilerScript) -> bool {
        let mut has_sampled: BTreeSet<ProfilerId> = BTreeSet::new();
        (0..self.samples).any(|number| {
            let turn = cast.turn(number);
            for one in turn.before {
                match one {
                    Lifecycle::Make(actor) | Lifecycle::Drop(actor) | Lifecycle::Kill(actor) => {
                        has_sampled.remove(&actor);
                    }
                }
            }
            !has_sampled.insert(turn.by)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owed_answers_depend_on_who_samples_again_and_how_far_the_target_moves() {
        let owed = |walker, cast: &str, samples, moves, steps| {
            Scope { samples, moves, steps }.owed(walker, &cast.parse().unwrap(), 16)
        };
        let all = vec![CacheAnswer::Miss, CacheAnswer::FullHit, CacheAnswer::PartialHit];
        let cached = WalkerKind::CpythonCached;
        assert_eq!(owed(cached, "alone", 2, 1, 16), all);
        assert_eq!(owed(cached, "alternating", 3, 2, 16), all);
        assert_eq!(owed(cached, "alternating", 2, 2, 16), [CacheAnswer::Miss]);
        assert_eq!(owed(cached, "old-and-new", 3, 2, 16), all);
        assert_eq!(owed(cached, "remade", 2, 2, 16), [CacheAnswer::Miss]);
        assert_eq!(owed(cached, "remade", 3, 2, 16), all);
        assert_eq!(owed(cached, "alone", 2, 0, 16), all[..2]);
        assert_eq!(owed(cached, "alone", 2, 2, 3), all[..2]);
        assert_eq!(owed(cached, "alone", 1, 2, 16), all[..1]);
        assert_eq!(owed(WalkerKind::CpythonUncached, "alone", 2, 2, 16), []);
    }
}
