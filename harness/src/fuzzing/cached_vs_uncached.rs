//! Cached walkers on images that do not move, against the uncached walker on the same image.
//!
//! A cached walker is given images of one process in any order, as often as the case likes, damaged or not; at each it
//! must give exactly what the uncached walker gives for a thread, or reject. What a walker may assume of the images is
//! what the interpreter guarantees, and no more:
//!
//! - **A1.** Let the walker's last stack of a thread (same native thread id, same thread state) come from the frames
//!   `a_0 .. a_n` at sequence `S`. If an image has the anchor `a_i` and the sequence `S + i` for that thread, and `a_i` is
//!   on its chain, then so are `a_i+1 .. a_n`, in this order and nothing else, and each stands where it stood. (Every frame
//!   that leaves the stack while it is the anchor counts one up; so `a_i` lived on, and its callers waited for it.) Of
//!   `a_i` itself nothing but the address is promised.
//! - **A2.** While a walker lives, a code object it has seen does not change, nor do its name, file name and location table.
//!
//! Images that break A1 are given with the anchor NULL, which is what an interpreter shows whose profiler has just attached;
//! that is the only case in which the order of stops matters, because two images of one process may agree by nothing but
//! chance in anchor and sequence. Images that break A2 are given to a new walker. Everything else is open: sequences and
//! anchors of any value, threads that exchange their ids, states or frames, chains that loop or end nowhere.
//! Images of another snapshot are another process: a walker is made for one.
//!
//! Walkers that leave out a check that decides at rest are told from right ones by this: see the tests.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::chains::{Chain, Reader, chains};
use super::mutation::{Effect, Mutation};
use super::recorded::{Loaded, Recorded};
use super::sheet::{Borrowed, Sheet};
use crate::frame::Stack;
use crate::memory::Address;
use crate::sample::{Lookup, Sample};
use crate::walk::cached::CachedWalker;
use crate::walk::reference::ReferenceWalker;
use crate::walk::uncached::UncachedWalker;
use crate::walk::walker::{Unsupported, Walker};
use crate::walk::weakening::Weakening;

/// Images of one process, and who walks them.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
pub struct TestCase {
    /// The snapshot.
    pub recorded: Recorded,
    /// Whether the reference walker walks; else the one of CPython's protocol.
    pub reference: bool,
    /// Damage that all images have.
    pub lasting: Vec<Mutation>,
    /// The images.
    pub steps: Vec<Step>,
}

/// One image.
#[derive(Clone, Debug, Arbitrary, Serialize, Deserialize)]
pub struct Step {
    /// How many stops on from the one before, modulo their number: 1 is the order in which they were recorded.
    pub on: u8,
    /// Damage that only this image has; code objects are left alone.
    pub mutations: Vec<Mutation>,
    /// Whether it is sampled once more, with the anchors that the walker left.
    pub again: bool,
}

/// More steps, or more damage, tell nothing more.
const STEPS: usize = 8;
const MUTATIONS: usize = 8;

/// Checks a cached walker against the uncached one; accepted if a hit was among what was compared.
///
/// # Panics
/// If the cached walker gives another stack.
pub fn check(case: &TestCase) -> Outcome {
    check_weakened(case, &[])
}

/// As [`check`], with faults put into the walker of CPython's protocol.
///
/// # Panics
/// As [`check`].
pub fn check_weakened(case: &TestCase, weakenings: &[Weakening]) -> Outcome {
    run(case, weakenings).0
}

/// The outcome, and how often an image was given with an anchor made NULL because it breaks A1.
fn run(case: &TestCase, weakenings: &[Weakening]) -> (Outcome, u32) {
    let loaded = case.recorded.loaded();
    let new = || -> Result<Box<dyn Walker>, Unsupported> {
        Ok(if case.reference {
            Box::new(ReferenceWalker::new(loaded.site)?)
        } else {
            Box::new(CachedWalker::new(loaded.site, weakenings.iter().copied().collect())?)
        })
    };
    let mut outcome = Outcome::Rejected;
    let Ok(walker) = new() else { return (outcome, 0) };
    let mut tour = Tour { loaded, walker, past: Past::default(), attached: false, broken: 0 };
    let mut stop = 0;
    let lasting = lasting(case, loaded);
    for (index, step) in case.steps.iter().take(STEPS).enumerate() {
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
        for _ in 0..=u8::from(step.again) {
            let image = Given::new(loaded, &mut sheet);
            if !tour.past.knows_the_code_of(loaded, &sheet, &image, !case.lasting.is_empty()) {
                let broken = tour.broken;
                let Ok(walker) = new() else { return (outcome, broken) };
                tour = Tour { loaded, walker, past: Past::default(), attached: false, broken };
                tour.past.knows_the_code_of(loaded, &sheet, &image, true);
            }
            if tour.sample(&mut sheet, &image) {
                outcome = Outcome::Accepted;
            }
        }
    }
    (outcome, tour.broken)
}

/// The lasting damage, by what it does to the first image.
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

/// An image and what the uncached walker gives of it.
struct Given {
    chains: Vec<Chain>,
    truth: Option<Sample>,
}

impl Given {
    fn new(loaded: &Loaded, sheet: &mut Sheet) -> Self {
        let mut uncached = UncachedWalker::new(loaded.site).unwrap_or_else(|error| panic!("{error}"));
        Self { chains: chains(sheet, &loaded.site), truth: uncached.sample(sheet).ok() }
    }

    fn stack(&self, index: usize) -> Option<&Stack> {
        self.truth.as_ref()?.threads.get(index)?.outcome.as_ref().ok()
    }
}

/// What a walker has seen.
#[derive(Default)]
struct Past {
    /// The last stack of each native thread id: its thread state, its frames' addresses, the sequence, the stack.
    stacks: HashMap<u64, (Address, Vec<Address>, u64, Stack)>,
    /// What code objects were.
    codes: HashMap<Address, u64>,
}

impl Past {
    /// A2. Notes the code objects of the image, and tells whether any was otherwise before.
    fn knows_the_code_of(&mut self, loaded: &Loaded, sheet: &Sheet, image: &Given, damaged: bool) -> bool {
        let mut same = true;
        for link in image.chains.iter().flat_map(|chain| &chain.links).filter(|link| link.is_python) {
            // Those that are code objects cannot change but by lasting damage.
            if damaged || !loaded.codes.contains(&link.code) {
                let digest = digest_of_code(loaded, sheet, link.code);
                same &= *self.codes.entry(link.code).or_insert(digest) == digest;
            }
        }
        same
    }

    /// A1, for the thread at `index`.
    fn promises(&self, image: &Given, index: usize, anchor: Address, sequence: u64) -> bool {
        let chain = &image.chains[index];
        let Some((state, addresses, stored, stack)) = self.stacks.get(&chain.native_thread_id) else { return true };
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

/// A digest of everything that a walker reads of a code object. It may cover more than that: then a walker is made anew
/// that need not be.
fn digest_of_code(loaded: &Loaded, sheet: &Sheet, code: Address) -> u64 {
    /// No text or table of the corpus is longer.
    const MOST: usize = 1 << 14;
    let reader = Reader(sheet);
    let layout = &loaded.site.layout.code;
    let mut hasher = DefaultHasher::new();
    let mut pointed = |field: u64, header: u64, data: &[u64]| {
        let Some(at) = reader.word(code.wrapping_add(field)) else { return };
        at.hash(&mut hasher);
        // The header word by word: not all of it may be there. Of what follows, as much as there is.
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
    hasher.finish()
}

/// A walker on its way through the images.
struct Tour<'a> {
    loaded: &'a Loaded,
    walker: Box<dyn Walker>,
    past: Past,
    attached: bool,
    /// Anchors that were made NULL because of A1.
    broken: u32,
}

impl Tour<'_> {
    /// Lets the walker sample an image and compares; whether a hit was compared.
    fn sample(&mut self, sheet: &mut Sheet, image: &Given) -> bool {
        if !self.attached {
            // Whether it can or not: anchors are made NULL below.
            let _ = self.walker.attach(sheet);
        }
        let site = &self.loaded.site;
        let Some(cache) = site.layout.thread.cache else { return false };
        let mut sequences = Vec::with_capacity(image.chains.len());
        for (index, chain) in image.chains.iter().enumerate() {
            let field = |sheet: &Sheet, offset: u64| Reader(sheet).word(chain.state.wrapping_add(offset)).unwrap_or(0);
            let (anchor, sequence) = (field(sheet, cache.anchor), field(sheet, cache.sequence));
            let promised = anchor == 0 || self.past.promises(image, index, anchor, sequence);
            self.broken += u32::from(!promised);
            if !self.attached || !promised {
                sheet.patch(chain.state.wrapping_add(cache.anchor), &[0; 8]);
            }
            sequences.push(sequence);
        }
        self.attached = true;
        let as_given = |sheet: &Sheet| chains(sheet, site) == image.chains;
        if !as_given(sheet) {
            // Thread states overlap something: the uncached walker was given another image.
            return false;
        }
        let result = self.walker.sample(sheet);
        if !as_given(sheet) {
            // The walker's own write changed the image under it.
            self.past.stacks.clear();
            self.attached = false;
            return false;
        }
        let Ok(sample) = result else { return false };
        let mut hit = false;
        assert_eq!(sample.threads.len(), image.chains.len(), "{} lists other threads", sample.walker);
        for (index, thread) in sample.threads.iter().enumerate() {
            let Ok(stack) = &thread.outcome else { continue };
            let truth = image.truth.as_ref().and_then(|truth| truth.threads.get(index)).map(|thread| &thread.outcome);
            let (kind, id, provenance) = (sample.walker, thread.native_thread_id, thread.provenance);
            assert!(
                matches!(truth, Some(Ok(truth)) if truth == stack),
                "{kind} gives of thread {id} ({provenance:?}) {stack:?}, but the uncached walker {truth:?}"
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
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use arbitrary::Unstructured;
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::super::mutation::{Kind, Place, Value};
    use super::*;

    #[test]
    fn smoke() {
        super::super::smoke::both_outcomes(check);
    }

    fn undamaged(on: u8) -> Step {
        Step { on, mutations: Vec::new(), again: false }
    }

    /// The cases of a snapshot without damage, in the order of its stops and in others.
    fn undamaged_orders(recorded: Recorded, reference: bool) -> impl Iterator<Item = TestCase> {
        let case = move |steps| TestCase { recorded, reference, lasting: Vec::new(), steps };
        let mixed = (0..=255_u8).map(|order| (0..8).map(|bit| undamaged(1 + (order >> bit & 1) * 2)).collect());
        std::iter::once((0..8).map(|_| undamaged(1)).collect()).chain(mixed).map(case)
    }

    #[test]
    fn recorded_images_agree_in_every_order_and_hit() {
        for recorded in Recorded::all().filter(|it| !it.name().starts_with("old-")) {
            let cached = undamaged_orders(recorded, false).filter(|case| check(case) == Outcome::Accepted).count();
            assert!(cached > 20, "{}: {cached} of 257 orders have hits", recorded.name());
            for case in undamaged_orders(recorded, true) {
                check(&case);
            }
        }
    }

    #[test]
    fn what_interpreters_left_keeps_the_promise() {
        for recorded in Recorded::all().filter(|it| !it.name().starts_with("old-")) {
            for steps in 1..=8 {
                let steps = (0..steps).map(|_| undamaged(1)).collect();
                let case = TestCase { recorded, reference: false, lasting: Vec::new(), steps };
                // Only going round to the first stop again is no order that a process has.
                if case.steps.len() <= recorded.loaded().snapshot.stops.len() {
                    assert_eq!(run(&case, &[]).1, 0, "{}, {} steps", recorded.name(), case.steps.len());
                }
            }
        }
    }

    /// Damage and orders at random, until the weakened walker is caught.
    fn caught_after(weakening: Weakening, most: u32) -> Option<u32> {
        let mut random = ChaCha8Rng::seed_from_u64(weakening as u64);
        let fails = |case: &TestCase| catch_unwind(AssertUnwindSafe(|| check_weakened(case, &[weakening]))).is_err();
        (0..most).find(|index| {
            let mut bytes = vec![0; 24 + usize::try_from(index % 160).unwrap()];
            random.fill_bytes(&mut bytes);
            let mut case = TestCase::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap();
            case.reference = false;
            fails(&case)
        })
    }

    #[test]
    fn what_a_walker_leaves_out_at_rest_is_noticed() {
        for weakening in [
            Weakening::NoSequenceCheckOnFullHit,
            Weakening::NoSequenceCheckOnPartialHit,
            Weakening::LeafReusedOnFullHit,
            Weakening::ChainStoredWithoutBase,
        ] {
            let caught = caught_after(weakening, 20_000);
            assert!(caught.is_some(), "{weakening} is not noticed");
        }
    }

    fn set(kind: Kind, index: usize, field: u8, value: u64) -> Mutation {
        Mutation::Field(Place { kind, index: index.try_into().unwrap(), field }, Value::Any(value))
    }

    /// Whether one of these cases tells the weakened walker; none may tell the right one.
    fn is_told(weakening: Weakening, mut cases: impl Iterator<Item = TestCase>) -> bool {
        cases.any(|case| {
            check(&case);
            catch_unwind(AssertUnwindSafe(|| check_weakened(&case, &[weakening]))).is_err()
        })
    }

    fn two_steps(recorded: Recorded, first: usize, second: usize, mutations: Vec<Mutation>) -> TestCase {
        let stops = recorded.loaded().snapshot.stops.len();
        let on = |stops: usize| u8::try_from(stops).unwrap();
        let steps = vec![
            undamaged(0),
            undamaged(on(first)),
            Step { on: on((second + stops - first) % stops), mutations, again: false },
        ];
        TestCase { recorded, reference: false, lasting: Vec::new(), steps }
    }

    /// All pairs of stops with their chains.
    fn pairs(name: &str) -> impl Iterator<Item = (Recorded, [usize; 2], [Vec<Chain>; 2])> {
        let recorded = Recorded::try_from(name.to_owned()).unwrap();
        let Loaded { snapshot, site, .. } = recorded.loaded();
        let of = |stop: usize| chains(&snapshot.stops[stop].image, site);
        let stops = 0..snapshot.stops.len();
        stops.clone().flat_map(move |first| {
            stops.clone().map(move |second| (recorded, [first, second], [of(first), of(second)]))
        })
    }

    fn sequence(recorded: Recorded, stop: usize, state: Address) -> u64 {
        let Loaded { snapshot, site, .. } = recorded.loaded();
        let cache = site.layout.thread.cache.unwrap();
        Reader(&snapshot.stops[stop].image).word(state + cache.sequence).unwrap()
    }

    /// The sequence is such that shim frames count as frames that left, on an anchor whose callers are others by now.
    #[test]
    fn counted_shim_frames_are_noticed() {
        let cases = pairs("release-through-c").flat_map(|(recorded, stops, [before, now])| {
            let mut cases = Vec::new();
            for (index, link) in now[0].links.iter().enumerate().filter(|(_, link)| link.is_python) {
                let shims = now[0].links[..index].iter().filter(|link| !link.is_python).count();
                if let Some(place) = before[0].python().position(|address| address == link.address) {
                    let promised = sequence(recorded, stops[0], before[0].state) + (place + shims) as u64;
                    let anchor = set(Kind::Thread, 0, 5, link.address);
                    let damage = vec![anchor, set(Kind::Thread, 0, 6, promised)];
                    cases.push(two_steps(recorded, stops[0], stops[1], damage));
                }
            }
            cases
        });
        assert!(is_told(Weakening::ShimFramesCounted, cases));
    }

    /// Another thread state has the thread's id, its frames and the sequence of its last stack, and the anchor on its leaf;
    /// but the leaf's caller is not there any more.
    #[test]
    fn another_thread_state_is_noticed() {
        let cases =
            ["release-threads", "debug-threads"].into_iter().flat_map(pairs).flat_map(|(recorded, stops, of)| {
                let [before, now] = &of;
                let mut cases = Vec::new();
                for (index, (old, chain)) in before.iter().zip(now).enumerate() {
                    let [leaf, _, caller, .., base] = chain.links.as_slice() else { continue };
                    if old.state != chain.state || old.python().next() != Some(leaf.address) {
                        continue;
                    }
                    let promised = sequence(recorded, stops[0], old.state);
                    let other = usize::from(index == 0);
                    let fields = [
                        (1, leaf.address),
                        (2, old.native_thread_id),
                        (4, base.address),
                        (5, leaf.address),
                        (6, promised),
                    ];
                    let frames = &recorded.loaded().marks[stops[1]].frames;
                    let frame = frames.iter().position(|&frame| frame == leaf.address).unwrap();
                    let mut damage = vec![set(Kind::Thread, index, 2, 1), set(Kind::Frame, frame, 0, caller.address)];
                    damage.extend(fields.map(|(field, value)| set(Kind::Thread, other, field, value)));
                    cases.push(two_steps(recorded, stops[0], stops[1], damage));
                }
                cases
            });
        assert!(is_told(Weakening::ThreadStateNotCompared, cases));
    }
}
