//! Checks that the cache is used (clause 7): a frame that has stayed on the stack since it was stored must be found in
//! the cache.
//!
//! When a cached walker returns a stack, its cache holds that stack, and the anchor is the current frame. From then on,
//! only the interpreter writes the anchor. When the anchor's frame leaves the stack, the anchor moves down to the
//! caller. It never moves up.
//!
//! Suppose that a later anchor is a frame of the stored stack, and that the chain from there down is unchanged. Then
//! that frame has been on the stack all the time, and so have its callers. The number of times that the anchor moved
//! gives its index in the stored stack. If the walker does not find it in its cache, the entry or the comparison is
//! wrong, or the interpreter miscounted. No stack is wrong because of that, but the cache is useless.
//!
//! If the anchor's frame has no callers, there is nothing to take from the cache, and CPython's unwinder counts a miss.
//!
//! The check requires that the thread is at rest (see [`At::Rest`]) and that there is only one profiler. Frames below a
//! shim frame are left out: leaving a shim frame does not move the anchor, so the anchor never gets there. An entry
//! holds a limited number of addresses. If a partial hit takes frames from a truncated entry, the new entry is
//! truncated at the same frame.

use std::collections::HashMap;

use framewalk::cache::Limits;
use framewalk::memory::Address;
use framewalk::sample::{Lookup, ThreadSample, WalkerKind};
use framewalk::thread_state::ThreadState;

use crate::invariants::Violation;
use crate::oracle::protocol::At;
use crate::schedule::fingerprint::LeafKind;

/// A thread before a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// The thread state's fields, read right before the sample.
    pub thread: ThreadState,
    /// Where it was stopped.
    pub at: At,
    /// The addresses of its frames, shim frames and the base frame included.
    pub chain: Vec<Address>,
    /// How many of them run Python code before the first one that does not.
    pub python: usize,
    /// The kind of its current frame.
    pub leaf: LeafKind,
}

/// Follows the samples of a target's only cached walker.
#[derive(Debug, Default)]
pub struct HitWatch {
    /// What the walker must have stored, by thread state.
    stored: HashMap<Address, Stored>,
    /// Whether some chain had more frames than an entry can hold. If so, an entry that was not followed may be
    /// truncated anywhere.
    cut: bool,
}

#[derive(Clone, Debug)]
struct Stored {
    native_thread_id: u64,
    sequence: u64,
    chain: Vec<Address>,
    /// How many frames of the chain the anchor can reach and the entry contains.
    python: usize,
}

impl Stored {
    /// Whether Python code called the frame with this index. Each chain ends with the shim frame through which C called
    /// the program, and the base frame.
    fn has_callers(&self, index: usize) -> bool {
        index + 1 < self.python || self.chain.len() > self.python + 2
    }

    /// How many frames left the stack until the anchor got where it is now, and how many frames are above it now.
    /// Returns `None` if that is unknown.
    fn left(&self, before: &Before) -> Option<(usize, usize)> {
        let same_thread = self.native_thread_id == before.thread.native_thread_id;
        let anchor = before.thread.anchor;
        let index = self.chain.iter().take(self.python).position(|&frame| frame == anchor)?;
        let now = before.chain.iter().position(|&frame| frame == anchor)?;
        (same_thread && self.chain.get(index..) == before.chain.get(now..)).then_some((index, now))
    }
}

impl HitWatch {
    /// Judges the walker's sample of a thread. A sample without a stack is not judged, and neither is the next one,
    /// because it is not specified what a walker keeps in that case.
    pub fn judge(&mut self, walker: WalkerKind, before: &Before, sample: &ThreadSample) -> Option<Violation> {
        let stored = self.stored.remove(&before.thread.address);
        if !walker.has_cpythons_protocol() || sample.outcome.is_err() || before.at != At::Rest {
            return None;
        }
        let Before { thread, chain, python, .. } = before;
        let python = *python;
        let limit = Limits::CPYTHON.addresses;
        self.cut |= python > limit;
        let found = stored.and_then(|stored| stored.left(before).map(|(left, above)| (stored, left, above)));
        let (kept, reason) = match (sample.provenance.lookup, &found) {
            (Lookup::Uncached | Lookup::Unknown, _) => return None,
            (Lookup::Miss(reason), _) => (limit, Some(reason)),
            (Lookup::FullHit | Lookup::PartialHit, Some((stored, left, above))) => (stored.python - left + above, None),
            (Lookup::FullHit | Lookup::PartialHit, None) if self.cut => return None,
            (Lookup::FullHit | Lookup::PartialHit, None) => (limit, None),
        };
        let owes = |stored: &Stored, left| walker != WalkerKind::CpythonCached || stored.has_callers(left);
        let owed = found.filter(|(stored, left, _)| owes(stored, *left));
        let broken = reason.zip(owed).map(|(reason, (stored, left, _))| {
            let counted = thread.sequence.wrapping_sub(stored.sequence);
            Violation::HitMissed { anchor: thread.anchor, left, counted, reason }
        });
        let now = Stored {
            native_thread_id: thread.native_thread_id,
            sequence: thread.sequence,
            chain: chain.clone(),
            python: python.min(kept).min(limit),
        };
        self.stored.insert(thread.address, now);
        broken
    }

    /// Forgets everything. Needed if there are more threads than a cache holds, or another profiler.
    pub fn forget(&mut self) {
        self.stored.clear();
        self.cut = false;
    }
}

/// Checks the anchor after a sample: if the target is stopped and the walker returned a stack, the anchor must be the
/// thread's current frame.
#[must_use]
pub fn anchor_left(before: &ThreadState, after: &ThreadState, sample: &ThreadSample) -> Option<Violation> {
    let is_one = before.address == after.address && before.native_thread_id == sample.native_thread_id;
    let wrong = is_one && sample.outcome.is_ok() && after.anchor != before.current_frame;
    wrong.then_some(Violation::AnchorNotWritten { current_frame: before.current_frame, anchor: after.anchor })
}

#[cfg(test)]
mod tests {
    use framewalk::miss::MissReason;
    use framewalk::rejection::Rejection;
    use framewalk::sample::Provenance;

    use super::*;

    const MISS: Lookup = Lookup::Miss(MissReason::Unspecified);

    fn before(anchor: Address, sequence: u64, chain: &[Address]) -> Before {
        let current_frame = chain.first().copied().unwrap_or(0);
        let thread =
            ThreadState { native_thread_id: 5, anchor, sequence, current_frame, ..ThreadState::unknown(0x1000) };
        // The last one is the base frame.
        Before {
            thread,
            at: At::Rest,
            chain: chain.to_vec(),
            python: chain.len().saturating_sub(1),
            leaf: LeafKind::Function,
        }
    }

    fn sample(lookup: Lookup) -> ThreadSample {
        let outcome = Ok(Vec::new().into());
        ThreadSample { native_thread_id: 5, outcome, provenance: Provenance { lookup, from_cache: 0 } }
    }

    fn judges(walker: WalkerKind, samples: &[(Before, ThreadSample)]) -> Vec<Option<&'static str>> {
        let mut watch = HitWatch::default();
        samples
            .iter()
            .map(|(before, sample)| watch.judge(walker, before, sample).map(|violation| violation.name()))
            .collect()
    }

    /// Whether the last of these samples is a violation. The earlier ones must not be.
    fn is_missed(samples: &[(Before, ThreadSample)]) -> bool {
        let mut judged = judges(WalkerKind::OwnCached, samples);
        let last = judged.pop().flatten();
        assert!(judged.iter().all(Option::is_none), "{judged:?}");
        last.is_some()
    }

    #[test]
    fn a_miss_is_wrong_if_the_anchor_never_left_the_stack() {
        let first = (before(0, 7, &[0x30, 0x20, 0x10]), sample(MISS));
        for now in [
            before(0x30, 7, &[0x30, 0x20, 0x10]),
            before(0x30, 7, &[0x50, 0x40, 0x30, 0x20, 0x10]),
            before(0x20, 8, &[0x20, 0x10]),
            before(0x20, 8, &[0x31, 0x20, 0x10]),
            // Miscounted: the walker is right, and the interpreter is wrong.
            before(0x20, 7, &[0x20, 0x10]),
        ] {
            assert!(is_missed(&[first.clone(), (now.clone(), sample(MISS))]), "{now:?}");
            for hit in [Lookup::FullHit, Lookup::PartialHit, Lookup::Unknown] {
                assert!(!is_missed(&[first.clone(), (now.clone(), sample(hit))]), "{now:?}");
            }
        }
    }

    #[test]
    fn served_entries_stay_stored() {
        let chain = [0x30, 0x20, 0x10];
        let hit = (before(0x30, 7, &chain), sample(Lookup::FullHit));
        assert!(is_missed(&[hit.clone(), hit, (before(0x20, 8, &[0x20, 0x10]), sample(MISS))]));
    }

    #[test]
    fn a_miss_with_an_unknown_anchor_is_allowed() {
        let first = (before(0, 7, &[0x30, 0x20, 0x10]), sample(MISS));
        for now in [
            // NULL, off the chain, at the base frame, not of that stack, and with other callers than before.
            before(0, 7, &[0x30, 0x20, 0x10]),
            before(0x30, 7, &[0x20, 0x10]),
            before(0x10, 9, &[0x10]),
            before(0x40, 7, &[0x40, 0x30, 0x20, 0x10]),
            before(0x30, 7, &[0x30, 0x10]),
        ] {
            assert!(!is_missed(&[first.clone(), (now.clone(), sample(MISS))]), "{now:?}");
        }
    }

    #[test]
    fn no_anchor_gets_below_a_shim_frame() {
        let first = Before { python: 1, ..before(0, 7, &[0x30, 0x7000, 0x20, 0x10]) };
        let samples = |now| [(first.clone(), sample(MISS)), (now, sample(MISS))];
        assert!(!is_missed(&samples(before(0x20, 8, &[0x20, 0x10]))));
        assert!(is_missed(&samples(before(0x30, 7, &[0x30, 0x7000, 0x20, 0x10]))));
    }

    #[test]
    fn an_entry_keeps_a_limited_number_of_addresses() {
        let chain: Vec<Address> = (1..=2000).rev().collect();
        let missed = |left: usize| {
            let now = before(chain[left], 7 + left as u64, &chain[left..]);
            is_missed(&[(before(0, 7, &chain), sample(MISS)), (now, sample(MISS))])
        };
        assert!(missed(Limits::CPYTHON.addresses - 1));
        assert!(!missed(Limits::CPYTHON.addresses));
    }

    #[test]
    fn truncated_addresses_stay_truncated_after_a_partial_hit() {
        let chain: Vec<Address> = (1..=2000).rev().collect();
        let at = |left: usize| before(chain[left], 7 + left as u64, &chain[left..]);
        let missed = |left: usize| {
            let first = [(before(0, 7, &chain), sample(MISS)), (at(700), sample(Lookup::PartialHit))];
            is_missed(&[&first[..], &[(at(left), sample(MISS))]].concat())
        };
        assert!(missed(Limits::CPYTHON.addresses - 1));
        assert!(!missed(Limits::CPYTHON.addresses));
        // After a rejection, nothing is known about an entry that may have been truncated.
        let rejected = ThreadSample { outcome: Err(Rejection::Empty), ..sample(MISS) };
        let hit = || (at(700), sample(Lookup::PartialHit));
        let seen = (before(0, 7, &chain), sample(MISS));
        assert!(!is_missed(&[seen, (at(10), rejected.clone()), hit(), (at(710), sample(MISS))]));
        assert!(is_missed(&[(at(1990), rejected), (at(1991), sample(Lookup::PartialHit)), (at(1992), sample(MISS))]));
    }

    #[test]
    fn no_hit_is_owed_after_a_rejection_or_a_stop_at_any_instruction() {
        let chain = [0x30, 0x20, 0x10];
        let first = (before(0, 7, &chain), sample(MISS));
        let again = (before(0x30, 7, &chain), sample(MISS));
        let rejected = ThreadSample { outcome: Err(Rejection::Empty), ..sample(MISS) };
        assert!(!is_missed(&[first.clone(), (before(0x30, 7, &chain), rejected), again.clone()]));
        let anywhere = Before { at: At::Anywhere, ..before(0x30, 7, &chain) };
        assert!(!is_missed(&[first.clone(), (anywhere.clone(), sample(MISS))]));
        assert!(!is_missed(&[first.clone(), (anywhere, sample(Lookup::FullHit)), again.clone()]));
        let mut other = again;
        other.0.thread.native_thread_id = 6;
        assert!(!is_missed(&[first, other]));
    }

    #[test]
    fn cpythons_unwinder_takes_nothing_from_the_cache_if_the_anchor_has_no_callers() {
        let last = |chain: &[Address]| Before { python: 2, ..before(0x20, 8, chain) };
        let missed = |chain: &[Address]| {
            let first = Before { python: 2, ..before(0, 7, &[&[0x30], chain].concat()) };
            let now = Before { python: 1, ..last(chain) };
            judges(WalkerKind::CpythonCached, &[(first, sample(MISS)), (now, sample(MISS))])[1].is_some()
        };
        assert!(!missed(&[0x20, 0x7000, 0x10]));
        // The frames below the shim frame are callers.
        assert!(missed(&[0x20, 0x7000, 0x18, 0x7100, 0x10]));
    }

    #[test]
    fn the_reference_walker_owes_no_hits() {
        let chain = [0x30, 0x20, 0x10];
        let samples = [(before(0, 7, &chain), sample(MISS)), (before(0x30, 7, &chain), sample(MISS))];
        assert_eq!(judges(WalkerKind::OwnReference, &samples), [None, None]);
        assert_eq!(judges(WalkerKind::CpythonCached, &samples), [None, Some("hit-missed")]);
    }

    #[test]
    fn a_walker_that_returns_a_stack_anchors_its_leaf() {
        let thread = before(0, 7, &[0x30, 0x20]).thread;
        let left = |anchor, sample: &ThreadSample| {
            anchor_left(&thread, &ThreadState { anchor, ..thread }, sample).map(|violation| violation.name())
        };
        assert_eq!(left(0x30, &sample(MISS)), None);
        assert_eq!(left(0, &sample(MISS)), Some("anchor-not-written"));
        assert_eq!(left(0x20, &sample(Lookup::PartialHit)), Some("anchor-not-written"));
        assert_eq!(left(0, &ThreadSample { outcome: Err(Rejection::Empty), ..sample(MISS) }), None);
    }
}
