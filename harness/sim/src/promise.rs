//! The samples at which a cached walker promises a hit on a target at rest.

use framewalk::cache::FrameCache;
use framewalk::sample::WalkerKind;

use crate::map::{Map, Word};

/// Whether `thread`'s next sample must be a hit. This holds if its anchor's frame is on the stack and in the entry
/// stored for its thread state, nothing moves, and no other profiler has moved the anchor. The reference walker
/// promises a hit only if the anchor is the current frame. `get` returns the words.
#[must_use]
pub fn promises_hit(map: &Map, thread: usize, get: impl Fn(Word) -> u64, cache: &FrameCache, kind: WalkerKind) -> bool {
    let words = map.thread_words(thread);
    let anchor = get(words.anchor);
    let entry = cache.get(get(words.native_thread_id));
    let Some(entry) = entry.filter(|entry| entry.thread_state == map.thread_address(thread)) else { return false };
    if entry.position(anchor).is_none() {
        return false;
    }
    let mut frame = get(words.current_frame);
    if kind == WalkerKind::OwnReference && frame != anchor {
        return false;
    }
    while frame != anchor {
        let Some(previous) = map.place(frame).and_then(|place| map.previous_word(place)) else { return false };
        frame = get(previous);
    }
    true
}
