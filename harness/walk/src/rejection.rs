//! Why a walk returned no stack. A rejected walk is never a stack and never a pass.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::memory::MemoryError;

/// Why a walker returned no stack for a thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "detail")]
pub enum Rejection {
    /// A read failed: the address was unmapped, or the process is gone.
    #[error("unreadable memory: {0}")]
    Unreadable(String),
    /// The chain does not end at the base frame.
    #[error("the chain does not end at the base frame {base:#x}; its last frame is {last:#x}")]
    NotAtBase {
        /// Address of the thread state's base frame.
        base: u64,
        /// Address of the last frame of the chain.
        last: u64,
    },
    /// The chain returns to a frame that it has already visited.
    #[error("the chain loops at frame {frame:#x}")]
    Loops {
        /// Address of the frame at which the cycle was noticed.
        frame: u64,
    },
    /// A chain or list is longer than this limit.
    #[error("the chain has more than {0} frames")]
    TooDeep(usize),
    /// The layout does not define this owner byte.
    #[error("frame {frame:#x} has owner {owner}, which this layout does not define")]
    BadOwner {
        /// Address of the frame.
        frame: u64,
        /// The frame's owner byte.
        owner: u8,
    },
    /// A frame's code object, text or location table cannot be decoded.
    #[error("code object {code:#x} cannot be decoded: {why}")]
    BadCode {
        /// Address of the code object.
        code: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The target moved, so the walk could not be verified.
    #[error("the target moved during the walk")]
    Moved,
    /// The leaf frame belongs to a generator or coroutine. The reference protocol cannot hold such a frame.
    #[error("the leaf frame belongs to a generator")]
    GeneratorLeaf,
    /// The current frame is a shim frame: the thread is between C and Python.
    #[error("the current frame is a shim frame")]
    ShimLeaf,
    /// The thread has no Python frame.
    #[error("the thread has no Python frame")]
    Empty,
    /// CPython's unwinder raised this exception.
    #[error("RemoteUnwinder raised {0}")]
    Raised(String),
}

impl Rejection {
    /// The name used in tables and JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::NotAtBase { .. } => "not-at-base",
            Self::Loops { .. } => "loops",
            Self::TooDeep(_) => "too-deep",
            Self::BadOwner { .. } => "bad-owner",
            Self::BadCode { .. } => "bad-code",
            Self::Moved => "moved",
            Self::GeneratorLeaf => "generator-leaf",
            Self::ShimLeaf => "shim-leaf",
            Self::Empty => "empty",
            Self::Raised(_) => "raised",
        }
    }

    /// What rejections for one reason have in common: [`Rejection::name`], or [`RAISED`] followed by type and text of
    /// the exception. Every number in that text becomes `N`, because addresses and sizes differ from one to the next.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Raised(text) => format!("{RAISED}{}", without_numbers(text)),
            _ => self.name().to_owned(),
        }
    }
}

/// Prefix of [`Rejection::reason`] if an unwinder raised.
pub const RAISED: &str = "raised ";

fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        out.push_str(before);
        out.push('N');
        rest = match number.strip_prefix("0x") {
            Some(hex) => hex.trim_start_matches(|c: char| c.is_ascii_hexdigit()),
            None => number.trim_start_matches(|c: char| c.is_ascii_digit()),
        };
    }
    out + rest
}

impl From<MemoryError> for Rejection {
    fn from(error: MemoryError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_change_the_reason() {
        let reason = |text: &str| Rejection::Raised(text.into()).reason();
        assert_eq!(
            reason("RuntimeError: expected 0x7f3a2c, got 0x0 (after 12 frames)"),
            "raised RuntimeError: expected N, got N (after N frames)"
        );
        assert_eq!(reason("OSError: [Errno 14] Bad address"), "raised OSError: [Errno N] Bad address");
        assert_eq!(Rejection::Loops { frame: 7 }.reason(), "loops");
    }

    #[test]
    fn a_reason_has_the_same_name_in_tables_and_documents() {
        for rejection in [
            Rejection::Unreadable("why".into()),
            Rejection::NotAtBase { base: 1, last: 2 },
            Rejection::Loops { frame: 1 },
            Rejection::TooDeep(1),
            Rejection::BadOwner { frame: 1, owner: 9 },
            Rejection::BadCode { code: 1, why: "why".into() },
            Rejection::Moved,
            Rejection::GeneratorLeaf,
            Rejection::ShimLeaf,
            Rejection::Empty,
            Rejection::Raised("RuntimeError".into()),
        ] {
            assert_eq!(serde_json::to_value(&rejection).unwrap()["reason"], rejection.name());
        }
    }
}
