//! The parts of a stack, in the form that walkers, oracles and reports share.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::printable::{LONGEST, shortened};

/// Longest name of a function or file in one line of a report, in characters.
const LONGEST_NAME: usize = LONGEST / 2;

/// A source position, as from `code.co_positions()`. Lines are 1-based, but code that was tampered with can have any C
/// `int` except -1. Columns are 0-based UTF-8 byte offsets.
///
/// A part is `None` where the compiler recorded none. Artificial instructions have no line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// First line (`lineno`), from 1. `None` if the instruction has no line.
    pub line: Option<i32>,
    /// Last line (`end_lineno`), from 1. `None` if it is unknown.
    pub end_line: Option<i32>,
    /// Start column on the first line (`col_offset`).
    pub column: Option<u32>,
    /// End column on the last line, exclusive (`end_col_offset`).
    pub end_column: Option<u32>,
}

/// One Python frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// Qualified name of the function (`co_qualname`).
    pub function: Arc<str>,
    /// Path of the source file (`co_filename`).
    pub file: Arc<str>,
    /// Source position of the current instruction.
    pub location: Location,
}

impl Frame {
    /// The function's name, escaped and shortened for messages. A name read from garbage can be very long.
    #[must_use]
    pub fn name(&self) -> String {
        shortened(&self.function, LONGEST_NAME)
    }

    /// The file's name without its folders, escaped and shortened for messages.
    #[must_use]
    pub fn file_name(&self) -> String {
        shortened(self.file.rsplit('/').next().unwrap_or(&self.file), LONGEST_NAME)
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.name();
        let file = self.file_name();
        match self.location.line {
            Some(line) => write!(f, "{function} ({file}:{line})"),
            None => write!(f, "{function} ({file}, no line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_prints_as_one_short_line() {
        let frame = |function: &str, file: &str| Frame {
            function: function.into(),
            file: file.into(),
            location: Location { line: Some(7), ..Location::default() },
        };
        assert_eq!(frame("f_漢λ", "/folder/workload.py").to_string(), "f_漢λ (workload.py:7)");
        let garbage = "\x1b".repeat(1024);
        let line = frame(&garbage, &garbage).to_string();
        assert!(line.ends_with("…:7)") && line.chars().count() < LONGEST + 10, "{line}");
        assert!(!line.chars().any(char::is_control), "{line}");
    }
}
