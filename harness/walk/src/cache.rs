//! The frame cache: one entry per thread, looked up by anchor and sequence. Pure data: nothing here reads memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::frame::Frame;
use crate::memory::Address;
use crate::miss::MissReason;
use crate::shared::Shared;
use crate::thread_state::ThreadState;

/// Size limits of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most threads with an entry.
    pub threads: usize,
    /// Most addresses per entry. An anchor deeper in the stack is not found.
    pub addresses: usize,
}

impl Limits {
    /// The limits of CPython's unwinder (`FRAME_CACHE_MAX_THREADS`, `FRAME_CACHE_MAX_FRAMES`).
    pub const CPYTHON: Self = Self { threads: 32, addresses: 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::CPYTHON
    }
}

/// Entries of ended threads are dropped once in this number of samples, as in CPython's unwinder.
const SWEEP_INTERVAL: u32 = 1024;

/// A stored stack, leaf first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Address of the thread state that it was walked from.
    pub thread_state: Address,
    /// Address of the interpreter's state that the thread state belongs to, or NULL if its code-object generation could
    /// not be read.
    pub interpreter: Address,
    /// Addresses of the frames without shim frames; at most [`Limits::addresses`].
    pub addresses: Shared<Address>,
    /// The decoded frames. There can be more of them than addresses.
    pub frames: Shared<Arc<Frame>>,
    /// The sequence when the entry was stored.
    pub sequence: u64,
}

/// What a lookup compares. A weakening turns a comparison off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Compare the address of the thread state.
    pub thread_state: bool,
    /// Compare the sequence with that of the entry.
    pub sequence: bool,
}

impl Checks {
    /// Every comparison, as in CPython's protocol.
    pub const ALL: Self = Self { thread_state: true, sequence: true };
}

/// A cache with one entry per native thread id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FrameCache {
    entries: BTreeMap<u64, Entry>,
    limits: Limits,
    samples: u32,
}

impl FrameCache {
    /// An empty cache with these `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// All entries with their native thread ids, in ascending order of the id.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries.iter().map(|(&native_thread_id, entry)| (native_thread_id, entry))
    }

    /// Adds `offset` to the sequence of a thread's entry, wrapping. Lookups compare this sequence with the thread's
    /// own, so shifting both changes nothing.
    pub fn shift_sequence(&mut self, native_thread_id: u64, offset: u64) {
        if let Some(entry) = self.entries.get_mut(&native_thread_id) {
            entry.sequence = entry.sequence.wrapping_add(offset);
        }
    }

    /// The entry of the thread with this native thread id.
    #[must_use]
    pub fn get(&self, native_thread_id: u64) -> Option<&Entry> {
        self.entries.get(&native_thread_id)
    }

    /// The entry that was stored for this thread state.
    #[must_use]
    pub fn of_thread_state(&self, thread_state: Address) -> Option<&Entry> {
        self.entries.values().find(|entry| entry.thread_state == thread_state)
    }

    /// Removes the entry and returns it. Call it before overwriting the anchor, because the entry is only valid
    /// together with the old anchor.
    pub fn take(&mut self, native_thread_id: u64) -> Option<Entry> {
        self.entries.remove(&native_thread_id)
    }

    /// Stores an entry. Drops it if [`Limits::threads`] other threads already have one.
    pub fn insert(&mut self, native_thread_id: u64, mut entry: Entry) {
        entry.addresses.truncate(self.limits.addresses);
        if self.entries.len() < self.limits.threads || self.entries.contains_key(&native_thread_id) {
            self.entries.insert(native_thread_id, entry);
        }
    }

    /// Counts a sample of `threads`. Drops the entries of all other threads once every 1024 samples.
    pub fn sweep(&mut self, threads: &[ThreadState]) {
        self.samples = self.samples.wrapping_add(1);
        if self.samples.is_multiple_of(SWEEP_INTERVAL) {
            self.retain(|id| threads.iter().any(|thread| thread.native_thread_id == id));
        }
    }

    /// Drops the entries of threads for which `alive` returns false.
    pub fn retain(&mut self, alive: impl Fn(u64) -> bool) {
        self.entries.retain(|&native_thread_id, _| alive(native_thread_id));
    }

    /// Looks for a full hit: the current frame is the entry's first frame and never left the stack.
    ///
    /// # Errors
    /// Why the lookup is not a full hit.
    pub fn full_hit(&self, thread: &ThreadState, checks: Checks) -> Result<&Entry, MissReason> {
        let entry = self.usable(thread, checks)?;
        if thread.current_frame != thread.anchor || entry.addresses.first() != Some(&thread.anchor) {
            return Err(MissReason::EntryStartsElsewhere);
        }
        if checks.sequence && entry.sequence != thread.sequence {
            return Err(MissReason::SequenceMismatch);
        }
        Ok(entry)
    }

    /// Looks for a partial hit: the anchor moved down by exactly the number of frames above it, plus `other_returns`.
    /// Returns the entry and the index of the anchor in it.
    ///
    /// # Errors
    /// Why the lookup is not a partial hit.
    pub fn partial_hit(
        &self,
        thread: &ThreadState,
        checks: Checks,
        other_returns: u64,
    ) -> Result<(&Entry, usize), MissReason> {
        let entry = self.usable(thread, checks)?;
        let index = entry.position(thread.anchor).ok_or(MissReason::AnchorNotInEntry)?;
        let returns = index as u64 + other_returns;
        if checks.sequence && entry.sequence.wrapping_add(returns) != thread.sequence {
            return Err(MissReason::SequenceMismatch);
        }
        Ok((entry, index))
    }

    fn usable(&self, thread: &ThreadState, checks: Checks) -> Result<&Entry, MissReason> {
        if thread.anchor == 0 {
            return Err(MissReason::AnchorNull);
        }
        let entry = self.get(thread.native_thread_id).ok_or(MissReason::NoEntry)?;
        if checks.thread_state && entry.thread_state != thread.address {
            return Err(MissReason::OtherThreadState);
        }
        Ok(entry)
    }
}

impl Entry {
    /// Index of the frame at `address`.
    #[must_use]
    pub fn position(&self, address: Address) -> Option<usize> {
        self.addresses.iter().position(|&here| here == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Location;

    const THREAD: u64 = 7;
    const STATE: Address = 0x1000;

    fn cache() -> FrameCache {
        let frame = |line| {
            let location = Location { line: Some(line), ..Location::default() };
            Arc::new(Frame { function: "f".into(), file: "workload.py".into(), location })
        };
        let mut cache = FrameCache::default();
        cache.insert(
            THREAD,
            Entry {
                thread_state: STATE,
                interpreter: 0,
                addresses: vec![0x30, 0x20, 0x10].into(),
                frames: vec![frame(3), frame(2), frame(1)].into(),
                sequence: u64::MAX,
            },
        );
        cache
    }

    fn thread(current_frame: Address, anchor: Address, sequence: u64) -> ThreadState {
        ThreadState {
            address: STATE,
            next: 0,
            interpreter: 0,
            current_frame,
            native_thread_id: THREAD,
            datastack_chunk: 0,
            base_frame: Some(0),
            anchor,
            sequence,
        }
    }

    #[test]
    fn a_full_hit_needs_everything_to_match() {
        let cache = cache();
        let hit = |thread: &ThreadState| cache.full_hit(thread, Checks::ALL).map(drop);
        assert_eq!(hit(&thread(0x30, 0x30, u64::MAX)), Ok(()));
        assert_eq!(hit(&thread(0x30, 0, u64::MAX)), Err(MissReason::AnchorNull));
        assert_eq!(hit(&thread(0x30, 0x30, 0)), Err(MissReason::SequenceMismatch));
        assert_eq!(hit(&thread(0x20, 0x20, 0)), Err(MissReason::EntryStartsElsewhere));
        assert_eq!(hit(&thread(0x40, 0x30, u64::MAX)), Err(MissReason::EntryStartsElsewhere));
        let other = ThreadState { native_thread_id: 8, ..thread(0x30, 0x30, u64::MAX) };
        assert_eq!(hit(&other), Err(MissReason::NoEntry));
        let reused = ThreadState { address: 0x2000, ..thread(0x30, 0x30, u64::MAX) };
        assert_eq!(hit(&reused), Err(MissReason::OtherThreadState));
    }

    #[test]
    fn a_partial_hit_compares_the_number_of_returns_even_after_wrapping() {
        let cache = cache();
        let hit = |thread: &ThreadState| cache.partial_hit(thread, Checks::ALL, 0).map(|(_, index)| index);
        assert_eq!(hit(&thread(0x40, 0x30, u64::MAX)), Ok(0));
        assert_eq!(hit(&thread(0x40, 0x20, 0)), Ok(1));
        assert_eq!(hit(&thread(0x10, 0x10, 1)), Ok(2));
        assert_eq!(hit(&thread(0x10, 0x10, 2)), Err(MissReason::SequenceMismatch));
        assert_eq!(hit(&thread(0x10, 0x18, 1)), Err(MissReason::AnchorNotInEntry));
    }

    #[test]
    fn each_check_can_be_left_out() {
        let cache = cache();
        let unchecked = Checks { sequence: false, ..Checks::ALL };
        assert!(cache.full_hit(&thread(0x30, 0x30, 5), unchecked).is_ok());
        assert!(cache.partial_hit(&thread(0x40, 0x20, 5), unchecked, 0).is_ok());
    }

    #[test]
    fn the_number_of_threads_is_bounded() {
        let mut cache = FrameCache::default();
        let entry = Entry {
            thread_state: STATE,
            interpreter: 0,
            addresses: vec![1; 2000].into(),
            frames: Shared::default(),
            sequence: 0,
        };
        for thread in 0..100 {
            cache.insert(thread, entry.clone());
        }
        assert_eq!((0..100).filter(|&thread| cache.get(thread).is_some()).count(), Limits::CPYTHON.threads);
        assert_eq!(cache.get(0).map(|entry| entry.addresses.len()), Some(Limits::CPYTHON.addresses));
        cache.retain(|thread| thread < 3);
        assert_eq!((0..100).filter(|&thread| cache.get(thread).is_some()).count(), 3);
    }

    /// A cache with entries for two threads.
    fn two() -> FrameCache {
        let mut cache = cache();
        cache.insert(
            8,
            Entry {
                thread_state: 0x2000,
                interpreter: 0,
                addresses: Shared::default(),
                frames: Shared::default(),
                sequence: 5,
            },
        );
        cache
    }

    #[test]
    fn entries_are_found_by_thread_and_by_thread_state() {
        let mut cache = two();
        let states: Vec<_> = cache.entries().map(|(thread, entry)| (thread, entry.thread_state)).collect();
        assert_eq!(states, [(THREAD, STATE), (8, 0x2000)]);
        assert_eq!(cache.get(8), cache.of_thread_state(0x2000));
        assert_eq!(cache.get(THREAD), cache.of_thread_state(STATE));
        assert_eq!((cache.get(9), cache.of_thread_state(0x3000)), (None, None));
        assert_eq!(cache.take(8).map(|entry| entry.thread_state), Some(0x2000));
        assert_eq!((cache.take(8), cache.entries().count()), (None, 1));
    }

    #[test]
    fn a_sequence_is_shifted_for_one_thread() {
        let mut cache = two();
        cache.shift_sequence(THREAD, 2);
        cache.shift_sequence(9, 2);
        assert_eq!(cache.entries().map(|(_, entry)| entry.sequence).collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn a_full_cache_accepts_no_new_thread_but_updates_the_others() {
        let mut cache = FrameCache::new(Limits { threads: 1, addresses: 2 });
        for (thread, sequence) in [(7, 1), (8, 2), (7, 3)] {
            cache.insert(
                thread,
                Entry {
                    thread_state: STATE,
                    interpreter: 0,
                    addresses: vec![3, 2, 1].into(),
                    frames: Shared::default(),
                    sequence,
                },
            );
        }
        let kept: Vec<_> = cache.entries().map(|(thread, entry)| (thread, entry.sequence)).collect();
        assert_eq!(kept, [(7, 3)]);
        assert_eq!(cache.get(7).and_then(|entry| entry.position(2)), Some(1));
        assert_eq!(cache.get(7).and_then(|entry| entry.position(1)), None);
    }

    #[test]
    fn entries_of_ended_threads_are_swept_periodically() {
        let mut cache = two();
        let alive = [ThreadState { native_thread_id: 8, ..ThreadState::unknown(0x2000) }];
        for _ in 1..SWEEP_INTERVAL {
            cache.sweep(&alive);
        }
        assert_eq!(cache.entries().count(), 2);
        cache.sweep(&alive);
        assert_eq!(cache.entries().map(|(thread, _)| thread).collect::<Vec<_>>(), [8]);
    }

    #[test]
    fn returns_of_other_frames_are_counted() {
        let cache = cache();
        let hit = |sequence, others| cache.partial_hit(&thread(0x40, 0x20, sequence), Checks::ALL, others);
        assert_eq!(hit(2, 2).map(|(_, index)| index), Ok(1));
        assert_eq!(hit(0, 2).map(drop), Err(MissReason::SequenceMismatch));
    }

    #[test]
    fn an_entry_of_another_thread_state_is_used_if_it_is_not_compared() {
        let reused = ThreadState { address: 0x2000, ..thread(0x30, 0x30, u64::MAX) };
        let unchecked = Checks { thread_state: false, ..Checks::ALL };
        assert!(cache().full_hit(&reused, unchecked).is_ok());
        assert_eq!(cache().full_hit(&reused, Checks::ALL).map(drop), Err(MissReason::OtherThreadState));
    }
}
