//! What the check detects, and what it does not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arbitrary::Unstructured;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::super::mutation::{MutationKind, Value, WordChoice};
use super::*;

#[test]
fn smoke() {
    super::super::smoke::both_outcomes(check);
}

fn undamaged(on: u8) -> ImageStep {
    ImageStep { on, mutations: Vec::new(), again: false, reuse: None }
}

/// Cases from a snapshot without damage: its stops in recorded order and in other orders.
fn undamaged_orders(recorded: Recorded, reference: bool) -> impl Iterator<Item = TestCase> {
    let case = move |steps| TestCase { recorded, reference, before: 0, divided: false, lasting: Vec::new(), steps };
    let mixed = (0..=255_u8).map(|order| (0..8).map(|bit| undamaged(1 + (order >> bit & 1) * 2)).collect());
    std::iter::once((0..8).map(|_| undamaged(1)).collect()).chain(mixed).map(case)
}

#[test]
fn recorded_images_agree_in_every_order_and_hit() {
    for recorded in Recorded::all().filter(|it| !it.name().starts_with("old-")) {
        let cached = undamaged_orders(recorded, false).filter(|case| check(case) == CheckOutcome::Accepted).count();
        assert!(cached > 20, "{}: {cached} of 257 orders have hits", recorded.name());
        for case in undamaged_orders(recorded, true) {
            check(&case);
        }
    }
}

#[test]
fn images_of_real_interpreters_keep_the_promise() {
    for recorded in Recorded::all().filter(|it| !it.name().starts_with("old-")) {
        for steps in 1..=8 {
            let steps = (0..steps).map(|_| undamaged(1)).collect();
            let case = TestCase { recorded, reference: false, before: 0, divided: false, lasting: Vec::new(), steps };
            // Only returning to the first stop is an order that no process produces.
            if case.steps.len() <= recorded.loaded().snapshot.stops.len() {
                assert_eq!(run(&case, &BTreeSet::new()).1, 0, "{}, {} steps", recorded.name(), case.steps.len());
            }
        }
    }
}

/// Tries random damage and orders until the weakened walker is caught. Returns the index of the case that catches it.
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
fn missing_checks_of_a_walker_at_rest_are_noticed() {
    for weakening in [
        Weakening::NoSequenceCheckOnFullHit,
        Weakening::NoSequenceCheckOnPartialHit,
        Weakening::LeafReusedOnFullHit,
        Weakening::ChainStoredWithoutBase,
        Weakening::CodeKeptAfterFree,
    ] {
        let caught = caught_after(weakening, 20_000);
        assert!(caught.is_some(), "{weakening} is not noticed");
    }
}

fn set(kind: MutationKind, index: usize, field: u8, value: u64) -> Mutation {
    Mutation::Field(WordChoice { kind, index: index.try_into().unwrap(), field }, Value::Any(value))
}

/// Whether one of these cases catches the weakened walker. None may fail with the correct one.
fn is_noticed(weakening: Weakening, mut cases: impl Iterator<Item = TestCase>) -> bool {
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
        ImageStep { on: on((second + stops - first) % stops), mutations, again: false, reuse: None },
    ];
    TestCase { recorded, reference: false, before: 0, divided: false, lasting: Vec::new(), steps }
}

/// All pairs of stops, with their chains.
fn pairs(name: &str) -> impl Iterator<Item = (Recorded, [usize; 2], [Vec<Chain>; 2])> {
    let recorded = Recorded::try_from(name.to_owned()).unwrap();
    let Loaded { snapshot, site, .. } = recorded.loaded();
    let of = |stop: usize| chains(&snapshot.stops[stop].image, site);
    let stops = 0..snapshot.stops.len();
    stops
        .clone()
        .flat_map(move |first| stops.clone().map(move |second| (recorded, [first, second], [of(first), of(second)])))
}

fn sequence(recorded: Recorded, stop: usize, state: Address) -> u64 {
    let Loaded { snapshot, site, .. } = recorded.loaded();
    let cache = site.layout.thread.cache.unwrap();
    Reader(&snapshot.stops[stop].image).word(state + cache.sequence).unwrap()
}

/// The anchor's callers have changed, but the sequence matches if shim frames are counted as frames that left the
/// stack.
#[test]
fn counted_shim_frames_are_noticed() {
    let cases = pairs("release-through-c").flat_map(|(recorded, stops, [before, now])| {
        let mut cases = Vec::new();
        for (index, link) in now[0].links.iter().enumerate().filter(|(_, link)| link.is_python) {
            let shims = now[0].links[..index].iter().filter(|link| !link.is_python).count();
            if let Some(place) = before[0].python().position(|address| address == link.address) {
                let promised = sequence(recorded, stops[0], before[0].state) + (place + shims) as u64;
                let anchor = set(MutationKind::Thread, 0, 5, link.address);
                let damage = vec![anchor, set(MutationKind::Thread, 0, 6, promised)];
                cases.push(two_steps(recorded, stops[0], stops[1], damage));
            }
        }
        cases
    });
    assert!(is_noticed(Weakening::ShimFramesCounted, cases));
}

/// Another thread state has the thread's id, its frames and the sequence of its last stack, and its leaf is the anchor.
/// But the leaf's caller is no longer the same.
#[test]
fn another_thread_state_is_noticed() {
    let cases = ["release-threads", "debug-threads"].into_iter().flat_map(pairs).flat_map(|(recorded, stops, of)| {
        let [before, now] = &of;
        let mut cases = Vec::new();
        for (index, (old, chain)) in before.iter().zip(now).enumerate() {
            let [leaf, _, caller, .., base] = chain.links.as_slice() else { continue };
            if old.state != chain.state || old.python().next() != Some(leaf.address) {
                continue;
            }
            let promised = sequence(recorded, stops[0], old.state);
            let other = usize::from(index == 0);
            let fields =
                [(1, leaf.address), (2, old.native_thread_id), (4, base.address), (5, leaf.address), (6, promised)];
            let frames = &recorded.loaded().marks[stops[1]].frames;
            let frame = frames.iter().position(|&frame| frame == leaf.address).unwrap();
            let mut damage =
                vec![set(MutationKind::Thread, index, 2, 1), set(MutationKind::Frame, frame, 0, caller.address)];
            damage.extend(fields.map(|(field, value)| set(MutationKind::Thread, other, field, value)));
            cases.push(two_steps(recorded, stops[0], stops[1], damage));
        }
        cases
    });
    assert!(is_noticed(Weakening::ThreadStateNotCompared, cases));
}

/// A code object that one interpreter freed now belongs to another one, which does not count that. The first thread
/// runs it; before, only others did.
#[test]
fn code_that_another_interpreter_freed_is_noticed() {
    let recorded = ["debug-threads", "release-threads"].map(|name| Recorded::try_from(name.to_owned()).unwrap());
    let orders = (1..8).flat_map(|start| (1..8).map(move |on| (start, on)));
    let orders = orders.flat_map(|(start, on)| recorded.map(|recorded| (recorded, start, on)));
    let cases = orders.flat_map(|(recorded, start, on)| {
        (0..8).map(move |frame| {
            let reuse = Some(Reuse { frame, content: frame + 1, name_alone: true, taken: true });
            let steps = vec![undamaged(0), undamaged(start), ImageStep { reuse, ..undamaged(on) }];
            TestCase { recorded, reference: false, before: 0, divided: true, lasting: Vec::new(), steps }
        })
    });
    assert!(is_noticed(Weakening::GenerationOfAnotherInterpreter, cases));
}

/// The list of one interpreter contains the thread, but the thread's state names another one.
#[test]
fn a_thread_is_walked_with_the_interpreter_that_it_names() {
    let case = serde_json::json!({
        "recorded": "release-through-c", "reference": true, "before": 2, "divided": true, "lasting": [],
        "steps": [{
            "on": 7, "again": false,
            "mutations": [{"Bytes": {"at": 1_465_341_783, "bytes": [87, 87, 87, 255]}}],
            "reuse": {"frame": 22_359, "content": 22_359, "name_alone": true, "taken": true}
        }]
    });
    check(&serde_json::from_value(case).unwrap());
}
