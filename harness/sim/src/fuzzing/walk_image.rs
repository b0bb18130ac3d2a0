//! Walkers on damaged images of real targets.
//!
//! A snapshot is damaged: fields of structures become other addresses, counters and lengths become absurd, bytes change
//! anywhere, ranges are gone, reads fail. Whatever the image is, for each walker:
//!
//! 1. its sample ends, and costs at the most what the walkers' limits allow, whatever lengths and links the image claims;
//! 2. it gives a stack or a typed rejection for each thread, or one rejection for all; it never panics;
//! 3. a stack comes from a chain that ended at the base frame, and has a frame for each link of it that runs Python:
//!    checked by another reading of the image, unless the walker's own write changed what it walks (thread states can be
//!    made to overlap anything);
//! 4. it writes nothing but the eight bytes of the anchor of a thread state that the interpreter's list leads to.

use arbitrary::Arbitrary;
use framewalk::memory::Address;
use framewalk::sample::{Sample, WalkerKind};
use framewalk::walker::Walker;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::bounds::most;
use super::chains::{Chain, chains, states};
use super::meter::Meter;
use super::mutation::Mutation;
use super::recorded::{Loaded, Recorded};
use super::sheet::{Borrowed, Sheet};
use super::target::FuzzTarget;
use crate::snapshot::replay::walker;

/// The target.
pub static TARGET: FuzzTarget<TestCase> =
    FuzzTarget { name: "walk_image", check, least_accepted: 10, judges_refusals: false };

/// A damaged image, and who walks it.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
pub struct TestCase {
    /// The snapshot.
    pub recorded: Recorded,
    /// Which of its stops, modulo their number.
    pub stop: u8,
    /// Who walks.
    pub walker: Who,
    /// Whether anchors are made NULL first, as a profiler does that attaches.
    pub attach: bool,
    /// How many samples follow the first, modulo 3: only they can be hits.
    pub more_samples: u8,
    /// The numbers of the reads that fail, counted over the whole case.
    pub failing: Vec<u16>,
    /// The damage.
    pub mutations: Vec<Mutation>,
}

/// Who walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary, Serialize, Deserialize)]
pub enum Who {
    /// The walker without a cache.
    Uncached,
    /// The walker of CPython's protocol.
    Cached,
    /// The reference walker.
    Reference,
}

impl Who {
    /// As walkers are called; builds without the cache have the uncached one only.
    pub(super) fn kind(self, loaded: &Loaded) -> WalkerKind {
        match self {
            _ if loaded.site.layout.thread.cache.is_none() => WalkerKind::OwnUncached,
            Self::Uncached => WalkerKind::OwnUncached,
            Self::Cached => WalkerKind::OwnCached,
            Self::Reference => WalkerKind::OwnReference,
        }
    }
}

/// More damage than this tells nothing more.
const MUTATIONS: usize = 16;
/// As many reads may fail.
const FAILING: usize = 8;

/// Checks the walkers on a damaged image; accepted if the last sample has a stack.
///
/// # Panics
/// If one of the clauses does not hold.
pub fn check(case: &TestCase) -> Outcome {
    let loaded = case.recorded.loaded();
    let stop = usize::from(case.stop) % loaded.snapshot.stops.len();
    let mut sheet = Borrowed::new(case.recorded, stop);
    for mutation in case.mutations.iter().take(MUTATIONS) {
        mutation.apply(loaded, stop, &mut sheet);
    }
    let kind = case.walker.kind(loaded);
    let mut walker = walker(kind, loaded.site).unwrap_or_else(|error| panic!("{error}"));
    let failing = &case.failing[..case.failing.len().min(FAILING)];
    if case.attach {
        let mut meter = Meter::new(&mut sheet, failing);
        let _ = walker.attach(&mut meter);
        let (reads, bytes, writes) = (meter.reads, meter.bytes, meter.writes);
        within_bounds(loaded, &sheet, reads, bytes);
        only_anchors(loaded, &states(&sheet, &loaded.site), &writes);
    }
    let mut outcome = Outcome::Rejected;
    for _ in 0..=case.more_samples % 3 {
        outcome = sample(loaded, &mut sheet, walker.as_mut(), failing);
    }
    outcome
}

/// One sample and all that must hold of it.
fn sample(loaded: &Loaded, sheet: &mut Sheet, walker: &mut dyn Walker, failing: &[u16]) -> Outcome {
    // What does not write leaves the image as it is, to be looked at afterwards.
    let before = walker.kind().is_cached().then(|| chains(sheet, &loaded.site));
    let mut meter = Meter::new(sheet, failing);
    let result = walker.sample(&mut meter);
    let (reads, bytes, writes) = (meter.reads, meter.bytes, meter.writes);
    within_bounds(loaded, sheet, reads, bytes);
    if !writes.is_empty() {
        let listed: Vec<Address> = before.iter().flatten().map(|chain| chain.state).collect();
        only_anchors(loaded, &listed, &writes);
    }
    let Ok(sample) = result else { return Outcome::Rejected };
    let accepted = sample.threads.iter().any(|thread| thread.outcome.is_ok());
    if accepted {
        let before = before.unwrap_or_else(|| chains(sheet, &loaded.site));
        if writes.is_empty() || chains(sheet, &loaded.site) == before {
            whole_chains(&before, &sample);
        }
    }
    if accepted { Outcome::Accepted } else { Outcome::Rejected }
}

/// Clause 1.
fn within_bounds(loaded: &Loaded, sheet: &Sheet, reads: u64, bytes: u64) {
    const SMALL: u64 = 4096;
    if reads < SMALL && bytes < SMALL * SMALL {
        return;
    }
    let most = most(&loaded.site.layout, states(sheet, &loaded.site).len().max(1));
    assert!(reads <= most.reads && bytes <= most.bytes, "{reads} reads of {bytes} bytes; {most:?} at the most");
}

/// Clause 4.
fn only_anchors(loaded: &Loaded, listed: &[Address], writes: &[(Address, usize)]) {
    let anchor = loaded.site.layout.thread.cache.map(|cache| cache.anchor);
    for &(address, length) in writes {
        let anchors = listed.iter().map(|state| anchor.map(|anchor| state.wrapping_add(anchor)));
        let is_anchor = length == 8 && anchors.clone().any(|anchor| anchor == Some(address));
        assert!(is_anchor, "{length} bytes written at {address:#x}, which is no anchor of {listed:x?}");
    }
}

/// Clause 3.
fn whole_chains(chains: &[Chain], sample: &Sample) {
    assert_eq!(sample.threads.len(), chains.len(), "{} lists other threads", sample.walker);
    for (thread, chain) in sample.threads.iter().zip(chains) {
        if let Ok(stack) = &thread.outcome {
            assert!(chain.at_base, "{} gives {stack:?} of a chain without base: {chain:x?}", sample.walker);
            let python = chain.python().count();
            assert_eq!(stack.len(), python, "{} gives {stack:?} of {chain:x?}", sample.walker);
            assert!(!stack.is_empty(), "{} gives a stack without frames", sample.walker);
        }
    }
}

#[cfg(test)]
#[test]
fn smoke() {
    super::smoke::both_outcomes(check);
}
