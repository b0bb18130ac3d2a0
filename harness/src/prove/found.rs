//! What samples lead to: caches, each with the states in which the interpreter can then be.
//!
//! Sequences are counted from the entries, as only the difference matters.

use rustc_hash::FxHashMap;

use crate::prove::graph::{Config, FIRST_SEQUENCE, sequence};
use crate::prove::set::{Element, Member};
use crate::prove::space::Space;
use crate::prove::trace::{Event, Trace};
use crate::sim::map::{Map, THREAD_COUNT};
use crate::walk::cache::FrameCache;

/// States by cache.
#[derive(Default)]
pub struct Found(FxHashMap<FrameCache, FxHashMap<Config, Element>>);

impl Found {
    /// Adds the states of another.
    pub fn merge(&mut self, other: Self) {
        for (cache, configs) in other.0 {
            self.add(cache, configs.into_values());
        }
    }

    fn add(&mut self, cache: FrameCache, elements: impl Iterator<Item = Element>) {
        let there = self.0.entry(cache).or_default();
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
    type Item = (FrameCache, FxHashMap<Config, Element>);
    type IntoIter = std::collections::hash_map::IntoIter<FrameCache, FxHashMap<Config, Element>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Collects the states after samples, by their numbers in one space: most come again and again.
#[derive(Default)]
pub struct Collector(FxHashMap<FrameCache, Collected>);

struct Collected {
    cache: FrameCache,
    offsets: [Option<i8>; THREAD_COUNT],
    /// The least cost of each state that is there already; `u32::MAX` if it is not.
    costs: Vec<u32>,
    elements: Vec<Element>,
}

impl Collector {
    /// Adds the states after a sample that left `cache` behind and gave the result of that index.
    pub fn add(&mut self, space: &Space<'_>, cache: &FrameCache, set: &[Member], result: u32, trace: &mut Trace) {
        if !self.0.contains_key(cache) {
            let (counted, offsets) = counted_from_entries(&space.graph().interpreter.map, cache);
            let new = Collected { cache: counted, offsets, costs: Vec::new(), elements: Vec::new() };
            self.0.insert(cache.clone(), new);
        }
        let Some(there) = self.0.get_mut(cache) else { return };
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
            element.trace = trace.push(element.trace, Event::Result { index: result });
            for (sequence, offset) in element.config.sequences.iter_mut().zip(&there.offsets) {
                // A thread without an entry is compared with nothing.
                *sequence = offset.map_or(0, |offset| sequence.saturating_sub(offset));
            }
            there.elements.push(element);
        }
    }

    /// All that was collected.
    #[must_use]
    pub fn into_found(self) -> Found {
        let mut found = Found::default();
        for collected in self.0.into_values() {
            found.add(collected.cache, collected.elements.into_iter());
        }
        found
    }
}

/// The cache with all entries' sequences set to the first one, and how far they were from it, by thread.
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
