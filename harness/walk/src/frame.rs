//! What a stack is made of: the vocabulary that every walker, oracle and report shares.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::printable::{LONGEST, shortened};

/// The most characters of a function's or a file's name in one line of a report.
const LONGEST_NAME: usize = LONGEST / 2;

/// A source position as `code.co_positions()` gives it: lines are 1-based (code that was tampered with can have any C `int` but
/// -1), columns are 0-based UTF-8 byte offsets.
///
/// Every part is absent where the compiler recorded none (artificial instructions have no line).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// First line.
    pub line: Option<i32>,
    /// Last line.
    pub end_line: Option<i32>,
    /// First column.
    pub column: Option<u32>,
    /// Column after the last one.
    pub end_column: Option<u32>,
}

/// One Python frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// `co_qualname`.
    pub function: Arc<str>,
    /// `co_filename`.
    pub file: Arc<str>,
    /// Where the frame stands.
    pub location: Location,
}

impl Frame {
    /// The function's name, fit for a message: one that was read from garbage can be a thousand characters of it.
    #[must_use]
    pub fn name(&self) -> String {
        shortened(&self.function, LONGEST_NAME)
    }

    /// The file's name without its folders, fit for a message.
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
    fn a_frame_is_one_short_line_whatever_its_names_are() {
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
