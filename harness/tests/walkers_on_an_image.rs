//! The walkers over an array of bytes: every hit, miss and rejection, and what each weakening lets through.

#![allow(clippy::unwrap_used, reason = "a failure of the fixture is a failure of the test")]

use std::collections::BTreeSet;

use framediff::layout::{CacheLayout, CodeLayout, FrameLayout, InterpreterLayout, Layout, ThreadLayout, VersionHex};
use framediff::memory::image::Image;
use framediff::memory::{MemoryError, RemoteMemory, Segment};
use framediff::sample::{Lookup, Provenance, ThreadSample, WalkerKind};
use framediff::walk::cache::FrameCache;
use framediff::walk::cached::CachedWalker;
use framediff::walk::miss::MissReason;
use framediff::walk::reference::ReferenceWalker;
use framediff::walk::rejection::Rejection;
use framediff::walk::uncached::UncachedWalker;
use framediff::walk::walker::{CachingWalker, Site, Walker};
use framediff::walk::weakening::Weakening;

const RUNTIME: u64 = 0x1_0000;
const INTERPRETER: u64 = 0x2_0000;
const THREAD: u64 = 0x3_0000;
const CHUNK: u64 = 0x10_0000;
const CHUNK_SIZE: usize = 16 << 10;
const BASE: u64 = 0x20_0000;
const SHIM: u64 = 0x20_1000;
const CODES: u64 = 0x30_0000;

fn layout() -> Layout {
    Layout {
        version: VersionHex(0x030f_02f0),
        free_threaded: false,
        interpreters_head: 8,
        interpreter: InterpreterLayout { next: 0, threads_head: 8 },
        thread: ThreadLayout {
            size: 128,
            next: 8,
            current_frame: 24,
            native_thread_id: 56,
            datastack_chunk: 64,
            cache: Some(CacheLayout { base_frame: 32, anchor: 40, sequence: 48 }),
        },
        frame: FrameLayout { size: 88, previous: 8, executable: 0, instr_ptr: 56, owner: 74, tag_mask: 3 },
        code: CodeLayout {
            size: 128,
            filename: 16,
            qualname: 24,
            linetable: 32,
            first_line: 40,
            flags: 44,
            code_adaptive: 64,
            bytes_size: 16,
            bytes_data: 32,
            text_state: 32,
            text_length: 16,
            ascii_data: 40,
            compact_data: 56,
        },
    }
}

/// A small interpreter by hand: frames are pushed on one chunk, and popping one moves the anchor as CPython does.
#[derive(Clone)]
struct Target {
    image: Image,
    frames: Vec<u64>,
    codes: u64,
}

impl Target {
    fn new() -> Self {
        let mut image = Image::default();
        image.map(RUNTIME, vec![0; 64]);
        image.map(INTERPRETER, vec![0; 64]);
        image.map(THREAD, vec![0; 128]);
        image.map(CHUNK, vec![0; CHUNK_SIZE]);
        image.map(BASE, vec![0; 88]);
        image.map(SHIM, vec![0; 88]);
        let mut target = Self { image, frames: vec![BASE], codes: 0 };
        target.put(RUNTIME + 8, INTERPRETER);
        target.put(INTERPRETER + 8, THREAD);
        target.put(THREAD + 24, BASE);
        target.put(THREAD + 32, BASE);
        target.put(THREAD + 56, 77);
        target.put(THREAD + 64, CHUNK);
        target.put(CHUNK + 8, CHUNK_SIZE as u64);
        for shim in [BASE, SHIM] {
            target.image.write(shim + 74, &[3]).unwrap();
        }
        target
    }

    fn put(&mut self, address: u64, word: u64) {
        self.image.write(address, &word.to_le_bytes()).unwrap();
    }

    fn get(&mut self, address: u64) -> u64 {
        self.image.read_u64(address).unwrap()
    }

    fn text(&mut self, address: u64, text: &str) {
        let mut object = vec![0; 40];
        object[16..24].copy_from_slice(&(text.len() as u64).to_le_bytes());
        object[32..36].copy_from_slice(&(1_u32 << 2 | 1 << 5 | 1 << 6).to_le_bytes());
        object.extend_from_slice(text.as_bytes());
        self.image.map(address, object);
    }

    /// A code object of sixteen code units; unit n is at line n.
    fn code(&mut self, name: &str) -> u64 {
        let code = CODES + self.codes * 0x1000;
        self.codes += 1;
        self.image.map(code, vec![0; 128]);
        self.put(code + 16, code + 0x100);
        self.put(code + 24, code + 0x200);
        self.put(code + 32, code + 0x300);
        self.text(code + 0x100, "workload.py");
        self.text(code + 0x200, name);
        let table: Vec<u8> = (0..16_u8).flat_map(|unit| [0xe8, if unit == 0 { 0 } else { 2 }]).collect();
        let mut object = vec![0; 32];
        object[16..24].copy_from_slice(&(table.len() as u64).to_le_bytes());
        object.extend(table);
        self.image.map(code + 0x300, object);
        code
    }

    fn top(&self) -> u64 {
        *self.frames.last().unwrap()
    }

    fn push_at(&mut self, address: u64, code: u64, owner: u8) {
        let caller = self.top();
        self.put(address, code | 1);
        self.put(address + 8, caller);
        self.image.write(address + 74, &[owner]).unwrap();
        self.frames.push(address);
        self.put(THREAD + 24, address);
        if owner != 3 {
            self.line(1);
        }
    }

    fn push(&mut self, code: u64) {
        let next = self.frames.iter().filter(|&&frame| frame < BASE).max().map_or(CHUNK + 24, |top| top + 128);
        self.push_at(next, code, 0);
    }

    fn line(&mut self, line: u64) {
        let top = self.top();
        let code = self.get(top) & !3;
        self.put(top + 56, code + 64 + 2 * line);
    }

    fn pop(&mut self) {
        let frame = self.frames.pop().unwrap();
        let parent = self.top();
        self.put(THREAD + 24, parent);
        if self.get(frame + 74) & 0xff != 3 && self.get(THREAD + 40) == frame {
            let sequence = self.get(THREAD + 48);
            self.put(THREAD + 40, parent);
            self.put(THREAD + 48, sequence + 1);
        }
    }
}

fn site() -> Site {
    Site { layout: layout(), runtime: RUNTIME }
}

fn sample(walker: &mut dyn Walker, target: &mut Target) -> ThreadSample {
    let mut sample = walker.sample(&mut target.image).unwrap();
    assert_eq!(sample.threads.len(), 1);
    sample.threads.remove(0)
}

fn names(sample: &ThreadSample) -> Vec<String> {
    let stack = sample.outcome.as_ref().unwrap();
    stack.iter().map(|frame| format!("{}:{}", frame.function, frame.location.line.unwrap())).collect()
}

fn cached(weakenings: &[Weakening]) -> CachedWalker {
    CachedWalker::new(site(), weakenings.iter().copied().collect::<BTreeSet<_>>()).unwrap()
}

fn cached_walkers() -> [Box<dyn Walker>; 2] {
    [Box::new(cached(&[])), Box::new(ReferenceWalker::new(site()).unwrap())]
}

fn provenance(lookup: Lookup, from_cache: usize) -> Provenance {
    Provenance { lookup, from_cache }
}

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
fn cached_walkers_miss_then_hit_then_hit_partially() {
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
            // It would have to move the anchor up to a frame that may have left just before.
            WalkerKind::OwnReference => provenance(Lookup::Miss(MissReason::StackGrew), 0),
            _ => provenance(Lookup::PartialHit, 1),
        };
        assert_eq!(fourth.provenance, expected);
        assert_eq!(names(&fourth), ["other:1", "middle:2", "<module>:1"]);

        walker.detach(&mut target.image).unwrap();
        assert_eq!(target.get(THREAD + 40), 0, "a detached walker leaves no anchor");
    }
}

/// gh-151613: the frames of another branch come to stand at the same addresses.
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
fn without_the_sequence_check_a_frame_at_a_stored_address_gets_another_branchs_callers() {
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
        // Another unwinder of the same target wrote the anchor meanwhile.
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
fn a_chain_that_misses_the_base_frame_is_rejected_by_all() {
    let mut walkers: Vec<Box<dyn Walker>> = vec![Box::new(UncachedWalker::new(site()).unwrap())];
    walkers.extend(cached_walkers());
    for mut walker in walkers {
        let mut target = Target::new();
        let [module, leaf] = ["<module>", "leaf"].map(|name| target.code(name));
        target.push(module);
        target.push(leaf);
        let top = target.top();
        target.put(top + 8, 0);
        let rejected = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert_eq!(rejected, Rejection::NotAtBase { base: BASE, last: top }, "{}", walker.kind());
    }
    let mut target = Target::new();
    let [module, leaf] = ["<module>", "leaf"].map(|name| target.code(name));
    target.push(module);
    target.push(leaf);
    let top = target.top();
    target.put(top + 8, 0);
    let mut weakened = cached(&[Weakening::ChainStoredWithoutBase]);
    assert_eq!(names(&sample(&mut weakened, &mut target)), ["leaf:1"]);
}

#[test]
fn the_reference_walker_never_anchors_what_it_cannot_hold() {
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
fn an_anchor_on_a_shim_frame_that_left_is_a_miss() {
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
fn loops_and_garbage_end_in_a_rejection() {
    let mut walkers: Vec<Box<dyn Walker>> = vec![Box::new(UncachedWalker::new(site()).unwrap())];
    walkers.extend(cached_walkers());
    for mut walker in walkers {
        let mut target = Target::new();
        let module = target.code("<module>");
        target.push(module);
        let top = target.top();

        target.put(top + 8, top);
        let looping = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert_eq!(looping, Rejection::Loops { frame: top });

        target.put(top + 8, 0xdead_0000);
        let dangling = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(matches!(dangling, Rejection::Unreadable(_)), "{dangling:?}");

        target.put(top + 8, BASE);
        target.put(CODES + 24, CODES);
        let no_text = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(matches!(no_text, Rejection::BadCode { .. }), "{no_text:?}");

        target.put(CODES + 24, CODES + 0x200);
        target.image.write(top + 74, &[9]).unwrap();
        let no_owner = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert_eq!(no_owner, Rejection::BadOwner { frame: top, owner: 9 });

        target.put(CHUNK + 8, u64::MAX);
        target.image.write(top + 74, &[0]).unwrap();
        let endless = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(matches!(endless, Rejection::Unreadable(_)), "{endless:?}");

        target.put(CHUNK + 8, CHUNK_SIZE as u64);
        assert_eq!(names(&sample(walker.as_mut(), &mut target)), ["<module>:1"], "{} recovers", walker.kind());
    }
}

/// Counts what is read of an image.
struct Counted(Image, usize);

impl RemoteMemory for Counted {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.1 += 1;
        self.0.read(address, buffer)
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.0.write(address, bytes)
    }
}

#[test]
fn lists_that_loop_are_left_soon() {
    type Damage = fn(&mut Target);
    let damages: [(Damage, &str); 4] = [
        (|target| target.put(INTERPRETER, INTERPRETER), "list of interpreters loops"),
        (|target| target.put(THREAD + 8, THREAD), "list of threads loops"),
        (|target| target.put(CHUNK, CHUNK), "data stack loops"),
        (|target| target.put(CHUNK + 8, 16 << 20), "not mapped"),
    ];
    for (damage, words) in damages {
        let mut target = Target::new();
        let module = target.code("<module>");
        target.push(module);
        damage(&mut target);
        let mut walkers: Vec<Box<dyn Walker>> = vec![Box::new(UncachedWalker::new(site()).unwrap())];
        walkers.extend(cached_walkers());
        for mut walker in walkers {
            let mut memory = Counted(target.image.clone(), 0);
            let rejection = match walker.sample(&mut memory) {
                Ok(sample) => sample.threads[0].outcome.clone().unwrap_err(),
                Err(rejection) => rejection,
            };
            assert!(matches!(&rejection, Rejection::Unreadable(why) if why.contains(words)), "{rejection}");
            assert!(memory.1 < 40, "{}: {} reads", walker.kind(), memory.1);
        }
    }
}

/// One way to reach a target: how often it was accessed, and what the target does before an access.
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

/// A sample of the thread, and how many accesses it took; `before` is told the number of each.
fn moving(
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

/// A target with frames of these names, leaf last.
fn target(functions: &[&str]) -> Target {
    let mut target = Target::new();
    for name in functions {
        let code = target.code(name);
        target.push(code);
    }
    target
}

#[test]
fn a_full_hit_takes_few_accesses() {
    // State and predicted leaf, then anchor and sequence; the reference walker takes all in one.
    for (mut walker, expected) in cached_walkers().into_iter().zip([2, 1]) {
        let mut target = target(&["<module>", "leaf"]);
        sample(walker.as_mut(), &mut target);
        assert_eq!(accesses(walker.as_mut(), &mut target), expected, "{}", walker.kind());
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
fn a_leaf_that_cannot_be_read_is_told() {
    for mut walker in cached_walkers() {
        let mut target = target(&["<module>"]);
        let code = target.code("leaf");
        target.image.map(0x60_0000, vec![0; 88]);
        target.push_at(0x60_0000, code, 0);
        sample(walker.as_mut(), &mut target);
        target.image.unmap(0x60_0000);
        let rejection = sample(walker.as_mut(), &mut target).outcome.unwrap_err();
        assert!(rejection.to_string().contains("88 bytes at 0x600000"), "{}: {rejection}", walker.kind());
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
fn what_changes_between_reading_and_use_is_no_hit() {
    // Before the last access, which reads anchor and sequence again, the leaf returns.
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

#[test]
fn a_cache_can_be_looked_at_and_replaced() {
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
fn entries_of_threads_that_are_gone_go_away() {
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
fn the_cached_walker_follows_chains_as_long_as_cpythons() {
    const STACK: u64 = 0x4000_0000;
    // 1536 links, the base frame among them; then one more.
    for (count, rejected) in [(1535, false), (1536, true)] {
        for anchored in [None, Some(1000)] {
            let mut target = target(&["<module>"]);
            let code = target.code("deeper");
            target.image.map(STACK, vec![0; 128 * 1536]);
            for index in 1..count {
                target.push_at(STACK + 128 * index, code, 0);
            }
            let mut walker = cached(&[]);
            if let Some(index) = anchored {
                // Another profiler has put it there: the chain stops, and goes on.
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
fn shim_frames_count_only_where_they_are_counted_by_mistake() {
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
fn as_cpython_the_first_walk_copies_the_chunks_of_earlier() {
    const EARLIER: u64 = 0x70_0000;
    let mut target = target(&["<module>"]);
    let mut walker = cached(&[]).as_cpython(EARLIER);
    let rejection = sample(&mut walker, &mut target).outcome.unwrap_err();
    assert!(rejection.to_string().contains("0x700000"), "{rejection}");
    assert_eq!(names(&sample(&mut walker, &mut target)), ["<module>:1"], "and later ones those of now");
}

#[test]
fn as_cpython_the_newest_chunk_is_read_anew() {
    // Between the first access and the next, the newest chunk goes away.
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

/// A reference walker that knows the code of `target` and nothing else, and the target's anchor as it was.
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

/// Another frame of the same function comes to stand at the leaf's address.
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
fn the_reference_walker_rejects_what_moved_and_tries_again() {
    // 1 state, 2 leaf, 3 write the anchor, 4 leaf and state again, 5 chunk, 6 base frame, 7 anchor and sequence.
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
            let mut walker = informed(&mut target).attempting(attempts);
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
    let mut walker = informed(&mut target).attempting(1);
    let (found, _) = moving(&mut walker, &mut target, |access, target| {
        if access == 7 {
            leaf_calls(target);
        }
    });
    assert_eq!(names(&found), ["leaf:1", "<module>:1"], "a leaf that calls is still there");
}

#[test]
fn a_frame_that_is_gone_was_no_garbage() {
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
        // It returned, was counted, and was called again.
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
        let mut walker = informed(&mut target).attempting(1);
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

#[test]
fn the_reference_walker_holds_no_frame_of_a_generators_code() {
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
fn the_reference_walker_vouches_for_no_address_below_a_shim_frame() {
    let mut target = target(&["<module>"]);
    let code = target.code("callee");
    target.push_at(SHIM, 0, 3);
    target.push(code);
    let mut walker = ReferenceWalker::new(site()).unwrap();
    assert_eq!(names(&sample(&mut walker, &mut target)), ["callee:1", "<module>:1"]);
    assert_eq!(walker.cache().get(77).unwrap().addresses.iter().collect::<Vec<_>>(), [&target.top()]);
}

#[test]
fn a_chain_on_which_the_anchor_is_not_is_looked_at_to_its_end() {
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
fn an_entry_is_for_the_thread_state_that_it_was_stored_for() {
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
        // The kernel gives the thread's id to another thread, which has come to the same frames.
        let state = target.image.get(THREAD, 128).unwrap().to_vec();
        target.image.map(OTHER, state);
        let found = walker.sample_thread(&mut target.image, OTHER);
        let hit = !matches!(found.provenance.lookup, Lookup::Miss(MissReason::OtherThreadState));
        assert_eq!(hit, weakened, "{}: {:?}", walker.kind(), found.provenance);
        assert_eq!(names(&found), ["leaf:1", "<module>:1"]);
    }
}
