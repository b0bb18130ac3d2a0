//! What a search has room for: which answers of the cache it must come to, or else it shows nothing of them.

use std::collections::BTreeSet;

use framewalk::sample::WalkerKind;
use model::schedule::cast::{Actor, Cast, Happening};
use model::schedule::fingerprint::Answer;

/// Bounds of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// How many samples are taken.
    pub samples: u32,
    /// How often the target moves at most.
    pub moves: u32,
    /// By how many steps at most at a time.
    pub steps: u32,
}

impl Scope {
    /// The answers that a search of everything within these bounds must have among its samples. `round` is how many steps
    /// take the target from everywhere to everywhere.
    ///
    /// A first sample is a miss. An actor with two samples on one unwinder has a full hit in the second, where the target
    /// did not move; and a partial hit, where it left a frame and went on elsewhere: a target that can go
    /// from everywhere to everywhere can do that.
    #[must_use]
    pub fn owed(self, walker: WalkerKind, cast: &Cast, round: u32) -> Vec<Answer> {
        if !walker.is_cached() || self.samples == 0 {
            return Vec::new();
        }
        let mut owed = vec![Answer::Miss];
        if self.samples_again(cast) {
            owed.push(Answer::FullHit);
            if self.moves > 0 && self.steps >= round {
                owed.push(Answer::PartialHit);
            }
        }
        owed
    }

    /// Whether an unwinder takes more than one of the samples.
    fn samples_again(self, cast: &Cast) -> bool {
        let mut has_sampled: BTreeSet<Actor> = BTreeSet::new();
        (0..self.samples).any(|number| {
            let turn = cast.turn(number);
            for one in turn.before {
                match one {
                    Happening::Make(actor) | Happening::Drop(actor) | Happening::Kill(actor) => {
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
    fn what_is_owed_follows_from_who_samples_again_and_how_far_the_target_goes() {
        let owed = |walker, cast: &str, samples, moves, steps| {
            Scope { samples, moves, steps }.owed(walker, &cast.parse().unwrap(), 16)
        };
        let all = vec![Answer::Miss, Answer::FullHit, Answer::PartialHit];
        let cached = WalkerKind::CpythonCached;
        assert_eq!(owed(cached, "alone", 2, 1, 16), all);
        assert_eq!(owed(cached, "alternating", 3, 2, 16), all);
        assert_eq!(owed(cached, "alternating", 2, 2, 16), [Answer::Miss]);
        assert_eq!(owed(cached, "old-and-new", 3, 2, 16), all);
        assert_eq!(owed(cached, "remade", 2, 2, 16), [Answer::Miss]);
        assert_eq!(owed(cached, "remade", 3, 2, 16), all);
        assert_eq!(owed(cached, "alone", 2, 0, 16), all[..2]);
        assert_eq!(owed(cached, "alone", 2, 2, 3), all[..2]);
        assert_eq!(owed(cached, "alone", 1, 2, 16), all[..1]);
        assert_eq!(owed(WalkerKind::CpythonUncached, "alone", 2, 2, 16), []);
    }
}
