//! Python programs with a stack of an exact depth: one that stands still or changes between gates, and one that works.
//!
//! They speak as the programs of [`model::workload`] do, at gates whose context is theirs to choose. Those are made to be
//! judged, by a grammar that knows every stack; these are made to be deep and to take no time of their own.

use std::fmt::Write;

use model::workload::prologue::{GATE, IMPORTS, gate};

/// How many functions take turns in calling one another, so that a stack is of more than one code object.
const FUNCTIONS: u32 = 8;
/// How long a block of work is meant to take at the least, in nanoseconds: long against a gate and against a core that
/// comes out of its sleep.
const WORK: u32 = 20_000_000;

/// A program whose main thread waits at gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// Frames on the stack of each thread, that of the module included; at least 1.
    pub depth: u32,
    /// How many of them, from the leaf on, are returned from and called anew between two gates. The module's frame always
    /// stays, so that it is below `depth`.
    pub changed: u32,
    /// All threads; the others than the main thread wait for a lock.
    pub threads: u32,
}

impl Gated {
    /// The text of the program.
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
            // Each of them stands where it stays once the lock is free.
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

/// A program that calls and returns all the time, upon a stack of `depth` frames. The context of each of its gates is the
/// time, in nanoseconds, that the same amount of work took since the gate before.
#[must_use]
pub fn working(depth: u32) -> String {
    let mut text = beginning();
    text.push_str("from time import perf_counter_ns as _now\n\n");
    text.push_str("def work(n):\n    return n if n < 2 else work(n - 1) + work(n - 2)\n\n");
    text.push_str(
        "def timed(rounds):\n    begun = _now()\n    for _ in range(rounds): work(12)\n    return _now() - begun\n\n",
    );
    // As much work as takes long enough, and from then on always the same. One that was interrupted seems long.
    let calibrate = format!("while min(timed(rounds), timed(rounds), timed(rounds)) < {WORK}: rounds *= 2");
    let gate = format!("    {}", gate("min(elapsed, 0xffffffff)"));
    let body = ["rounds = 1", &calibrate, "while True:", "    elapsed = timed(rounds)", &gate];
    ring(&mut text, "stay", &body);
    text.push_str(READY);
    let _ = writeln!(text, "stay_0({})", depth.saturating_sub(1).max(1));
    text
}

/// What a program says before it starts.
const READY: &str = "_write(1, b'framdiff')\nif _read(0, 1) != b'g': _exit(0)\n";

fn beginning() -> String {
    format!("{IMPORTS}\n{GATE}\n\n")
}

/// Functions that call one another: `name_0(n)` makes `n` frames, and the last of them runs `body`.
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
