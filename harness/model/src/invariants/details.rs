//! What a violation says besides its clause: how two stacks differ, what else an unwinder returned, how it died.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most significant difference between two stacks. Frame indices count from the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// One stack is longer. Counted from the root, the common part has the same functions.
    Length,
    /// A function with another name, or of another file.
    Function {
        /// Index of the first such frame, counted from the leaf.
        index: usize,
    },
    /// A different function, that of code which another interpreter had at the address of the frame's code. The
    /// stacks are the same otherwise.
    OtherInterpretersCode {
        /// Index of the first such frame, counted from the leaf.
        index: usize,
    },
    /// The same function on another line.
    Line {
        /// Index of the first such frame, counted from the leaf.
        index: usize,
    },
    /// The same function and line at different columns, or with a different end line.
    Column {
        /// Index of the first such frame, counted from the leaf.
        index: usize,
    },
}

impl Difference {
    /// The name used in fingerprints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Function { .. } => "function",
            Self::OtherInterpretersCode { .. } => "code-of-another-interpreter",
            Self::Line { .. } => "line",
            Self::Column { .. } => "column",
        }
    }
}

/// What an unwinder reports besides the frames of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// The threads and their order.
    Threads,
    /// The threads of interpreters that were made after the unwinder. All others are there, in the right order.
    LaterInterpreters,
    /// The threads, as the unwinder finds them through an interpreter that was there when it was made and has ended.
    EndedInterpreter,
    /// The id of a thread's interpreter.
    Interpreter,
    /// The status of a thread.
    Status,
    /// The opcode of a frame.
    Opcode,
    /// Where a collection runs (`<GC>`).
    GcMarkers,
    /// The collection that runs on top of the leaf. The unwinder has a full hit, and an entry from before the
    /// collection. All other markers are right.
    BegunCollection,
    /// Where C called Python (`<native>`).
    NativeMarkers,
    /// The active thread. The unwinder returns another one instead, which matches the mode.
    InactiveThread,
}

impl Field {
    /// The name used in fingerprints.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::LaterInterpreters => "later-interpreters",
            Self::EndedInterpreter => "ended-interpreter",
            Self::Interpreter => "interpreter",
            Self::Status => "status",
            Self::Opcode => "opcode",
            Self::GcMarkers => "gc-markers",
            Self::BegunCollection => "begun-collection",
            Self::NativeMarkers => "native-markers",
            Self::InactiveThread => "inactive-thread",
        }
    }
}

/// How the process of an unwinder ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Death {
    /// A signal killed it. The name of the signal, for example "SIGABRT".
    Signal(String),
    /// It exited with this status.
    Status(i32),
}

impl Death {
    /// The name used in fingerprints.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Signal(name) => name.to_ascii_lowercase(),
            Self::Status(_) => "exit".to_owned(),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => write!(f, "was killed by {name}"),
            Self::Status(status) => write!(f, "exited with status {status}"),
        }
    }
}
