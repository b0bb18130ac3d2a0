//! The interpreters that CPython's unwinder can list.
//!
//! `RemoteUnwinder` reads the head of the target's list of interpreters when it is made, and begins every sample there
//! (gh-138385). A new interpreter becomes the head of the list, so an unwinder that was made before never lists its
//! threads. If the interpreter at which it begins ends, it follows freed memory.

use framewalk::layout::Layout;
use framewalk::memory::{Address, RemoteMemory};
use framewalk::rejection::Rejection;
use framewalk::sample::ThreadSample;
use framewalk::thread_state::interpreters;
use framewalk::walker::Site;

/// What an unwinder can list at a stop, if it reads the head of the list only once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Listing {
    /// Every interpreter that the target has.
    #[default]
    Whole,
    /// All but these, which were made after the unwinder.
    Without(Vec<Address>),
    /// The interpreter at which the unwinder begins has ended.
    Ended,
}

impl Listing {
    /// What an unwinder lists that was made when `head` was the head of the list. `None` if the head is unknown.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(super) fn of(memory: &mut dyn RemoteMemory, site: Site, head: Option<Address>) -> Result<Self, Rejection> {
        let Some(head) = head else { return Ok(Self::Whole) };
        if memory.read_u64(head_of(&site.layout, site.runtime))? == head {
            return Ok(Self::Whole);
        }
        let mut list = interpreters(memory, &site.layout, site.runtime)?;
        Ok(match list.iter().position(|&interpreter| interpreter == head) {
            Some(newer) => {
                list.truncate(newer);
                Self::Without(list)
            }
            None => Self::Ended,
        })
    }

    /// How many threads at the start of the target's list are missing in a sample, because the unwinder cannot list
    /// their interpreters. Zero unless that alone explains the sample. `interpreters` are those of the target's threads
    /// and `ids` the threads' ids, both in the order of the list.
    pub(super) fn missing(&self, interpreters: &[Address], ids: &[u64], sample: &[ThreadSample]) -> usize {
        let Self::Without(newer) = self else { return 0 };
        let count = interpreters.iter().take_while(|interpreter| newer.contains(interpreter)).count();
        let rest = ids.iter().skip(count).copied();
        if has_raised(sample) || sample.iter().map(|thread| thread.native_thread_id).eq(rest) { count } else { 0 }
    }
}

/// Whether CPython's unwinder raised. It then returns no thread, and the sample has one with the error.
pub(super) fn has_raised(sample: &[ThreadSample]) -> bool {
    matches!(sample, [ThreadSample { outcome: Err(Rejection::Raised(_)), .. }])
}

/// The address of the pointer to the first interpreter.
pub(super) fn head_of(layout: &Layout, runtime: Address) -> Address {
    runtime.wrapping_add(layout.interpreters_head)
}

#[cfg(test)]
mod tests {
    use framewalk::sample::{Lookup, Provenance};

    use super::*;

    fn sample(ids: &[u64]) -> Vec<ThreadSample> {
        let provenance = Provenance { lookup: Lookup::Unknown, from_cache: 0 };
        let of = |&id: &u64| ThreadSample { native_thread_id: id, outcome: Ok(Vec::new().into()), provenance };
        ids.iter().map(of).collect()
    }

    #[test]
    fn only_the_threads_of_newer_interpreters_may_be_missing() {
        let (interpreters, ids) = ([0x30, 0x30, 0x20, 0x10], [7, 3, 2, 7]);
        let newer = Listing::Without(vec![0x30]);
        for (listing, seen, missing) in [
            (&newer, &[2, 7][..], 2),
            // A stand-in that drops one more, reorders them, or drops a thread of an interpreter that was there.
            (&newer, &[2], 0),
            (&newer, &[7, 2], 0),
            (&newer, &[7, 3, 7], 0),
            (&newer, &[7, 3, 2], 0),
            // One that lists them all.
            (&newer, &[7, 3, 2, 7], 0),
            (&Listing::Whole, &[2, 7], 0),
            (&Listing::Ended, &[2, 7], 0),
            // Its interpreter has no thread.
            (&Listing::Without(vec![0x40]), &[2, 7], 0),
            (&Listing::Without(vec![0x40, 0x30, 0x20]), &[7], 3),
        ] {
            assert_eq!(listing.missing(&interpreters, &ids, &sample(seen)), missing, "{listing:?} {seen:?}");
        }
    }

    #[test]
    fn an_error_may_come_from_a_thread_after_those_that_are_not_listed() {
        let mut raised = sample(&[0]);
        raised[0].outcome = Err(Rejection::Raised("RuntimeError: x".into()));
        assert_eq!(Listing::Without(vec![0x30]).missing(&[0x30, 0x10], &[7, 7], &raised), 1);
    }
}
