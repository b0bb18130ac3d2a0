//! The result of samples: memories of the walker, each with the states that the interpreter can then be in.
//!
//! Sequences are stored relative to the entries' sequences, because only the difference matters.

use framewalk::cache::FrameCache;
use rustc_hash::FxHashMap;

use crate::map::{Map, THREAD_COUNT};
use crate::prove::element::{Element, Member};
use crate::prove::graph::{Config, FIRST_SEQUENCE, sequence};
use crate::prove::memory::{KnownCodes, Memory};
use crate::prove::space::Space;
use crate::prove::trace::{ProofEvent, ProofTrace};

/// Interpreter states by the walker's memory.
#[derive(Default)]
pub struct Found(FxHashMap<Memory, FxHashMap<Config, Element>>);

impl Found {
    /// Adds the states of `other`.
    pub fn merge(&mut self, other: Self) {
        for (memory, configs) in other.0 {
            self.add(memory, configs.into_values());
        }
    }

    fn add(&mut self, memory: Memory, elements: impl Iterator<Item = Element>) {
        let there = self.0.entry(memory).or_default();
        for element in elements {
            match there.get(&element.config) {
                Some(known) if known.cost <= element.cost => {}
                _ => {
                    there.insert(element.config, element);
                }
            }
        }
    }
}

impl IntoIterator for Found {
    type Item = (Memory, FxHashMap<Config, Element>);
    type IntoIter = std::collections::hash_map::IntoIter<Memory, FxHashMap<Config, Element>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Collects the states after samples, by their ids in one space. Most states occur repeatedly.
#[derive(Default)]
pub struct Collector(FxHashMap<Option<KnownCodes>, FxHashMap<FrameCache, Collected>>);

struct Collected {
    cache: FrameCache,
    offsets: [Option<i8>; THREAD_COUNT],
    /// The least cost of each state in `elements`; `u32::MAX` for the other states.
    costs: Vec<u32>,
    elements: Vec<Element>,
}

impl Collector {
    /// Adds the states after a sample that left this cache and these code objects and returned the result with that
    /// index.
    pub fn add(
        &mut self,
        space: &Space<'_>,
        (cache, codes): (&FrameCache, Option<KnownCodes>),
        set: &[Member],
        result: u32,
        trace: &mut ProofTrace,
    ) {
        let caches = self.0.entry(codes).or_default();
        if !caches.contains_key(cache) {
            let (counted, offsets) = counted_from_entries(&space.graph().interpreter.map, cache);
            let new = Collected { cache: counted, offsets, costs: Vec::new(), elements: Vec::new() };
            caches.insert(cache.clone(), new);
        }
        let Some(there) = caches.get_mut(cache) else { return };
        if there.costs.len() < space.len() {
            there.costs.resize(space.len().next_power_of_two(), u32::MAX);
        }
        for member in set {
            let least = &mut there.costs[member.id as usize];
            if member.cost >= *least {
                continue;
            }
            *least = member.cost;
            let mut element = space.element(member);
            element.seen = 0;
            element.trace = trace.push(element.trace, ProofEvent::Result { index: result });
            for (sequence, offset) in element.config.sequences.iter_mut().zip(&there.offsets) {
                // A thread without an entry has nothing to be compared with.
                *sequence = offset.map_or(0, |offset| sequence.saturating_sub(offset));
            }
            there.elements.push(element);
        }
    }

    /// Everything that was collected, by what the walker remembers.
    #[must_use]
    pub fn into_found(self) -> Found {
        let mut found = Found::default();
        for (codes, caches) in self.0 {
            for collected in caches.into_values() {
                let memory = Memory { cache: collected.cache, codes: codes.clone() };
                found.add(memory, collected.elements.into_iter());
            }
        }
        found
    }
}

/// The cache with the sequences of all entries replaced by the first one, and the difference to it by thread.
fn counted_from_entries(map: &Map, cache: &FrameCache) -> (FrameCache, [Option<i8>; THREAD_COUNT]) {
    let mut counted = cache.clone();
    let mut offsets = [None; THREAD_COUNT];
    for (id, entry) in cache.entries() {
        let thread = (0..map.threads()).find(|&thread| map.thread_address(thread) == entry.thread_state);
        let distance = entry.sequence.wrapping_sub(FIRST_SEQUENCE);
        if let (Some(thread), Ok(offset)) = (thread, i8::try_from(distance.cast_signed())) {
            debug_assert_eq!(sequence(offset), entry.sequence);
            offsets[thread] = Some(offset);
            counted.shift_sequence(id, 0_u64.wrapping_sub(distance));
        }
    }
    (counted, offsets)
}
