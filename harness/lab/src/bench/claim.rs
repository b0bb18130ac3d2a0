//! The claim that every sample of a point must match. Times of other stacks or other cache results mean nothing.

use framewalk::sample::{Counters, Lookup, Sample, WalkerKind};

use crate::bench::document::Lookups;

/// The required properties of each sample of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Number of frames of each thread.
    pub(super) depth: usize,
    /// Number of frames called since the previous sample.
    pub(super) changed: usize,
    pub(super) threads: usize,
}

impl Claim {
    /// Whether the sample has these threads and stacks.
    pub(super) fn is_seen_by(self, sample: &Sample) -> bool {
        self.check_stacks(sample).is_ok()
    }

    /// The results of the cache lookups, if the sample matches the claim.
    pub(super) fn check(self, sample: &Sample, counters: Option<Counters>) -> Result<Lookups, String> {
        self.check_stacks(sample)?;
        let found = answers(sample, counters);
        let all = self.threads as u64;
        let expected = match (sample.walker.is_cached(), self.changed) {
            (false, _) => return Ok(found),
            (true, 0) => Lookups { full: all, ..Lookups::default() },
            (true, _) => Lookups { partial: all, ..Lookups::default() },
        };
        let is_missed = found == Lookups { misses: all, ..Lookups::default() };
        // With several threads, the number that a cache holds is a result. With one thread, another lookup result means
        // that something else was measured.
        let is_limit = self.threads > 1 && self.changed == 0 && found.full > 0 && found.full + found.misses == all;
        // The reference walker does not trust an entry below new frames and walks again. This is its price.
        let is_price = sample.walker == WalkerKind::OwnReference && self.changed > 0 && is_missed;
        // Only the module's frame is left of the previous stack, and it has no callers that a cache could supply.
        let is_all = self.changed > 0 && self.changed + 1 >= self.depth && is_missed;
        if found == expected || is_limit || is_price || is_all {
            return Ok(found);
        }
        Err(format!(
            "its cache answered with {} full hits, {} partial hits and {} misses instead of {}, {} and 0",
            found.full, found.partial, found.misses, expected.full, expected.partial
        ))
    }

    fn check_stacks(self, sample: &Sample) -> Result<(), String> {
        if sample.threads.len() != self.threads {
            let found = sample.threads.iter().find_map(|thread| thread.outcome.as_ref().err());
            return Err(match found {
                Some(rejection) => rejection.to_string(),
                None => format!("it saw {} threads instead of {}", sample.threads.len(), self.threads),
            });
        }
        for thread in &sample.threads {
            match &thread.outcome {
                Ok(stack) if stack.len() == self.depth => {}
                Ok(stack) => return Err(format!("it saw {} frames instead of {}", stack.len(), self.depth)),
                Err(rejection) => return Err(rejection.to_string()),
            }
        }
        Ok(())
    }
}

/// The result of the cache lookup for each thread. CPython's unwinder only has counters for all threads together.
pub(super) fn answers(sample: &Sample, counters: Option<Counters>) -> Lookups {
    let mut lookups = Lookups::default();
    for thread in &sample.threads {
        match thread.provenance.lookup {
            _ if thread.outcome.is_err() => lookups.rejected += 1,
            Lookup::FullHit => lookups.full += 1,
            Lookup::PartialHit => lookups.partial += 1,
            Lookup::Miss(_) => lookups.misses += 1,
            Lookup::Uncached | Lookup::Unknown => {}
        }
    }
    match counters {
        Some(counters) if sample.walker.is_cached() => Lookups {
            full: counters.full_hits,
            partial: counters.partial_hits,
            misses: counters.misses,
            rejected: lookups.rejected,
        },
        _ => lookups,
    }
}

#[cfg(test)]
mod tests {
    use framewalk::frame::{Frame, Location};
    use framewalk::miss::MissReason;
    use framewalk::rejection::Rejection;
    use framewalk::sample::{Provenance, ThreadSample};

    use super::*;

    const STILL: Claim = Claim { depth: 2, changed: 0, threads: 1 };

    fn sample(walker: WalkerKind, frames: usize, lookups: &[Lookup]) -> Sample {
        let frame = Frame { function: "f".into(), file: "w.py".into(), location: Location::default() };
        let thread = |&lookup: &Lookup| ThreadSample {
            native_thread_id: 1,
            outcome: Ok(vec![frame.clone(); frames].into()),
            provenance: Provenance { lookup, from_cache: 0 },
        };
        Sample { walker, threads: lookups.iter().map(thread).collect() }
    }

    #[test]
    fn the_claimed_lookups_are_counted() {
        let full = sample(WalkerKind::OwnCached, 2, &[Lookup::FullHit]);
        assert_eq!(STILL.check(&full, None), Ok(Lookups { full: 1, ..Lookups::default() }));
        let uncached = sample(WalkerKind::CpythonUncached, 2, &[Lookup::Uncached]);
        assert_eq!(STILL.check(&uncached, None), Ok(Lookups::default()));
        let changed = Claim { changed: 1, depth: 3, ..STILL };
        let partial = sample(WalkerKind::OwnCached, 3, &[Lookup::PartialHit]);
        assert_eq!(changed.check(&partial, None), Ok(Lookups { partial: 1, ..Lookups::default() }));
        let grown = sample(WalkerKind::OwnReference, 3, &[Lookup::Miss(MissReason::StackGrew)]);
        assert_eq!(changed.check(&grown, None), Ok(Lookups { misses: 1, ..Lookups::default() }));
        assert!(Claim { depth: 3, ..STILL }.check(&grown, None).is_err());
    }

    #[test]
    fn a_sample_with_other_frames_or_lookups_is_refused() {
        let miss = Lookup::Miss(MissReason::AnchorNull);
        let mut rejected = sample(WalkerKind::OwnCached, 2, &[Lookup::FullHit]);
        rejected.threads[0].outcome = Err(Rejection::Empty);
        for (wrong, words) in [
            (sample(WalkerKind::OwnCached, 3, &[Lookup::FullHit]), "3 frames instead of 2"),
            (sample(WalkerKind::OwnCached, 2, &[Lookup::FullHit; 2]), "2 threads instead of 1"),
            (sample(WalkerKind::OwnCached, 2, &[miss]), "1 misses"),
            (sample(WalkerKind::OwnReference, 2, &[Lookup::PartialHit]), "1 partial hits"),
            (rejected, &*Rejection::Empty.to_string()),
        ] {
            let error = STILL.check(&wrong, None).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_entirely_new_stack_may_miss() {
        let all = Claim { changed: 1, ..STILL };
        let miss = sample(WalkerKind::CpythonCached, 2, &[Lookup::Miss(MissReason::Unspecified)]);
        assert_eq!(all.check(&miss, None).unwrap().misses, 1);
        assert!(
            Claim { depth: 3, ..all }
                .check(&sample(WalkerKind::CpythonCached, 3, &[Lookup::Miss(MissReason::Unspecified)]), None)
                .is_err()
        );
    }

    #[test]
    fn misses_beyond_the_thread_limit_of_the_cache_are_accepted() {
        let two_of_two = sample(WalkerKind::OwnCached, 2, &[Lookup::FullHit, Lookup::PartialHit]);
        assert!(Claim { threads: 2, ..STILL }.check(&two_of_two, None).unwrap_err().contains("1 partial hits"));
        let some = sample(WalkerKind::CpythonCached, 2, &[Lookup::Unknown; 3]);
        let counters = Counters { full_hits: 2, misses: 1, ..Counters::default() };
        let found = Claim { threads: 3, ..STILL }.check(&some, Some(counters)).unwrap();
        assert_eq!((found.full, found.misses), (2, 1));
    }
}
