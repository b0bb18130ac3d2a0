//! A profile: how often each function was the leaf.

use std::collections::HashMap;
use std::sync::Arc;

use framewalk::sample::ThreadSample;
use serde::{Deserialize, Serialize};

use crate::oracle::distribution::{Slices, sums};
use crate::schedule::fingerprint::LeafKind;

/// Functions beyond this number are counted together as one.
const MOST_LEAVES: usize = 256;
/// The largest number of slices. When it is reached, neighbouring slices are merged in pairs.
const MOST_SLICES: usize = 32;

/// A function that was the leaf of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leaf {
    /// The `co_qualname` of its code object.
    pub function: String,
    /// The last part of `co_filename`.
    pub file: String,
}

/// Counts by leaf, in slices of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The leaves, in the order in which they were first seen.
    pub leaves: Vec<Leaf>,
    /// For each leaf, how often it was of each kind. The kind is known only if the target was stopped.
    #[serde(default)]
    pub kinds: Vec<[u64; LeafKind::ALL.len()]>,
    /// Counts by leaf. All slices but the last cover the same number of samples.
    pub slices: Slices,
}

impl Profile {
    /// The profile that a program was generated to have: functions of one file, with weights.
    #[must_use]
    pub fn known(weights: &[(String, u32)], file: &str) -> Self {
        let leaf = |(function, _): &(String, u32)| Leaf { function: function.clone(), file: file.to_owned() };
        Self {
            leaves: weights.iter().map(leaf).collect(),
            kinds: vec![[0; LeafKind::ALL.len()]; weights.len()],
            slices: vec![weights.iter().map(|(_, weight)| u64::from(*weight)).collect()],
        }
    }

    /// How many stacks were counted.
    #[must_use]
    pub fn stacks(&self) -> u64 {
        self.slices.iter().flatten().sum()
    }

    /// How often each leaf was seen.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        sums(&self.slices, self.leaves.len())
    }

    /// The slices, reordered to match `leaves`. A leaf that is not in `leaves` is appended.
    #[must_use]
    pub fn by(&self, leaves: &mut Vec<Leaf>) -> Slices {
        let places: Vec<usize> = (self.leaves.iter())
            .map(|leaf| {
                leaves.iter().position(|other| other == leaf).unwrap_or_else(|| {
                    leaves.push(leaf.clone());
                    leaves.len() - 1
                })
            })
            .collect();
        let place = |slice: &Vec<u64>| {
            let mut placed = vec![0; leaves.len()];
            for (&at, count) in places.iter().zip(slice) {
                if let Some(sum) = placed.get_mut(at) {
                    *sum += count;
                }
            }
            placed
        };
        self.slices.iter().map(place).collect()
    }
}

/// Counts samples into a profile.
#[derive(Clone, Debug)]
pub struct Counter {
    known: HashMap<(Arc<str>, Arc<str>), usize>,
    profile: Profile,
    /// Stacks in a full slice, and in the last one.
    size: u64,
    last: u64,
}

impl Default for Counter {
    fn default() -> Self {
        Self { known: HashMap::new(), profile: Profile::default(), size: 1, last: 0 }
    }
}

impl Counter {
    /// Counts one walk of a thread. A walk without a stack has no leaf and is not counted. `kind` is the kind of leaf,
    /// if known.
    pub fn count(&mut self, sample: &ThreadSample, kind: Option<LeafKind>) {
        let Some(leaf) = sample.outcome.as_ref().ok().and_then(|stack| stack.first()) else { return };
        let key = (Arc::clone(&leaf.function), Arc::clone(&leaf.file));
        let place = match self.known.get(&key) {
            Some(&place) => place,
            None => self.learn(key),
        };
        if let Some(counts) = self.profile.kinds.get_mut(place)
            && let Some(at) = kind.and_then(|kind| LeafKind::ALL.iter().position(|&other| other == kind))
            && let Some(count) = counts.get_mut(at)
        {
            *count += 1;
        }
        if self.profile.slices.is_empty() || self.last == self.size {
            self.begin();
        }
        self.last += 1;
        if let Some(slice) = self.profile.slices.last_mut() {
            if slice.len() <= place {
                slice.resize(place + 1, 0);
            }
            if let Some(count) = slice.get_mut(place) {
                *count += 1;
            }
        }
    }

    /// The profile of everything counted so far.
    #[must_use]
    pub fn finish(self) -> Profile {
        self.profile
    }

    fn learn(&mut self, key: (Arc<str>, Arc<str>)) -> usize {
        let Profile { leaves, kinds, .. } = &mut self.profile;
        if leaves.len() >= MOST_LEAVES {
            return MOST_LEAVES - 1;
        }
        let file = key.1.rsplit('/').next().unwrap_or(&key.1).to_owned();
        let mut leaf = Leaf { function: key.0.to_string(), file };
        // The same file may have been seen in another folder.
        let known = leaves.iter().position(|other| *other == leaf);
        let place = known.unwrap_or_else(|| {
            if leaves.len() == MOST_LEAVES - 1 {
                leaf = Leaf { function: "others".into(), file: String::new() };
            }
            leaves.push(leaf);
            kinds.push([0; LeafKind::ALL.len()]);
            leaves.len() - 1
        });
        self.known.insert(key, place);
        place
    }

    /// Begins a slice. If there are too many, neighbouring slices are merged in pairs, and later slices are twice as
    /// long.
    fn begin(&mut self) {
        let slices = &mut self.profile.slices;
        if slices.len() == MOST_SLICES {
            let old = std::mem::take(slices);
            for pair in old.chunks(2) {
                slices.push(sums(pair, pair.iter().map(Vec::len).max().unwrap_or(0)));
            }
            self.size *= 2;
        }
        slices.push(Vec::new());
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use framewalk::frame::{Frame, Location};
    use framewalk::rejection::Rejection;
    use framewalk::sample::{Lookup, Provenance};

    use super::*;

    fn sample(function: &str) -> ThreadSample {
        let frame = |function: &str| Frame {
            function: function.into(),
            file: "/somewhere/workload.py".into(),
            location: Location::default(),
        };
        let provenance = Provenance { lookup: Lookup::Uncached, from_cache: 0 };
        ThreadSample { native_thread_id: 1, outcome: Ok(vec![frame(function), frame("caller")].into()), provenance }
    }

    #[test]
    fn leaves_are_counted_in_slices_of_equal_length() {
        let mut counter = Counter::default();
        for index in 0..200 {
            counter.count(&sample(["one", "other"][usize::from(index % 4 == 0)]), Some(LeafKind::Generator));
        }
        counter.count(&ThreadSample { outcome: Err(Rejection::Empty), ..sample("one") }, None);
        let profile = counter.finish();
        assert_eq!(profile.leaves[0], Leaf { function: "other".into(), file: "workload.py".into() });
        assert_eq!((profile.stacks(), profile.counts()), (200, vec![50, 150]));
        assert_eq!(profile.kinds[1][2], 150);
        assert!(profile.slices.len() <= MOST_SLICES, "{}", profile.slices.len());
        let sizes: Vec<u64> = profile.slices.iter().map(|slice| slice.iter().sum()).collect();
        assert!(sizes[..sizes.len() - 1].iter().all(|&size| size == sizes[0]), "{sizes:?}");
    }

    #[test]
    fn functions_beyond_the_limit_share_one_entry() {
        let mut counter = Counter::default();
        for index in 0..400 {
            counter.count(&sample(&format!("f{index}")), None);
        }
        let profile = counter.finish();
        assert_eq!((profile.leaves.len(), profile.stacks()), (MOST_LEAVES, 400));
        assert_eq!(profile.counts().last(), Some(&145));
        assert_eq!(profile.leaves.last().unwrap().function, "others");
    }

    #[test]
    fn a_profile_does_not_depend_on_the_folder_of_the_program() {
        let mut counter = Counter::default();
        counter.count(&sample("one"), None);
        let mut elsewhere = sample("one");
        let mut stack = elsewhere.outcome.as_ref().unwrap().to_vec();
        stack[0].file = "/elsewhere/workload.py".into();
        elsewhere.outcome = Ok(stack.into());
        counter.count(&elsewhere, None);
        assert_eq!(counter.finish().counts(), [2]);
    }

    #[test]
    fn two_profiles_are_aligned_by_function() {
        let count = |functions: &[&str]| {
            let mut counter = Counter::default();
            functions.iter().for_each(|function| counter.count(&sample(function), None));
            counter.finish()
        };
        let (truth, profile) = (count(&["a", "b"]), count(&["c", "b"]));
        let mut leaves = truth.leaves.clone();
        assert_eq!(profile.by(&mut leaves), [[0, 0, 1], [0, 1, 0]]);
        assert_eq!(leaves.iter().map(|leaf| leaf.function.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
