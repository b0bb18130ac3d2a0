//! Tests targets that move during a sample.

use framewalk::cache::FrameCache;
use framewalk::memory::image::Image;
use framewalk::memory::{MemoryError, RemoteMemory, Segment};
use framewalk::miss::MissReason;
use framewalk::reference::ReferenceWalker;
use framewalk::rejection::Rejection;
use framewalk::sample::{Lookup, ThreadSample};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{CachingWalker, Walker};

use super::target::*;

struct Moving<'a, F> {
    target: &'a mut Target,
    accesses: usize,
    before: F,
}

impl<F: FnMut(usize, &mut Target)> Moving<'_, F> {
    fn access(&mut self) -> &mut Image {
        self.accesses += 1;
        (self.before)(self.accesses, self.target);
        &mut self.target.image
    }
}

impl<F: FnMut(usize, &mut Target)> RemoteMemory for Moving<'_, F> {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.access().read(address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        self.access().read_vectored(segments)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.access().write(address, bytes)
    }
}

/// Samples the thread and counts the accesses. `before` is called with the number of each access, just before it.
pub(crate) fn moving(
    walker: &mut dyn Walker,
    target: &mut Target,
    before: impl FnMut(usize, &mut Target),
) -> (ThreadSample, usize) {
    let mut memory = Moving { target, accesses: 0, before };
    let sample = walker.sample_thread(&mut memory, THREAD);
    (sample, memory.accesses)
}

fn accesses(walker: &mut dyn Walker, target: &mut Target) -> usize {
    moving(walker, target, |_, _| {}).1
}

#[test]
fn a_full_hit_needs_few_accesses() {
    // The cached walker reads state and predicted leaf, then anchor and sequence. The reference walker reads all in
    // one access.
    for (mut walker, expected) in cached_walkers().into_iter().zip([2, 1]) {
        let mut target = target(&["<module>", "leaf"]);
        sample(walker.as_mut(), &mut target);
        assert_eq!(accesses(walker.as_mut(), &mut target), expected, "{}", walker.kind());
    }
}

#[test]
fn a_change_between_read_and_use_is_not_a_hit() {
    // The leaf returns before the last access, which reads anchor and sequence again.
    let mut target = target(&["<module>", "middle", "leaf"]);
    let mut walker = cached(&[]);
    sample(&mut walker, &mut target);
    let (full, _) = moving(&mut walker, &mut target, |access, target| {
        if access == 2 {
            target.pop();
        }
    });
    assert_eq!(full.provenance, provenance(Lookup::Miss(MissReason::ChangedDuringUse), 0));
    assert_eq!(names(&full), ["leaf:1", "middle:1", "<module>:1"]);

    let mut target = self::target(&["<module>", "middle", "leaf"]);
    let mut walker = cached(&[]);
    sample(&mut walker, &mut target);
    target.pop();
    let cache = walker.cache().clone();
    let last = accesses(&mut walker, &mut target.clone());
    walker.set_cache(cache);
    let (partial, _) = moving(&mut walker, &mut target, |access, target| {
        if access == last {
            target.pop();
        }
    });
    assert_eq!(partial.provenance, provenance(Lookup::Miss(MissReason::ChangedDuringUse), 0));
}

/// A reference walker that has decoded the code of `target` but has cached no frames. The anchor of `target` is
/// unchanged.
fn informed(target: &mut Target) -> ReferenceWalker {
    let mut walker = ReferenceWalker::new(site()).unwrap();
    sample(&mut walker, &mut target.clone());
    walker.set_cache(FrameCache::default());
    walker
}

type Event = fn(&mut Target);

fn leaf_returns(target: &mut Target) {
    target.pop();
}

/// Another frame of the same function reuses the leaf's address.
fn leaf_is_replaced(target: &mut Target) {
    let code = target.get(target.top()) & !3;
    target.pop();
    target.push(code);
}

fn leaf_is_replaced_and_anchored_by_another_profiler(target: &mut Target) {
    leaf_is_replaced(target);
    let top = target.top();
    target.put(THREAD + 40, top);
}

fn leaf_calls(target: &mut Target) {
    let code = target.get(target.top()) & !3;
    target.push(code);
}

fn another_profiler_clears_the_anchor(target: &mut Target) {
    target.put(THREAD + 40, 0);
}

#[test]
fn the_reference_walker_rejects_moved_targets_and_retries() {
    // 1 state, 2 leaf, 3 anchor written, 4 leaf and state again, 5 chunk, 6 base frame, 7 anchor and sequence.
    let mut still = target(&["<module>", "leaf"]);
    assert_eq!(accesses(&mut informed(&mut still), &mut still), 7);
    for (at, event) in [
        (4, leaf_returns as Event),
        (4, leaf_is_replaced),
        (4, leaf_is_replaced_and_anchored_by_another_profiler),
        (4, leaf_calls),
        (4, another_profiler_clears_the_anchor),
        (7, leaf_returns),
        (7, leaf_is_replaced),
        (7, leaf_is_replaced_and_anchored_by_another_profiler),
        (7, another_profiler_clears_the_anchor),
    ] {
        for attempts in [1, 2] {
            let mut target = target(&["<module>", "leaf"]);
            let mut walker = informed(&mut target);
            walker.set_attempts(attempts);
            let (found, _) = moving(&mut walker, &mut target, |access, target| {
                if access == at {
                    event(target);
                }
            });
            if attempts == 1 {
                assert_eq!(found.outcome, Err(Rejection::Moved));
                assert_eq!(walker.cache().entries().count(), 0);
            } else {
                assert_eq!(names(&found), names(&sample(&mut UncachedWalker::new(site()).unwrap(), &mut target)));
            }
        }
    }
    let mut target = target(&["<module>", "leaf"]);
    let mut walker = informed(&mut target);
    walker.set_attempts(1);
    let (found, _) = moving(&mut walker, &mut target, |access, target| {
        if access == 7 {
            leaf_calls(target);
        }
    });
    assert_eq!(names(&found), ["leaf:1", "<module>:1"], "a leaf that calls is still there");
}

#[test]
fn a_gone_frame_is_not_reported_as_garbage() {
    fn gone(target: &mut Target) {
        target.image.unmap(0x60_0000);
    }
    let cases: [(Event, bool); 3] = [
        (gone, false),
        (
            |target| {
                target.pop();
                gone(target);
            },
            true,
        ),
        // The leaf returned, was counted, and was called again.
        (
            |target| {
                target.put(THREAD + 48, 1);
                gone(target);
            },
            true,
        ),
    ];
    for (event, moved) in cases {
        let mut target = target(&["<module>"]);
        let code = target.code("leaf");
        target.image.map(0x60_0000, vec![0; 88]);
        target.push_at(0x60_0000, code, 0);
        let mut walker = informed(&mut target);
        walker.set_attempts(1);
        let (found, _) = moving(&mut walker, &mut target, |access, target| {
            if access == 2 {
                event(target);
            }
        });
        let rejection = found.outcome.unwrap_err();
        assert_eq!(rejection == Rejection::Moved, moved, "{rejection}");
        assert_eq!(matches!(rejection, Rejection::Unreadable(_)), !moved, "{rejection}");
    }
}
