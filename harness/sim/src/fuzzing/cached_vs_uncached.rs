//! Cached walkers on images that do not change, compared with the uncached walker on the same image.
//!
//! A cached walker gets images of one process in any order and any number of times, damaged or not. For each thread it
//! must return exactly what the uncached walker returns, or reject. A walker may assume of the images only what the
//! interpreter guarantees:
//!
//! - **A1.** Let the walker's last stack of a thread (same native thread id, same thread state) come from the frames
//!   `a_0 .. a_n` at sequence `S`. If an image has the anchor `a_i` and the sequence `S + i` for that thread, and `a_i`
//!   is on its chain, then so are `a_i+1 .. a_n`, in this order and without others in between, each at the same
//!   position. (Every frame that leaves the stack while it is the anchor increments the sequence. So `a_i` lived on,
//!   and its callers waited for it.) Of `a_i` itself, only the address is guaranteed.
//! - **A2.** While an interpreter has not counted a freed code object, the code objects that its frames were seen to
//!   run do not change, and neither do their names, file names and location tables.
//!
//! Images that violate A1 get NULL as the anchor, as in an interpreter to which a profiler has just attached. Only in
//! this case does the order of stops matter: two images of one process may agree in anchor and sequence by chance.
//! Images that violate A2 go to a new walker. Everything else is allowed: sequences and anchors of any value, threads
//! that exchange their ids, states or frames, chains that loop or never reach the base frame. Images of another
//! snapshot come from another process, so they get a new walker.
//!
//! This also exposes walkers that skip a check that matters at rest: see the tests, and `FRAMEDIFF_WEAKEN`, which names
//! checks to skip.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher};

use arbitrary::{Arbitrary, Unstructured};
use foldhash::fast::FixedState;
use framewalk::memory::Address;
use framewalk::sample::{Lookup, Sample, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::stack::Stack;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::Walker;
use framewalk::weakening::Weakening;
use serde::{Deserialize, Serialize};

use super::CheckOutcome;
use super::chains::{Chain, Reader, chains};
use super::mutation::{Effect, Mutation};
use super::recorded::{Loaded, Recorded};
use super::reuse::{Generation, Reuse, count_from, divide};
use super::sheet::{Borrowed, ScratchImage};
use super::target::FuzzTarget;
use super::weakened::WEAKENINGS;

/// The fuzz target over sequences of damaged images.
pub static TARGET: FuzzTarget<TestCase> =
    FuzzTarget { name: "cached_vs_uncached", check, least_accepted: 10, judges_refusals: false };

/// Images of one process, and the walker.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
pub struct TestCase {
    /// The recorded snapshot with the undamaged images.
    pub recorded: Recorded,
    /// Whether the reference walker is used instead of the one with CPython's protocol.
    pub reference: bool,
    /// Number of stops sampled in recorded order before the images below, without damage of their own; modulo 8.
    pub before: u8,
    /// Whether all threads except the first belong to a second interpreter. Only in cases that free code objects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub divided: bool,
    /// Damage to all images.
    pub lasting: Vec<Mutation>,
    /// The images that the walker samples, in this order.
    pub steps: Vec<ImageStep>,
}

/// One image of a case.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
pub struct ImageStep {
    /// Number of stops to advance from the previous one, modulo their number. 1 is the recorded order.
    pub on: u8,
    /// Damage to this image only. Code objects are not damaged.
    pub mutations: Vec<Mutation>,
    /// Whether the image is sampled a second time, with the anchors that the walker left.
    pub again: bool,
    /// A code object that is replaced by another one in this image only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[arbitrary(with = rarely)]
    pub reuse: Option<Reuse>,
}

/// One step in eight frees a code object. Walkers then decode everything again, which is slow.
fn rarely(u: &mut Unstructured<'_>) -> arbitrary::Result<Option<Reuse>> {
    u.ratio(1, 8_u8)?.then(|| Reuse::arbitrary(u)).transpose()
}

/// Most steps and most mutations of a case. More would show nothing new.
const STEPS: usize = 8;
const MUTATIONS: usize = 8;

/// Checks a cached walker against the uncached one. The case is accepted if a hit was compared.
///
/// # Panics
/// The cached walker returns a different stack.
pub fn check(case: &TestCase) -> CheckOutcome {
    run(case, &WEAKENINGS).0
}

/// As [`check`], with faults in the walker.
///
/// # Panics
/// As [`check`].
pub fn check_weakened(case: &TestCase, weakenings: &[Weakening]) -> CheckOutcome {
    run(case, &weakenings.iter().copied().collect()).0
}

/// Returns the outcome, and how often an anchor was set to NULL because the image violated A1.
fn run(case: &TestCase, weakenings: &BTreeSet<Weakening>) -> (CheckOutcome, u32) {
    let loaded = case.recorded.loaded();
    let new = || -> Option<Tour<'_>> {
        let kind = if case.reference { WalkerKind::OwnReference } else { WalkerKind::OwnCached };
        let walker = WalkerSpec { kind, weakenings: weakenings.clone() }.build(loaded.site).ok()?;
        let uncached = UncachedWalker::new(loaded.site).ok()?;
        Some(Tour { loaded, walker, uncached, past: Past::default(), attached: false, broken: 0 })
    };
    let mut outcome = CheckOutcome::Rejected;
    // Builds without the frame cache have no cached walker.
    let Some(mut tour) = new() else { return (outcome, 0) };
    let mut stop = 0;
    let lasting = lasting(case, loaded);
    let reuses = case.steps.iter().take(STEPS).any(|step| step.reuse.is_some());
    let damaged = reuses || lasting.iter().any(|effect| effect.changes_code(loaded));
    let recorded = ImageStep { on: 1, mutations: Vec::new(), again: false, reuse: None };
    let before = std::iter::repeat_n(&recorded, usize::from(case.before) % STEPS);
    for (index, step) in before.chain(case.steps.iter().take(STEPS)).enumerate() {
        if index > 0 {
            stop = (stop + usize::from(step.on)) % loaded.snapshot.stops.len();
        }
        let mut sheet = Borrowed::new(case.recorded, stop);
        for effect in &lasting {
            effect.apply(&mut sheet);
        }
        for mutation in step.mutations.iter().take(MUTATIONS) {
            mutation.apply_to_the_mutable(loaded, stop, &mut sheet);
        }
        if reuses && case.divided {
            divide(loaded, &mut sheet);
        }
        if reuses {
            count_from(loaded, stop, 1, &mut sheet);
        }
        if let Some(reuse) = step.reuse {
            // No other image has a generation like this one.
            let chains = chains(&sheet, &loaded.site);
            reuse.apply(loaded, stop, &chains, (1 + index as u64) << 32, &mut sheet);
        }
        for _ in 0..=u8::from(step.again) {
            let mut image = Given { chains: chains(&sheet, &loaded.site), truth: None };
            if !tour.past.knows_the_code_of(loaded, &sheet, &image, damaged) {
                let broken = tour.broken;
                let Some(fresh) = new() else { return (outcome, broken) };
                tour = Tour { broken, ..fresh };
                tour.past.knows_the_code_of(loaded, &sheet, &image, damaged);
            }
            image.truth = tour.uncached.sample(&mut *sheet).ok();
            if reuses {
                tour.compare_with_a_new_walker(&mut sheet, &image);
            }
            if tour.sample(&mut sheet, &image) {
                outcome = CheckOutcome::Accepted;
            }
        }
    }
    (outcome, tour.broken)
}

/// The lasting damage, as its effects on the first image.
fn lasting(case: &TestCase, loaded: &Loaded) -> Vec<Effect> {
    let mut sheet = Borrowed::new(case.recorded, 0);
    let mut effects = Vec::new();
    for mutation in case.lasting.iter().take(MUTATIONS) {
        if let Some(effect) = mutation.effect(loaded, 0, &sheet) {
            effect.apply(&mut sheet);
            effects.push(effect);
        }
    }
    effects
}

/// An image's chains, and the uncached walker's result for it.
struct Given {
    chains: Vec<Chain>,
    truth: Option<Sample>,
}

impl Given {
    fn stack(&self, index: usize) -> Option<&Stack> {
        self.truth.as_ref()?.threads.get(index)?.outcome.as_ref().ok()
    }
}

/// What a walker has seen so far.
#[derive(Default)]
struct Past {
    /// The last stack of each native thread id: thread state, addresses of the frames, sequence, stack.
    stacks: HashMap<u64, (Address, Vec<Address>, u64, Stack)>,
    /// Digests of the code objects.
    codes: HashMap<(Generation, Address), u64>,
    /// Whether the walker may keep stacks that are not in `stacks`. An anchor of an unknown thread may then belong to
    /// one of them, although nothing is known about its frames.
    lost: bool,
}

impl Past {
    /// A2: records the code objects of the image. Returns whether all of them are unchanged.
    fn knows_the_code_of(&mut self, loaded: &Loaded, sheet: &ScratchImage, image: &Given, damaged: bool) -> bool {
        let mut codes: HashSet<(Generation, Address)> = HashSet::new();
        for chain in &image.chains {
            let links = chain.links.iter().filter(|link| link.is_python);
            // Real code objects change only through lasting damage, or if code objects are freed.
            let mut seen =
                links.map(|link| link.code).filter(|code| damaged || !loaded.codes.contains(code)).peekable();
            if seen.peek().is_some() {
                let generation = Generation::of(loaded, sheet, chain);
                codes.extend(seen.map(|code| (generation, code)));
            }
        }
        let mut same = true;
        for (generation, code) in codes {
            let digest = digest_of_code(loaded, sheet, code);
            same &= *self.codes.entry((generation, code)).or_insert(digest) == digest;
        }
        same
    }

    /// Whether A1 holds for the thread at `index`.
    fn promises(&self, image: &Given, index: usize, anchor: Address, sequence: u64) -> bool {
        let chain = &image.chains[index];
        let Some((state, addresses, stored, stack)) = self.stacks.get(&chain.native_thread_id) else {
            return !self.lost;
        };
        let Some(place) = addresses.iter().position(|&address| address == anchor) else { return true };
        if *state != chain.state || stored.wrapping_add(place as u64) != sequence {
            return true;
        }
        let now: Vec<Address> = chain.python().collect();
        let Some(start) = now.iter().position(|&address| address == anchor) else { return true };
        let callers = image.stack(index).and_then(|stack| stack.get(start + 1..));
        now.get(start..) == addresses.get(place..) && callers == stack.get(place + 1..)
    }
}

/// A digest of everything that a walker reads of a code object. It may cover more; then a new walker is made
/// unnecessarily.
fn digest_of_code(loaded: &Loaded, sheet: &ScratchImage, code: Address) -> u64 {
    /// Upper bound for the texts and tables of the corpus, in bytes.
    const MOST: usize = 1 << 14;
    let reader = Reader(sheet);
    let layout = &loaded.site.layout.code;
    let mut hasher = FixedState::default().build_hasher();
    let mut pointed = |field: u64, header: u64, data: &[u64]| {
        let Some(at) = reader.word(code.wrapping_add(field)) else { return };
        at.hash(&mut hasher);
        // The header is hashed word by word, because it may be mapped only in part. Of the data, whatever is mapped is
        // hashed.
        for offset in (0..header).step_by(8) {
            reader.word(at.wrapping_add(offset)).hash(&mut hasher);
        }
        for &offset in data {
            let rest = sheet.rest(at.wrapping_add(offset));
            rest.map(|rest| rest.get(..MOST).unwrap_or(rest)).hash(&mut hasher);
        }
    };
    let texts = [layout.ascii_data, layout.compact_data];
    pointed(layout.qualname, layout.ascii_data, &texts);
    pointed(layout.filename, layout.ascii_data, &texts);
    pointed(layout.linetable, layout.bytes_data, &[layout.bytes_data]);
    sheet.get(code, usize::try_from(layout.size).unwrap_or(0)).is_some().hash(&mut hasher);
    sheet.get(code.wrapping_add(layout.first_line), 4).hash(&mut hasher);
    sheet.get(code.wrapping_add(layout.flags), 4).hash(&mut hasher);
    // The number of code units.
    reader.word(code.wrapping_add(layout.bytes_size)).hash(&mut hasher);
    hasher.finish()
}

/// A walker going through the images.
struct Tour<'a> {
    loaded: &'a Loaded,
    walker: Box<dyn Walker>,
    /// Returns the truth. By A2 it may keep decoded code objects, like the walker under test. Whether it does so
    /// correctly is checked in cases that free code objects.
    uncached: UncachedWalker,
    past: Past,
    attached: bool,
    /// Number of anchors set to NULL because of A1.
    broken: u32,
}

impl Tour<'_> {
    /// Checks that the uncached walker, with its decoded code objects, returns the same as a new one.
    fn compare_with_a_new_walker(&self, sheet: &mut ScratchImage, image: &Given) {
        let new = UncachedWalker::new(self.loaded.site).ok().and_then(|mut walker| walker.sample(sheet).ok());
        let (Some(new), Some(truth)) = (new, &image.truth) else { return };
        for (kept, new) in truth.threads.iter().zip(&new.threads) {
            if let (Ok(kept), Ok(new)) = (&kept.outcome, &new.outcome) {
                assert!(kept == new, "the uncached walker returns {kept:?}, but a new one {new:?}");
            }
        }
    }

    /// Samples an image and compares the result. Returns whether a hit was compared.
    fn sample(&mut self, sheet: &mut ScratchImage, image: &Given) -> bool {
        if !self.attached {
            // An error does not matter: the anchors are set to NULL below.
            let _ = self.walker.attach(sheet);
        }
        let site = &self.loaded.site;
        let Some(cache) = site.layout.thread.cache else { return false };
        let mut sequences = Vec::with_capacity(image.chains.len());
        for (index, chain) in image.chains.iter().enumerate() {
            let field =
                |sheet: &ScratchImage, offset: u64| Reader(sheet).word(chain.state.wrapping_add(offset)).unwrap_or(0);
            let (anchor, sequence) = (field(sheet, cache.anchor), field(sheet, cache.sequence));
            let promised = anchor == 0 || self.past.promises(image, index, anchor, sequence);
            self.broken += u32::from(!promised);
            if !self.attached || !promised {
                sheet.patch(chain.state.wrapping_add(cache.anchor), &[0; 8]);
            }
            sequences.push(sequence);
        }
        let as_given = |sheet: &ScratchImage| chains(sheet, site) == image.chains;
        if !as_given(sheet) {
            // A thread state overlaps something else, so the uncached walker saw a different image. If the walker was
            // to attach, it attaches to the next image.
            return false;
        }
        self.attached = true;
        let result = self.walker.sample(sheet);
        let Some(sample) = result.ok().filter(|_| as_given(sheet)) else {
            // The walker's own write changed its input, or it rejected the sample midway. What it keeps of this image
            // is unknown.
            self.past.stacks.clear();
            self.past.lost = true;
            self.attached = false;
            return false;
        };
        let mut hit = false;
        assert_eq!(sample.threads.len(), image.chains.len(), "{} lists different threads", sample.walker);
        for (index, thread) in sample.threads.iter().enumerate() {
            let Ok(stack) = &thread.outcome else { continue };
            let truth = image.truth.as_ref().and_then(|truth| truth.threads.get(index)).map(|thread| &thread.outcome);
            let (kind, id, provenance) = (sample.walker, thread.native_thread_id, thread.provenance);
            assert!(
                matches!(truth, Some(Ok(truth)) if truth == stack),
                "{kind} returns {stack:?} for thread {id} ({provenance:?}), but the uncached walker returns {truth:?}"
            );
            hit |= matches!(thread.provenance.lookup, Lookup::FullHit | Lookup::PartialHit);
            let chain = &image.chains[index];
            let seen = (chain.state, chain.python().collect(), sequences[index], stack.clone());
            self.past.stacks.insert(chain.native_thread_id, seen);
        }
        hit
    }
}

#[cfg(test)]
mod tests;
