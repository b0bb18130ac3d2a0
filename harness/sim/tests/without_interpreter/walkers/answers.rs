//! Tests stacks, hits and misses on a target that does not move.

use std::collections::BTreeSet;

use framewalk::cache::FrameCache;
use framewalk::cached::CachedWalker;
use framewalk::memory::RemoteMemory;
use framewalk::miss::MissReason;
use framewalk::reference::ReferenceWalker;
use framewalk::rejection::Rejection;
use framewalk::sample::{Lookup, ThreadSample, WalkerKind};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{CachingWalker, Walker};
use framewalk::weakening::Weakening;

use super::target::*;

#[test]
fn an_uncached_walk_reads_names_and_lines_and_skips_shims() {
    let mut target = Target::new();
    let [module, callee] = ["<module>", "callee"].map(|name| target.code(name));
    target.push(module);
    target.line(4);
    target.push_at(SHIM, 0, 3);
    target.push(callee);
    let mut walker = UncachedWalker::new(site()).unwrap();
    assert_eq!(names(&sample(&mut walker, &mut target)), ["callee:1", "<module>:4"]);
}

#[test]
fn cached_walkers_miss_then_hit_fully_then_partially() {
    for mut walker in cached_walkers() {
        let walker = walker.as_mut();
        let mut target = Target::new();
        let [module, middle, leaf, other] = ["<module>", "middle", "leaf", "other"].map(|name| target.code(name));
        target.push(module);
        target.push(middle);
        target.push(leaf);
        walker.attach(&mut target.image).unwrap();

        let first = sample(walker, &mut target);
        assert_eq!(first.provenance, provenance(Lookup::Miss(MissReason::AnchorNull), 0));
        assert_eq!(target.get(THREAD + 40), target.top(), "the anchor is the leaf");

        target.line(7);
        let second = sample(walker, &mut target);
        assert_eq!(second.provenance, provenance(Lookup::FullHit, 2));
        assert_eq!(names(&second), ["leaf:7", "middle:1", "<module>:1"], "the leaf's line is fresh");

        target.pop();
        target.line(2);
        let third = sample(walker, &mut target);
        assert_eq!(third.provenance, provenance(Lookup::PartialHit, 1));
        assert_eq!(names(&third), ["middle:2", "<module>:1"]);

        target.push(other);
        let fourth = sample(walker, &mut target);
        let expected = match walker.kind() {
            // A partial hit would have to move the anchor up to a frame that may have left just before.
            WalkerKind::OwnReference => provenance(Lookup::Miss(MissReason::StackGrew), 0),
            _ => provenance(Lookup::PartialHit, 1),
        };
        assert_eq!(fourth.provenance, expected);
        assert_eq!(names(&fourth), ["other:1", "middle:2", "<module>:1"]);

        walker.detach(&mut target.image).unwrap();
        assert_eq!(target.get(THREAD + 40), 0, "a detached walker leaves no anchor");
    }
}

/// gh-151613: the frames of another branch reuse the same addresses.
fn switch_branches(target: &mut Target, walker: &mut dyn Walker) -> ThreadSample {
    let [module, a1, a2, b1, b2] = ["<module>", "a1", "a2", "b1", "b2"].map(|name| target.code(name));
    target.push(module);
    target.push(a1);
    target.push(a2);
    walker.attach(&mut target.image).unwrap();
    sample(walker, target);
    let anchor = target.get(THREAD + 40);
    target.pop();
    target.pop();
    target.push(b1);
    target.push(b2);
    assert_eq!(target.top(), anchor, "the leaf's address is used again");
    sample(walker, target);
    sample(walker, target)
}

#[test]
fn reused_addresses_do_not_mix_branches() {
    for mut walker in cached_walkers() {
        let mut target = Target::new();
        let last = switch_branches(&mut target, walker.as_mut());
        assert_eq!(names(&last), ["b2:1", "b1:1", "<module>:1"]);
    }
}

#[test]
fn without_the_sequence_check_a_reused_address_gets_the_callers_of_another_branch() {
    let unchecked = BTreeSet::from([Weakening::NoSequenceCheckOnFullHit, Weakening::NoSequenceCheckOnPartialHit]);
    let mut walkers: Vec<(Box<dyn Walker>, &str)> = vec![
        (Box::new(CachedWalker::new(site(), unchecked.clone()).unwrap()), "a1:1"),
        (Box::new(ReferenceWalker::new(site()).unwrap().weakened(unchecked)), "a1:1"),
    ];
    walkers.extend(cached_walkers().map(|walker| (walker, "b1:1")));
    for (mut walker, caller) in walkers {
        let mut target = Target::new();
        let [module, a1, a2, b1, b2] = ["<module>", "a1", "a2", "b1", "b2"].map(|name| target.code(name));
        target.push(module);
        target.push(a1);
        target.push(a2);
        sample(walker.as_mut(), &mut target);
        for _ in 0..2 {
            target.pop();
        }
        target.push(b1);
        target.push(b2);
        // Meanwhile, another unwinder of the same target wrote the anchor.
        let top = target.top();
        target.put(THREAD + 40, top);
        assert_eq!(names(&sample(walker.as_mut(), &mut target)), ["b2:1", caller, "<module>:1"], "{}", walker.kind());
    }
}

#[test]
fn a_reused_leaf_has_a_stale_line() {
    let mut target = Target::new();
    let module = target.code("<module>");
    target.push(module);
    let mut walker = cached(&[Weakening::LeafReusedOnFullHit]);
    sample(&mut walker, &mut target);
    target.line(9);
    assert_eq!(names(&sample(&mut walker, &mut target)), ["<module>:1"]);
    assert_eq!(names(&sample(&mut UncachedWalker::new(site()).unwrap(), &mut target)), ["<module>:9"]);
}

#[test]
fn the_reference_walker_never_anchors_frames_that_it_cannot_cache() {
    for (owner, expected) in [(1, Rejection::GeneratorLeaf), (3, Rejection::ShimLeaf)] {
        let mut target = Target::new();
        let [module, generator] = ["<module>", "generator"].map(|name| target.code(name));
        target.push(module);
        target.push_at(SHIM, generator, owner);
        let mut walker = ReferenceWalker::new(site()).unwrap();
        assert_eq!(sample(&mut walker, &mut target).outcome, Err(expected));
        assert_eq!(target.get(THREAD + 40), 0);
    }
}

#[test]
fn an_anchor_on_a_gone_shim_frame_is_a_miss() {
    for mut walker in cached_walkers() {
        let walker = walker.as_mut();
        let mut target = Target::new();
        let [module, callee, other] = ["<module>", "callee", "other"].map(|name| target.code(name));
        target.push(module);
        target.push_at(SHIM, 0, 3);
        target.push(callee);
        sample(walker, &mut target);
        target.pop();
        assert_eq!(target.get(THREAD + 40), SHIM, "the anchor moved to the shim frame");
        target.pop();
        target.push(other);
        let found = sample(walker, &mut target);
        assert_eq!(names(&found), ["other:1", "<module>:1"]);
        assert!(matches!(found.provenance.lookup, Lookup::Miss(_)), "{:?}", found.provenance);
    }
}

#[test]
fn partial_hits_can_follow_each_other() {
    for mut walker in cached_walkers() {
        let mut target = target(&["<module>", "a", "b", "c", "d"]);
        sample(walker.as_mut(), &mut target);
        for from_cache in [3, 2, 1] {
            target.pop();
            target.line(from_cache);
            let found = sample(walker.as_mut(), &mut target);
            let from_cache = usize::try_from(from_cache).unwrap();
            assert_eq!(found.provenance, provenance(Lookup::PartialHit, from_cache), "{}", walker.kind());
            assert_eq!(found.outcome.unwrap().len(), from_cache + 1);
        }
    }
}

#[test]
fn a_thread_without_frames_is_empty() {
    let mut walkers: Vec<Box<dyn Walker>> = vec![Box::new(UncachedWalker::new(site()).unwrap())];
    walkers.extend(cached_walkers());
    for mut walker in walkers {
        let mut target = Target::new();
        target.put(THREAD + 24, 0);
        assert_eq!(sample(walker.as_mut(), &mut target).outcome, Err(Rejection::Empty));
    }
}

#[test]
fn a_cache_can_be_inspected_and_replaced() {
    let mut target = target(&["<module>", "leaf"]);
    let (mut own, mut reference) = (cached(&[]), ReferenceWalker::new(site()).unwrap());
    let walkers: [&mut dyn CachingWalker; 2] = [&mut own, &mut reference];
    for walker in walkers {
        sample(walker, &mut target);
        let entry = walker.cache().get(77).unwrap();
        assert_eq!((entry.thread_state, entry.addresses.len(), entry.frames.len()), (THREAD, 2, 2));
        walker.set_cache(FrameCache::default());
        assert_eq!(sample(walker, &mut target).provenance.lookup, Lookup::Miss(MissReason::NoEntry));
    }
}

#[test]
fn entries_of_ended_threads_are_removed() {
    let mut target = target(&["<module>"]);
    let (mut own, mut reference) = (cached(&[]), ReferenceWalker::new(site()).unwrap());
    let walkers: [&mut dyn CachingWalker; 2] = [&mut own, &mut reference];
    for walker in walkers {
        target.put(THREAD + 56, 76);
        sample(walker, &mut target);
        target.put(THREAD + 56, 77);
        for _ in 0..1024 {
            sample(walker, &mut target);
        }
        assert_eq!(walker.cache().entries().map(|(thread, _)| thread).collect::<Vec<_>>(), [77]);
    }
}

#[test]
fn the_cached_walker_has_cpythons_depth_limit() {
    const STACK: u64 = 0x4000_0000;
    // 1536 links including the base frame, then one more.
    for (count, too_long) in [(1535, false), (1536, true)] {
        for anchored in [None, Some(1000)] {
            // After an anchor without an entry the count starts again, as in CPython.
            let rejected = too_long && anchored.is_none();
            let mut target = target(&["<module>"]);
            let code = target.code("deeper");
            target.image.map(STACK, vec![0; 128 * 1536]);
            for index in 1..count {
                target.push_at(STACK + 128 * index, code, 0);
            }
            let mut walker = cached(&[]);
            if let Some(index) = anchored {
                // Another profiler wrote this anchor. The walk stops there and then continues.
                target.put(THREAD + 40, STACK + 128 * index);
            }
            let outcome = sample(&mut walker, &mut target).outcome;
            match outcome {
                Ok(stack) => assert_eq!((stack.len() as u64, rejected), (count, false)),
                Err(rejection) => assert!(rejected && matches!(rejection, Rejection::TooDeep(_)), "{rejection}"),
            }
        }
    }
}

#[test]
fn shim_frames_are_counted_only_with_that_weakening() {
    for (shim, expected) in [(false, Lookup::PartialHit), (true, Lookup::Miss(MissReason::SequenceMismatch))] {
        let mut target = target(&["<module>", "leaf"]);
        let mut walker = cached(&[Weakening::ShimFramesCounted]);
        sample(&mut walker, &mut target);
        let code = target.code("callee");
        if shim {
            target.push_at(SHIM, 0, 3);
        }
        target.push(code);
        let found = sample(&mut walker, &mut target);
        assert_eq!(found.provenance.lookup, expected);
        assert_eq!(names(&found), ["callee:1", "leaf:1", "<module>:1"]);
    }
}

#[test]
fn the_reference_walker_caches_no_generator_frame() {
    for (flags, generator) in [(0x20, true), (0x80, true), (0x200, true), (0x1 | 0x2 | 0x10 | 0x40 | 0x100, false)] {
        let mut target = target(&["<module>", "maker"]);
        let code = target.get(target.top()) & !3;
        target.image.write(code + 44, &u32::to_le_bytes(flags)).unwrap();
        let outcome = sample(&mut ReferenceWalker::new(site()).unwrap(), &mut target).outcome;
        assert_eq!(outcome == Err(Rejection::GeneratorLeaf), generator, "{flags:#x}: {outcome:?}");
        assert_eq!(outcome.is_ok(), !generator);
    }
}

#[test]
fn the_reference_walker_trusts_no_address_below_a_shim_frame() {
    let mut target = target(&["<module>"]);
    let code = target.code("callee");
    target.push_at(SHIM, 0, 3);
    target.push(code);
    let mut walker = ReferenceWalker::new(site()).unwrap();
    assert_eq!(names(&sample(&mut walker, &mut target)), ["callee:1", "<module>:1"]);
    assert_eq!(walker.cache().get(77).unwrap().addresses.iter().collect::<Vec<_>>(), [&target.top()]);
}

#[test]
fn a_chain_without_the_anchor_is_followed_to_its_end() {
    let grown = BTreeSet::from([Weakening::PartialHitOnGrownStack]);
    let anywhere = BTreeSet::from([Weakening::PartialHitOnGrownStack, Weakening::ChainStoredWithoutBase]);
    for (weakenings, previous, expected) in
        [(&grown, BASE, Some("other:1")), (&grown, 0, None), (&anywhere, 0, Some("other:1"))]
    {
        let mut target = target(&["<module>", "leaf"]);
        let mut walker = ReferenceWalker::new(site()).unwrap().weakened(weakenings.clone());
        sample(&mut walker, &mut target);
        let code = target.code("other");
        target.push(code);
        let top = target.top();
        target.put(top + 8, previous);
        let found = sample(&mut walker, &mut target);
        match expected {
            Some(name) => assert_eq!(names(&found), [name]),
            None => assert_eq!(found.outcome, Err(Rejection::NotAtBase { base: BASE, last: top })),
        }
    }
}

#[test]
fn an_entry_is_valid_only_for_its_own_thread_state() {
    const OTHER: u64 = 0x4_0000;
    let unchecked = BTreeSet::from([Weakening::ThreadStateNotCompared]);
    let mut walkers: Vec<(Box<dyn Walker>, bool)> = vec![
        (Box::new(CachedWalker::new(site(), unchecked.clone()).unwrap()), true),
        (Box::new(ReferenceWalker::new(site()).unwrap().weakened(unchecked)), true),
    ];
    walkers.extend(cached_walkers().map(|walker| (walker, false)));
    for (mut walker, weakened) in walkers {
        let mut target = target(&["<module>", "leaf"]);
        sample(walker.as_mut(), &mut target);
        // The kernel reuses the thread id for another thread, which happens to have the same frames.
        let state = target.image.get(THREAD, 128).unwrap().to_vec();
        target.image.map(OTHER, state);
        let found = walker.sample_thread(&mut target.image, OTHER);
        let hit = !matches!(found.provenance.lookup, Lookup::Miss(MissReason::OtherThreadState));
        assert_eq!(hit, weakened, "{}: {:?}", walker.kind(), found.provenance);
        assert_eq!(names(&found), ["leaf:1", "<module>:1"]);
    }
}
