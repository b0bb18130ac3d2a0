//! Counts how often a store buffer shows between a loop and a profiler's system calls.
//!
//! The loop does what the interpreter does when a frame leaves the stack: it stores one word and loads another. The
//! profiler does what a walker does that anchors first: it writes the second word and reads the first. If the loop
//! loads the old value and the profiler reads the old value in the same round, then the loop's store was still in its
//! core's store buffer. `framediff prove --memory tso` says what that leads to.
//!
//! `cargo bench --bench store_buffer -- ROUNDS` runs that many rounds (100,000,000) with `process_vm_writev` and
//! `process_vm_readv`, and a tenth of them with plain loads and stores, which shows that the outcome can be seen at all.

use std::hint::{black_box, spin_loop};
use std::io::{IoSlice, IoSliceMut};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};
use std::time::Instant;

use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

const ROUNDS: u64 = 100_000_000;
/// The rounds whose last iteration is kept. The anchor is the number of the round modulo this, in one byte, so that no
/// write of it can be torn. The profiler is never more than one round ahead.
const KEPT: u64 = 4;

/// In a word of `last`: the round's anchor was loaded.
const LOADED: u64 = 1 << 32;

/// What a profiler saw.
#[derive(Default)]
struct Counted {
    /// Rounds in which both sides saw old values.
    both_old: u64,
    /// Rounds whose read was torn. They count as nothing else.
    torn: u64,
}

/// A word in both halves, so that a torn read shows.
fn twice(half: u32) -> u64 {
    u64::from(half) << 32 | u64::from(half)
}

/// A word in a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Word(AtomicU64);

#[derive(Default)]
struct Shared {
    current_frame: Word,
    anchor: Word,
    /// For each round, the last iteration of the loop that loaded its anchor.
    last: [Word; KEPT as usize],
    ended: AtomicBool,
}

impl Shared {
    fn last(&self, round: u64) -> &AtomicU64 {
        &self.last[(round % KEPT) as usize].0
    }

    /// The interpreter's side.
    fn interpreter(&self) {
        let mut iteration: u32 = 0;
        while !self.ended.load(Ordering::Relaxed) {
            iteration = iteration.wrapping_add(1);
            self.current_frame.0.store(twice(iteration), Ordering::Relaxed);
            // The machine may reorder the two, the compiler may not.
            compiler_fence(Ordering::SeqCst);
            let anchor = self.anchor.0.load(Ordering::Relaxed);
            self.last(anchor).store(LOADED | u64::from(iteration), Ordering::Relaxed);
        }
    }

    /// The profiler's side.
    fn profiler(&self, rounds: u64, round: impl Fn(&Self, u64) -> nix::Result<u64>) -> nix::Result<Counted> {
        let mut counted = Counted::default();
        for number in 1..=rounds {
            self.last(number).store(0, Ordering::Relaxed);
            let current_frame = round(self, number % KEPT)?;
            while self.last(number).load(Ordering::Acquire) == 0 {
                spin_loop();
            }
            let (last, read) = (self.last(number - 1).load(Ordering::Acquire) as u32, current_frame as u32);
            if current_frame != twice(read) {
                counted.torn += 1;
            } else if last.wrapping_sub(read).cast_signed() > 0 {
                counted.both_old += 1;
            }
        }
        Ok(counted)
    }
}

fn system_calls(shared: &Shared, number: u64) -> nix::Result<u64> {
    let remote = |word: &Word| [RemoteIoVec { base: word.0.as_ptr() as usize, len: 8 }];
    process_vm_writev(Pid::this(), &[IoSlice::new(&number.to_ne_bytes())], &remote(&shared.anchor))?;
    let mut bytes = [0; 8];
    process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut bytes)], &remote(&shared.current_frame))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn plain_accesses(shared: &Shared, number: u64) -> nix::Result<u64> {
    shared.anchor.0.store(number, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    Ok(shared.current_frame.0.load(Ordering::Relaxed))
}

fn count(name: &str, rounds: u64, round: impl Fn(&Shared, u64) -> nix::Result<u64>) -> nix::Result<Counted> {
    let shared = Shared::default();
    let begun = Instant::now();
    let counted = std::thread::scope(|scope| {
        let interpreter = scope.spawn(|| shared.interpreter());
        let counted = shared.profiler(rounds, round);
        shared.ended.store(true, Ordering::Relaxed);
        black_box(interpreter.join().is_ok());
        counted
    })?;
    let Counted { both_old, torn } = counted;
    println!("{name:<15} {both_old} of {rounds} rounds, {torn} reads torn, {:.1} s", begun.elapsed().as_secs_f64());
    Ok(counted)
}

fn main() -> ExitCode {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let counted = count("plain accesses", rounds / 10, plain_accesses)
        .and_then(|plain| count("system calls", rounds, system_calls).map(|_| plain));
    match counted {
        Ok(Counted { both_old: 0, .. }) => {
            eprintln!("store_buffer: even plain accesses did not show it: are there two cores?");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store_buffer: {error}");
            ExitCode::FAILURE
        }
    }
}
