//! Speculative prefetch: one vectored read of everything this sample is expected to need.
//!
//! The threads of a target seldom change between two samples, and the walker knows what it needs of each. So one call
//! reads the interpreter list, the thread lists and that data together. If the lists then show other threads than
//! expected, or a read fails, everything is discarded and the sample starts over.

use std::ops::Range;

use smallvec::SmallVec;

use crate::code::CodeGeneration;
use crate::memory::{Address, RemoteMemory, Segment};
use crate::rejection::Rejection;
use crate::site::Site;
use crate::thread_state::{InterpreterWindow, ThreadState, Window, thread_states_of, word};

/// Limit for speculative reads, in bytes.
pub(super) const SPECULATION_LIMIT: usize = 16 << 20;

/// The threads of the previous sample and the buffer of the prefetch. See the module documentation.
#[derive(Default)]
pub(super) struct ThreadPrefetch {
    interpreters: Vec<Listed>,
    states: Vec<ThreadState>,
    /// The ranges to read of each interpreter and each thread. They depend only on the layout.
    windows: Option<(InterpreterWindow, Window)>,
    wishes: ReadPlan,
    buffer: Vec<u8>,
}

/// An interpreter in the target's list.
struct Listed {
    address: Address,
    /// Number of its threads in the previous sample.
    threads: usize,
    /// Generation of its code objects, read before its threads.
    generation: CodeGeneration,
    /// Its `code_object_generation` read after everything else, if requested.
    after: [u8; 8],
}

/// The ranges that a walker expects to need, by thread.
#[derive(Default)]
pub(super) struct ReadPlan {
    /// Addresses and the position of each range in the buffer.
    places: Vec<(Address, Range<usize>)>,
    /// For each thread, the index in `places` at which its ranges end.
    ends: Vec<usize>,
    bytes: usize,
}

impl ReadPlan {
    /// Requests `length` bytes at `address`, in addition to the thread state.
    pub(super) fn add(&mut self, address: Address, length: usize) {
        self.places.push((address, 0..length));
        self.bytes = self.bytes.saturating_add(length);
    }
}

/// Prefetched data of one thread.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) thread: ThreadState,
    /// Whether nothing else was walked since the read.
    pub(super) is_fresh: bool,
    /// Generation of its interpreter's code objects, read before anything of the thread.
    pub(super) generation: CodeGeneration,
    /// Whether the generation was the same after everything was read. Meaningless if that read was not requested.
    pub(super) is_same_after: bool,
    places: &'a [(Address, Range<usize>)],
    buffer: &'a [u8],
}

impl<'a> Seen<'a> {
    /// The requested ranges, in the order of the requests.
    pub(super) fn wishes(self) -> impl Iterator<Item = (Address, &'a [u8])> + Clone {
        let Self { places, buffer, .. } = self;
        places.iter().map(move |(address, place)| (*address, buffer.get(place.clone()).unwrap_or_default()))
    }
}

impl ThreadPrefetch {
    /// Discards all threads, so that the next sample enumerates them.
    pub(super) fn forget(&mut self) {
        self.interpreters.clear();
        self.states.clear();
    }

    /// The threads as last seen.
    pub(super) fn states(&self) -> &[ThreadState] {
        &self.states
    }

    /// Enumerates the threads of the target.
    pub(super) fn enumerate(&mut self, memory: &mut dyn RemoteMemory, site: &Site) -> Result<(), Rejection> {
        self.forget();
        let Self { interpreters, states, .. } = self;
        let found = thread_states_of(memory, &site.layout, site.runtime, |interpreter, thread| match thread {
            None => interpreters.push(Listed {
                address: interpreter,
                threads: 0,
                generation: CodeGeneration::default(),
                after: [0; 8],
            }),
            Some(thread) => {
                states.push(thread);
                if let Some(listed) = interpreters.last_mut() {
                    listed.threads += 1;
                }
            }
        });
        if found.is_err() {
            self.forget();
        }
        found
    }

    /// Prefetches everything in one call. `wish` adds the ranges needed for each thread; `after` requests a second read
    /// of the code-object generations at the end. Returns whether every read succeeded and the threads are the same as
    /// before.
    pub(super) fn look(
        &mut self,
        memory: &mut dyn RemoteMemory,
        site: &Site,
        after: bool,
        mut wish: impl FnMut(&ThreadState, &mut ReadPlan),
    ) -> bool {
        if self.states.is_empty() {
            return false;
        }
        self.wishes.places.clear();
        self.wishes.ends.clear();
        self.wishes.bytes = 0;
        for state in &self.states {
            wish(state, &mut self.wishes);
            self.wishes.ends.push(self.wishes.places.len());
        }
        if self.wishes.bytes > SPECULATION_LIMIT {
            return false;
        }
        let layout = &site.layout;
        let windows = *self.windows.get_or_insert_with(|| (InterpreterWindow::new(layout), Window::new(layout)));
        self.read(memory, site, windows, after) && self.parse(site, windows)
    }

    /// Fills the buffer: head of the interpreter list, interpreters, thread states, requested ranges. Returns whether
    /// all of it was read.
    fn read(
        &mut self,
        memory: &mut dyn RemoteMemory,
        site: &Site,
        (of_interpreter, window): (InterpreterWindow, Window),
        after: bool,
    ) -> bool {
        let Self { interpreters, states, wishes, buffer, .. } = self;
        let heads = 8 + of_interpreter.length() * interpreters.len();
        let total = heads + window.length() * states.len() + wishes.bytes;
        if buffer.len() < total {
            buffer.resize(total, 0);
        }
        let mut segments: SmallVec<[Segment<'_>; 16]> = SmallVec::new();
        let fill = || {
            let (mut lists, mut rest) = buffer.split_at_mut_checked(heads)?;
            let mut at = heads;
            let mut afterwards: SmallVec<[Segment<'_>; 2]> = SmallVec::new();
            segments.push(Segment {
                address: site.runtime.wrapping_add(site.layout.interpreters_head),
                buffer: lists.split_off_mut(..8)?,
            });
            let mut thread = 0_usize;
            for Listed { address: interpreter, threads, after: count, .. } in interpreters {
                segments.push(of_interpreter.segment(*interpreter, lists.split_off_mut(..of_interpreter.length())?));
                if let Some(offset) = site.layout.interpreter.code_object_generation.filter(|_| after) {
                    afterwards.push(Segment { address: interpreter.wrapping_add(offset), buffer: count });
                }
                for _ in 0..*threads {
                    let begin = thread.checked_sub(1).and_then(|before| wishes.ends.get(before)).copied().unwrap_or(0);
                    let end = *wishes.ends.get(thread)?;
                    segments.push(window.segment(states.get(thread)?.address, rest.split_off_mut(..window.length())?));
                    at += window.length();
                    for (address, place) in wishes.places.get_mut(begin..end)? {
                        let length = place.len();
                        segments.push(Segment { address: *address, buffer: rest.split_off_mut(..length)? });
                        *place = at..at + length;
                        at += length;
                    }
                    thread += 1;
                }
            }
            segments.extend(afterwards);
            memory.read_vectored(&mut segments).ok()
        };
        fill().is_some_and(|filled| filled == segments.len())
    }

    /// Parses interpreters and thread states from the buffer. Returns whether the lists are unchanged.
    fn parse(&mut self, site: &Site, (of_interpreter, window): (InterpreterWindow, Window)) -> bool {
        let Self { interpreters, states, wishes, buffer, .. } = self;
        let head = 8 + of_interpreter.length() * interpreters.len();
        let mut at = head;
        let mut thread = 0;
        let mut link = word(buffer, 0);
        for (index, listed) in interpreters.iter_mut().enumerate() {
            if link != Some(listed.address) {
                return false;
            }
            let start = 8 + of_interpreter.length() * index;
            let Some(bytes) = buffer.get(start..start + of_interpreter.length()) else { return false };
            let state = of_interpreter.parse(&site.layout, bytes);
            listed.generation = CodeGeneration { interpreter: listed.address, number: state.number };
            let mut next = Some(state.threads_head);
            for _ in 0..listed.threads {
                let (Some(state), Some(&end)) = (states.get_mut(thread), wishes.ends.get(thread)) else { return false };
                if next != Some(state.address) {
                    return false;
                }
                let Some(bytes) = buffer.get(at..at + window.length()) else { return false };
                *state = window.parse(&site.layout, state.address, bytes);
                // Its frames would be decoded with the code objects of the wrong interpreter.
                if listed.generation.number.is_some() && state.interpreter != listed.address {
                    return false;
                }
                next = Some(state.next);
                let last = end.checked_sub(1).and_then(|last| wishes.places.get(last));
                at = last.map_or(0, |(_, place)| place.end).max(at + window.length());
                thread += 1;
            }
            if next != Some(0) {
                return false;
            }
            link = Some(state.next);
        }
        link == Some(0)
    }

    /// Prefetched data of thread `index`.
    pub(super) fn seen(&self, index: usize) -> Option<Seen<'_>> {
        let begin = index.checked_sub(1).and_then(|before| self.wishes.ends.get(before)).copied().unwrap_or(0);
        let thread = *self.states.get(index)?;
        let mut before = index;
        let mut lists = |listed: &&Listed| {
            let is_in = before < listed.threads;
            before = before.saturating_sub(listed.threads);
            is_in
        };
        let listed = self.interpreters.iter().find(&mut lists)?;
        let count = listed.generation.number.map(|(_, count)| count);
        Some(Seen {
            thread,
            generation: listed.generation,
            is_same_after: count.is_none_or(|count| count == u64::from_le_bytes(listed.after)),
            is_fresh: index == 0,
            places: self.wishes.places.get(begin..*self.wishes.ends.get(index)?)?,
            buffer: &self.buffer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::release_3_15_2::LAYOUT;
    use crate::memory::image::Image;
    const RUNTIME: u64 = 0x1_0000;

    const SITE: Site = Site { layout: LAYOUT, runtime: RUNTIME };
    const INTERPRETER: Address = 0x10_0000;
    const WISHED: Address = 0x90_0000;

    fn thread(index: u64) -> Address {
        0x20_0000 + index * 0x1_0000
    }

    fn put(image: &mut Image, address: Address, word: u64) {
        image.write(address, &word.to_le_bytes()).unwrap();
    }

    /// A target with one interpreter and these threads, in list order.
    fn target(threads: &[u64]) -> Image {
        let mut image = Image::default();
        image.map(RUNTIME, vec![0; 0x1000]);
        image.map(INTERPRETER, vec![0; 0x8000]);
        image.map(WISHED, vec![7; 16]);
        put(&mut image, RUNTIME + LAYOUT.interpreters_head, INTERPRETER);
        let mut link = INTERPRETER + LAYOUT.interpreter.threads_head;
        for &index in threads {
            image.map(thread(index), vec![0; 0x1000]);
            put(&mut image, thread(index) + LAYOUT.thread.native_thread_id, index);
            put(&mut image, thread(index) + LAYOUT.thread.interpreter, INTERPRETER);
            put(&mut image, link, thread(index));
            link = thread(index) + LAYOUT.thread.next;
        }
        image
    }

    fn look(roster: &mut ThreadPrefetch, image: &mut Image) -> bool {
        roster.look(image, &SITE, false, |thread, wishes| {
            if thread.native_thread_id == 2 {
                wishes.add(WISHED, 16);
            }
        })
    }

    #[test]
    fn threads_are_read_with_the_requested_extra_data() {
        let mut image = target(&[1, 2, 3]);
        let mut roster = ThreadPrefetch::default();
        assert!(!look(&mut roster, &mut image), "nothing is known yet");
        roster.enumerate(&mut image, &SITE).unwrap();
        put(&mut image, thread(3) + LAYOUT.thread.current_frame, 0x77);
        assert!(look(&mut roster, &mut image));
        let seen: Vec<Seen<'_>> = (0..).map_while(|index| roster.seen(index)).collect();
        let found: Vec<_> =
            seen.iter().map(|seen| (seen.thread.native_thread_id, seen.wishes().count(), seen.is_fresh)).collect();
        assert_eq!(found, [(1, 0, true), (2, 1, false), (3, 0, false)]);
        assert_eq!(seen[1].wishes().next(), Some((WISHED, [7; 16].as_slice())));
        assert_eq!(seen[2].thread.current_frame, 0x77);
    }

    #[test]
    fn a_changed_list_of_threads_is_noticed() {
        for now in [&[1, 2][..], &[2], &[], &[1, 2, 3, 4], &[4, 1, 2, 3], &[1, 3, 2]] {
            let mut roster = ThreadPrefetch::default();
            roster.enumerate(&mut target(&[1, 2, 3]), &SITE).unwrap();
            assert!(!look(&mut roster, &mut target(now)), "{now:?}");
        }
    }

    #[test]
    fn another_interpreter_is_noticed() {
        let mut image = target(&[1]);
        let mut roster = ThreadPrefetch::default();
        roster.enumerate(&mut image, &SITE).unwrap();
        assert!(look(&mut roster, &mut image));
        put(&mut image, INTERPRETER + LAYOUT.interpreter.next, 0x40_0000);
        assert!(!look(&mut roster, &mut image));
    }

    #[test]
    fn a_thread_with_another_interpreter_is_noticed() {
        let mut image = target(&[1, 2]);
        let mut roster = ThreadPrefetch::default();
        roster.enumerate(&mut image, &SITE).unwrap();
        put(&mut image, thread(2) + LAYOUT.thread.interpreter, 0x40_0000);
        assert!(!look(&mut roster, &mut image));
    }

    #[test]
    fn unreadable_memory_gives_no_first_read() {
        let mut image = target(&[1, 2]);
        let mut roster = ThreadPrefetch::default();
        roster.enumerate(&mut image, &SITE).unwrap();
        image.unmap(WISHED);
        assert!(!look(&mut roster, &mut image));
    }
}
