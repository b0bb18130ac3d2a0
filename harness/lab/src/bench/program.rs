//! Python programs with a stack of an exact depth: one that waits or changes its stack between gates, and one that
//! works.
//!
//! They use the same gates as the programs of [`model::workload`], but choose the gates' contexts themselves. The
//! programs of [`model::workload`] are made to be judged by a grammar that knows every stack. These are made to be deep
//! and to take little time themselves.

use std::fmt::Write;

use model::workload::prologue::{GATE, IMPORTS, gate};

/// Number of functions that call one another in turn, so that a stack has several code objects.
const FUNCTIONS: u32 = 8;
/// Minimum intended duration of a block of work in nanoseconds: long compared with a gate and with a core's wakeup from
/// sleep.
const WORK: u32 = 20_000_000;

/// A program whose main thread waits at gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// Number of frames on each thread's stack, including the module's; at least 1.
    pub depth: u32,
    /// How many frames, counted from the leaf, return and are called again between two gates. The module's frame always
    /// stays, so this is below `depth`.
    pub changed: u32,
    /// Number of threads. All except the main thread wait for a lock.
    pub threads: u32,
}

impl Gated {
    /// The Python source, which starts with the gate protocol.
    #[must_use]
    pub fn source(self) -> String {
        let Self { depth, changed, threads } = self;
        let depth = depth.max(1);
        let changed = changed.min(depth - 1);
        let round = if changed == 0 { gate("0") } else { format!("change_0({changed})") };
        let mut text = beginning();
        let waiting = "_arrived.release(); _block.acquire()";
        text.push_str("_block = _thread.allocate_lock()\n_block.acquire()\n_arrived = _thread.allocate_lock()\n_arrived.acquire()\n");
        ring(&mut text, "wait", &[waiting]);
        ring(&mut text, "change", &[&gate("0")]);
        ring(&mut text, "stay", &["while True:", &format!("    {round}")]);
        for _ in 1..threads.max(1) {
            // When the lock is free, the new thread has reached its final position.
            let _ = writeln!(text, "_thread.start_new_thread(wait_0, ({depth},)); _arrived.acquire()");
        }
        text.push_str(READY);
        match depth - changed {
            0 | 1 => _ = writeln!(text, "while True:\n    {round}"),
            stay => _ = writeln!(text, "stay_0({})", stay - 1),
        }
        text
    }
}

/// A program that calls and returns all the time on a stack of `depth` frames. The context of each gate is the time in
/// nanoseconds that a fixed amount of work took since the previous gate.
#[must_use]
pub fn working(depth: u32) -> String {
    let mut text = beginning();
    text.push_str("from time import perf_counter_ns as _now\n\n");
    text.push_str("def work(n):\n    return n if n < 2 else work(n - 1) + work(n - 2)\n\n");
    text.push_str(
        "def timed(rounds):\n    begun = _now()\n    for _ in range(rounds): work(12)\n    return _now() - begun\n\n",
    );
    // Double the work until it takes long enough, then keep it fixed. Use the minimum of three, because an interruption
    // makes a run look longer.
    let calibrate = format!("while min(timed(rounds), timed(rounds), timed(rounds)) < {WORK}: rounds *= 2");
    let gate = format!("    {}", gate("min(elapsed, 0xffffffff)"));
    let body = ["rounds = 1", &calibrate, "while True:", "    elapsed = timed(rounds)", &gate];
    ring(&mut text, "stay", &body);
    text.push_str(READY);
    let _ = writeln!(text, "stay_0({})", depth.saturating_sub(1).max(1));
    text
}

/// The start of the gate protocol.
const READY: &str = "_write(1, b'framdiff')\nif _read(0, 1) != b'g': _exit(0)\n";

fn beginning() -> String {
    format!("{IMPORTS}\n{GATE}\n\n")
}

/// Functions that call one another: `name_0(n)` makes `n` frames, and the last one runs `body`.
fn ring(text: &mut String, name: &str, body: &[&str]) {
    for index in 0..FUNCTIONS {
        let next = (index + 1) % FUNCTIONS;
        let _ = writeln!(text, "def {name}_{index}(n):\n    if n > 1:\n        {name}_{next}(n - 1)\n        return");
        for line in body {
            let _ = writeln!(text, "    {line}");
        }
        text.push('\n');
    }
}
