//! Tests behaviour of CPython's unwinder that is not part of its protocol.

use framewalk::cache::FrameCache;
use framewalk::rejection::Rejection;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{CachingWalker, Walker};

use super::moving::moving;
use super::target::*;

#[test]
fn as_cpython_a_leaf_must_run_python_code() {
    let mut target = target(&["<module>"]);
    target.push_at(SHIM, 0, 3);
    assert_eq!(names(&sample(&mut cached(&[]), &mut target)), ["<module>:1"]);
    target.put(THREAD + 40, 0);
    assert_eq!(names(&sample(&mut UncachedWalker::new(site()).unwrap(), &mut target)), ["<module>:1"]);
    let walkers: [Box<dyn Walker>; 2] =
        [Box::new(cached(&[]).as_cpython(CHUNK)), Box::new(UncachedWalker::new(site()).unwrap().as_cpython())];
    for mut walker in walkers {
        assert_eq!(sample(walker.as_mut(), &mut target).outcome, Err(Rejection::Empty));
    }
}

#[test]
fn as_cpython_the_first_walk_starts_at_the_earlier_chunk() {
    const EARLIER: u64 = 0x70_0000;
    let mut target = target(&["<module>"]);
    let mut walker = cached(&[]).as_cpython(EARLIER);
    let rejection = sample(&mut walker, &mut target).outcome.unwrap_err();
    assert!(rejection.to_string().contains("0x700000"), "{rejection}");
    assert_eq!(names(&sample(&mut walker, &mut target)), ["<module>:1"], "and later ones those of now");
}

#[test]
fn as_cpython_the_newest_chunk_is_read_again() {
    // The newest chunk disappears between the first and the second access.
    let gone = |access: usize, target: &mut Target| {
        if access == 2 {
            target.put(THREAD + 64, 0x70_0000);
        }
    };
    let mut own = cached(&[]).as_cpython(CHUNK);
    assert_eq!(sample(&mut own, &mut target(&["<module>"])).outcome.unwrap().len(), 1);
    own.set_cache(FrameCache::default());
    for mut walker in [Box::new(own) as Box<dyn Walker>, Box::new(UncachedWalker::new(site()).unwrap().as_cpython())] {
        let rejection = moving(walker.as_mut(), &mut target(&["<module>"]), gone).0.outcome.unwrap_err();
        assert!(rejection.to_string().contains("0x700000"), "{}: {rejection}", walker.kind());
    }
    for mut walker in [Box::new(cached(&[])) as Box<dyn Walker>, Box::new(UncachedWalker::new(site()).unwrap())] {
        assert!(moving(walker.as_mut(), &mut target(&["<module>"]), gone).0.outcome.is_ok(), "{}", walker.kind());
    }
}
