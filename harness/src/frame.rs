//! What a stack is made of: the vocabulary that every walker, oracle and report shares.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A source position as `code.co_positions()` gives it: lines are 1-based, columns are 0-based UTF-8 byte offsets.
///
/// Every part is absent where the compiler recorded none (artificial instructions have no line).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Location {
    /// First line.
    pub line: Option<u32>,
    /// Last line.
    pub end_line: Option<u32>,
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

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.rsplit('/').next().unwrap_or(&self.file);
        match self.location.line {
            Some(line) => write!(f, "{} ({file}:{line})", self.function),
            None => write!(f, "{} ({file}, no line)", self.function),
        }
    }
}
