//! What the calibration target says of itself.

use serde::Deserialize;

/// The state in which the target rests first. Ids of objects are their addresses.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Facts {
    /// The kernel's id of the main thread.
    pub(super) main: u64,
    /// The kernel's ids of all threads.
    pub(super) threads: Vec<u64>,
    /// The ids of all interpreters.
    pub(super) interpreters: Vec<u64>,
    /// The main thread's stack, leaf first.
    pub(super) stack: Vec<FrameFact>,
    /// The generator that runs on that stack.
    pub(super) generator: u64,
    /// Generators that were made, are suspended, run, and have ended.
    pub(super) states: [u64; 4],
    pub(super) codes: Vec<CodeFact>,
    /// The size of a code object without its instructions, in bytes.
    pub(super) code_size: u64,
    /// Strings of every kind, with their code points.
    pub(super) texts: Vec<(u64, Vec<u32>)>,
}

/// One frame: code object, `f_lasti`, qualified name, file, line, and whether it belongs to a generator.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FrameFact(
    pub(super) u64,
    pub(super) u64,
    pub(super) String,
    pub(super) String,
    pub(super) i32,
    pub(super) bool,
);

/// A code object and the objects that it refers to.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct CodeFact {
    pub(super) address: u64,
    pub(super) filename: u64,
    pub(super) qualname: u64,
    pub(super) linetable: u64,
    /// The contents of `co_linetable` in hexadecimal.
    pub(super) table: String,
    pub(super) firstlineno: u32,
    pub(super) argcount: u32,
    pub(super) flags: u32,
}

/// The exception that the target handles.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Handling {
    pub(super) handled: u64,
}

/// The exception that the target has raised.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Raising {
    pub(super) raised: u64,
}
