//! The cost of a sample in system calls and allocations, on real interpreters. Times are left to the benchmarks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::alloc::{GlobalAlloc, Layout as Size, System};
use std::cell::Cell;

use framewalk::cached::CachedWalker;
use framewalk::layout::Layout;
use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment};
use framewalk::reference::ReferenceWalker;
use framewalk::sample::{Lookup, ThreadSample};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use model::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};
use process::memory::ProcessMemory;
use process::target::{Target, runtime_address};

use crate::common;
use crate::common::target::{python, soon};

/// An allocator that counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded to the system allocator, and the counter is a plain cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, size: Size) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(size) }
    }

    // The default `alloc_zeroed` and `realloc` would slow down the other tests in this program.
    unsafe fn alloc_zeroed(&self, size: Size) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(size) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, size: Size, new: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, size, new) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, size: Size) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The cost of one sample.
#[derive(Debug, PartialEq, Eq)]
struct Costs {
    reads: usize,
    writes: usize,
    bytes: usize,
    allocations: u64,
}

struct Counted {
    memory: ProcessMemory,
    reads: usize,
    writes: usize,
    bytes: usize,
}

impl RemoteMemory for Counted {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.reads += 1;
        self.bytes += buffer.len();
        self.memory.read(address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        self.reads += 1;
        self.bytes += segments.iter().map(|segment| segment.buffer.len()).sum::<usize>();
        self.memory.read_vectored(segments)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.writes += 1;
        self.memory.write(address, bytes)
    }
}

fn sample(walker: &mut dyn Walker, target: &Target) -> (ThreadSample, Costs) {
    let mut memory = Counted { memory: target.memory(), reads: 0, writes: 0, bytes: 0 };
    let before = ALLOCATIONS.with(Cell::get);
    let mut sample = walker.sample(&mut memory).unwrap();
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    let Counted { reads, writes, bytes, .. } = memory;
    (sample.threads.remove(0), Costs { reads, writes, bytes, allocations })
}

fn workload(depth: u32) -> Workload {
    let parameters = Parameters { depth, width: 2, frame_size: FrameSize::Equal(4), speed: 0, names: Names::Ascii };
    generate(Family::Recursion, Mode::Gated, &parameters, 1)
}

/// A running target, and its site for walkers.
fn start(workload: &Workload) -> (Target, Site) {
    let jit = common::release().jit_available.then_some(false);
    let mut target = Target::launch(&python(), jit, &workload.source, &std::env::temp_dir(), soon()).unwrap();
    let runtime = runtime_address(target.pid()).unwrap().address;
    let layout = Layout::read(&mut target.memory(), runtime).unwrap();
    target.start(soon()).unwrap();
    (target, Site { layout, runtime })
}

/// Runs the target to a gate with exactly `depth` frames and stops it there.
fn stop_at(target: &mut Target, workload: &Workload, depth: usize) {
    loop {
        let gate = target.next_gate(soon()).unwrap();
        if workload.grammar.path(gate.context).len() == depth {
            return target.stop().unwrap();
        }
        target.go(soon()).unwrap();
    }
}

fn walkers(site: Site) -> [Box<dyn Walker>; 3] {
    [
        Box::new(UncachedWalker::new(site).unwrap()),
        Box::new(CachedWalker::new(site, [].into()).unwrap()),
        Box::new(ReferenceWalker::new(site).unwrap()),
    ]
}

#[test]
fn an_unchanged_stack_needs_one_read_at_every_depth_and_a_full_hit_does_not_allocate() {
    let mut bytes = Vec::new();
    for depth in [10, 1000] {
        let workload = workload(depth);
        let (mut target, site) = start(&workload);
        stop_at(&mut target, &workload, depth as usize);
        // CPython's protocol reads anchor and sequence once more, in a separate call.
        for (mut walker, (lookup, reads)) in
            walkers(site).into_iter().zip([(Lookup::Uncached, 1), (Lookup::FullHit, 2), (Lookup::FullHit, 1)])
        {
            walker.attach(&mut target.memory()).unwrap();
            // The first sample finds the stack, the second allocates the buffers it needs.
            for _ in 0..2 {
                sample(walker.as_mut(), &target);
            }
            let (thread, costs) = sample(walker.as_mut(), &target);
            assert_eq!((thread.provenance.lookup, thread.outcome.unwrap().len()), (lookup, depth as usize));
            assert_eq!((costs.reads, costs.writes), (reads, 0), "{} at depth {depth}", walker.kind());
            if walker.kind().is_cached() {
                assert_eq!(costs.allocations, 0, "{} at depth {depth}", walker.kind());
                bytes.push(costs.bytes);
            }
            walker.detach(&mut target.memory()).unwrap();
        }
    }
    assert_eq!(bytes[..2], bytes[2..], "a full hit reads the same at every depth");
}

#[test]
fn the_cost_of_a_partial_hit_does_not_depend_on_the_depth() {
    let mut costs = Vec::new();
    for depth in [40, 1000] {
        let workload = workload(depth);
        let (mut target, site) = start(&workload);
        let mut walker = CachedWalker::new(site, [].into()).unwrap();
        stop_at(&mut target, &workload, depth as usize);
        walker.attach(&mut target.memory()).unwrap();
        for _ in 0..2 {
            sample(&mut walker, &target);
        }
        for less in 1..3 {
            target.resume().unwrap();
            target.go(soon()).unwrap();
            stop_at(&mut target, &workload, depth as usize - less);
            let (thread, spent) = sample(&mut walker, &target);
            assert_eq!(thread.provenance.lookup, Lookup::PartialHit);
            assert!(thread.provenance.from_cache >= depth as usize - 5, "{thread:?}");
            // One read of the threads and the leaf, one of the newest chunk, one of anchor and sequence. One write if
            // the anchor must move.
            assert!(spent.reads == 3 && spent.writes <= 1, "{spent:?}");
            costs.push(spent);
        }
    }
    assert_eq!(costs[..2], costs[2..]);
}

#[test]
fn starting_and_ending_threads_are_noticed() {
    let source = format!(
        "{}
import threading
def wait(): gate(2)
def main():
    gate(1)
    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    gate(3)
main()
",
        common::target::PROLOGUE
    );
    let mut target = common::target::Gated::new(&source).start();
    let runtime = runtime_address(target.pid()).unwrap().address;
    let site = Site { layout: Layout::read(&mut target.memory(), runtime).unwrap(), runtime };
    let mut walkers = walkers(site);
    for (context, threads) in [(1, 1), (2, 2), (3, 1)] {
        assert_eq!(target.next_gate(soon()).unwrap().context, context);
        target.stop().unwrap();
        for walker in &mut walkers {
            for _ in 0..3 {
                assert_eq!(walker.sample(&mut target.memory()).unwrap().threads.len(), threads);
            }
        }
        target.resume().unwrap();
        target.go(soon()).unwrap();
    }
}
