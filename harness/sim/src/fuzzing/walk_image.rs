//! Walkers on damaged images of real targets.
//!
//! A snapshot is damaged: fields become addresses of other structures, counters and lengths become absurd, arbitrary
//! bytes change, ranges are unmapped, reads fail. For every image and each walker:
//!
//! 1. Its sample terminates and costs at most what the walkers' limits allow, whatever lengths and links the image
//!    claims.
//! 2. It returns a stack or a typed rejection for each thread, or one rejection for all. It never panics.
//! 3. A stack comes from a chain that ended at the base frame, and has a frame for each link that runs Python code. A
//!    second reading of the image checks this, unless the walker's own write changed its input (thread states can be
//!    made to overlap anything).
//! 4. It writes only to anchors, all eight bytes, of thread states that the interpreter's list leads to.

use arbitrary::Arbitrary;
use framewalk::memory::Address;
use framewalk::sample::{Sample, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::walker::Walker;
use serde::{Deserialize, Serialize};

use super::CheckOutcome;
use super::bounds::most;
use super::chains::{Chain, chains, states};
use super::meter::Meter;
use super::mutation::Mutation;
use super::recorded::{Loaded, Recorded};
use super::sheet::{Borrowed, ScratchImage};
use super::target::FuzzTarget;

/// The fuzz target over single damaged images.
pub static TARGET: FuzzTarget<TestCase> =
    FuzzTarget { name: "walk_image", check, least_accepted: 10, judges_refusals: false };

/// A damaged image and its walker.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
pub struct TestCase {
    /// The recorded snapshot with the stop.
    pub recorded: Recorded,
    /// Index of the stop, modulo their number.
    pub stop: u8,
    /// The walker that samples the image.
    pub walker: Who,
    /// Whether the anchors are set to NULL first, as a profiler does when it attaches.
    pub attach: bool,
    /// Number of samples after the first, modulo 3. Only these can be hits.
    pub more_samples: u8,
    /// Indices of the reads that fail, counted over the whole case.
    pub failing: Vec<u16>,
    /// The changes to the image, in this order.
    pub mutations: Vec<Mutation>,
}

/// The walker of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary, Serialize, Deserialize)]
pub enum Who {
    /// The walker without a cache.
    Uncached,
    /// The walker with CPython's protocol.
    Cached,
    /// The walker with the reference protocol.
    Reference,
}

impl Who {
    /// Kind of the walker. Builds without the frame cache have only the uncached one.
    pub(super) fn kind(self, loaded: &Loaded) -> WalkerKind {
        match self {
            _ if loaded.site.layout.thread.cache.is_none() => WalkerKind::OwnUncached,
            Self::Uncached => WalkerKind::OwnUncached,
            Self::Cached => WalkerKind::OwnCached,
            Self::Reference => WalkerKind::OwnReference,
        }
    }
}

/// Most mutations of a case. More would show nothing new.
const MUTATIONS: usize = 16;
/// Most failing reads of a case.
const FAILING: usize = 8;

/// Checks a walker on a damaged image. The case is accepted if the last sample has a stack.
///
/// # Panics
/// One of the clauses does not hold.
pub fn check(case: &TestCase) -> CheckOutcome {
    let loaded = case.recorded.loaded();
    let stop = usize::from(case.stop) % loaded.snapshot.stops.len();
    let mut sheet = Borrowed::new(case.recorded, stop);
    for mutation in case.mutations.iter().take(MUTATIONS) {
        mutation.apply(loaded, stop, &mut sheet);
    }
    let kind = case.walker.kind(loaded);
    let mut walker = WalkerSpec::from(kind).build(loaded.site).unwrap_or_else(|error| panic!("{error}"));
    let failing = &case.failing[..case.failing.len().min(FAILING)];
    if case.attach {
        let mut meter = Meter::new(&mut sheet, failing);
        let _ = walker.attach(&mut meter);
        let (reads, bytes, writes) = (meter.reads, meter.bytes, meter.writes);
        within_bounds(loaded, &sheet, reads, bytes);
        only_anchors(loaded, &states(&sheet, &loaded.site), &writes);
    }
    let mut outcome = CheckOutcome::Rejected;
    for _ in 0..=case.more_samples % 3 {
        outcome = sample(loaded, &mut sheet, walker.as_mut(), failing);
    }
    outcome
}

/// Takes one sample and checks the clauses.
fn sample(loaded: &Loaded, sheet: &mut ScratchImage, walker: &mut dyn Walker, failing: &[u16]) -> CheckOutcome {
    // A walker that does not write leaves the image unchanged, so its chains can be read afterwards.
    let before = walker.kind().is_cached().then(|| chains(sheet, &loaded.site));
    let mut meter = Meter::new(sheet, failing);
    let result = walker.sample(&mut meter);
    let (reads, bytes, writes) = (meter.reads, meter.bytes, meter.writes);
    within_bounds(loaded, sheet, reads, bytes);
    if !writes.is_empty() {
        let listed: Vec<Address> = before.iter().flatten().map(|chain| chain.state).collect();
        only_anchors(loaded, &listed, &writes);
    }
    let Ok(sample) = result else { return CheckOutcome::Rejected };
    let accepted = sample.threads.iter().any(|thread| thread.outcome.is_ok());
    if accepted {
        let before = before.unwrap_or_else(|| chains(sheet, &loaded.site));
        if writes.is_empty() || chains(sheet, &loaded.site) == before {
            whole_chains(&before, &sample);
        }
    }
    if accepted { CheckOutcome::Accepted } else { CheckOutcome::Rejected }
}

/// Checks clause 1: the work is bounded.
fn within_bounds(loaded: &Loaded, sheet: &ScratchImage, reads: u64, bytes: u64) {
    const SMALL: u64 = 4096;
    if reads < SMALL && bytes < SMALL * SMALL {
        return;
    }
    let most = most(&loaded.site.layout, states(sheet, &loaded.site).len().max(1));
    assert!(reads <= most.reads && bytes <= most.bytes, "{reads} reads of {bytes} bytes; at most {most:?} are allowed");
}

/// Checks clause 4: only anchors are written.
fn only_anchors(loaded: &Loaded, listed: &[Address], writes: &[(Address, usize)]) {
    let anchor = loaded.site.layout.thread.cache.map(|cache| cache.anchor);
    for &(address, length) in writes {
        let anchors = listed.iter().map(|state| anchor.map(|anchor| state.wrapping_add(anchor)));
        let is_anchor = length == 8 && anchors.clone().any(|anchor| anchor == Some(address));
        assert!(is_anchor, "{length} bytes written at {address:#x}, which is not an anchor of {listed:x?}");
    }
}

/// Checks clause 3: a chain is whole.
fn whole_chains(chains: &[Chain], sample: &Sample) {
    assert_eq!(sample.threads.len(), chains.len(), "{} lists different threads", sample.walker);
    for (thread, chain) in sample.threads.iter().zip(chains) {
        if let Ok(stack) = &thread.outcome {
            assert!(chain.at_base, "{} returns {stack:?} for a chain without base: {chain:x?}", sample.walker);
            let python = chain.python().count();
            assert_eq!(stack.len(), python, "{} returns {stack:?} for {chain:x?}", sample.walker);
            assert!(!stack.is_empty(), "{} returns a stack without frames", sample.walker);
        }
    }
}

#[cfg(test)]
#[test]
fn smoke() {
    super::smoke::both_outcomes(check);
}
