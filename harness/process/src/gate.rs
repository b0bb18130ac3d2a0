//! Gates: places where a workload reports its position and waits.
//!
//! A target writes to its standard output and reads from its standard input. It first writes [`HELLO`] and waits. At
//! each gate it writes two little-endian words, its context and its native thread id, and waits for one byte. [`GO`]
//! lets it run on. [`ACCOUNT`] makes it write its own account of its stack and wait again. An account is a length word,
//! followed by that many bytes of JSON: a list of `[qualname, filename, lineno]` or
//! `[qualname, filename, lineno, end line, column, end column]`, leaf first. The announced thread waits in a `read`
//! system call. The target writes nothing else to its standard output.

use framewalk::printable::{excerpt, last_words};
use model::account::AccountFrame;
use model::workload::grammar::ContextId;
use serde::Deserialize;
use thiserror::Error;

use super::child::{ChildError, Ended};
use super::deadline::CalledOff;

/// The first bytes a target writes, once it is ready to start.
pub const HELLO: [u8; 8] = *b"framdiff";
/// Lets a target start, or leave a gate.
pub const GO: u8 = b'g';
/// Asks a target at a gate for its own account.
pub const ACCOUNT: u8 = b'a';
/// Accounts longer than this, in bytes, are rejected.
pub(super) const ACCOUNT_LIMIT: usize = 1024 * 1024;

/// The gate at which a target waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its context in the workload's grammar.
    pub context: ContextId,
    /// The kernel's id of the waiting thread.
    pub native_thread_id: u32,
}

impl Gate {
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        let [c0, c1, c2, c3, t0, t1, t2, t3] = bytes;
        Self { context: u32::from_le_bytes([c0, c1, c2, c3]), native_thread_id: u32::from_le_bytes([t0, t1, t2, t3]) }
    }
}

/// A frame of an account, with or without the rest of its position.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Place(String, String, Option<i32>, Option<i32>, Option<u32>, Option<u32>),
    Line(String, String, Option<i32>),
}

impl From<Written> for AccountFrame {
    fn from(written: Written) -> Self {
        match written {
            Written::Place(function, file, line, end_line, column, end_column) => {
                Self { function, file, line, place: Some((end_line, column, end_column)) }
            }
            Written::Line(function, file, line) => Self { function, file, line, place: None },
        }
    }
}

/// Parses the JSON list of frames that a target sends.
pub(super) fn parse_account(bytes: &[u8]) -> Result<Vec<AccountFrame>, GateError> {
    let frames: Vec<Written> =
        serde_json::from_slice(bytes).map_err(|error| GateError::Malformed(excerpt(&error.to_string())))?;
    Ok(frames.into_iter().map(AccountFrame::from).collect())
}

/// Why a target did not arrive at a gate, or did not answer there.
#[derive(Debug, Error)]
pub enum GateError {
    /// The target did not arrive in time. This proves nothing for or against it.
    #[error(
        "process {pid} did not reach its gate within {seconds:.1} s{stderr}: it loops, or the machine is overloaded; run fewer --jobs"
    )]
    Deadline {
        /// The target's process id.
        pid: i32,
        /// How long the harness waited, in seconds.
        seconds: f64,
        /// The end of the target's stderr, formatted so that it can be appended to the message.
        stderr: String,
    },
    /// The wait was given up, which says nothing about the target.
    #[error(transparent)]
    CalledOff(#[from] CalledOff),
    /// The target ended before it arrived or answered.
    #[error(transparent)]
    Ended(Ended),
    /// The target is stopped, so it cannot reach a gate.
    #[error("process {pid} is stopped: resume it before waiting for it")]
    Stopped {
        /// The target's process id.
        pid: i32,
    },
    /// The target wrote something that is not part of the protocol.
    #[error("the target's answer does not follow the gate protocol: {0}")]
    Malformed(String),
    /// A system call failed.
    #[error("cannot communicate with the target: {0}")]
    System(std::io::Error),
}

impl GateError {
    pub(super) fn from_child(error: ChildError, pid: i32, waited: std::time::Duration, stderr: &str) -> Self {
        match error {
            ChildError::Deadline => Self::Deadline {
                pid,
                seconds: waited.as_secs_f64(),
                stderr: match last_words(stderr).as_str() {
                    "" => String::new(),
                    words => format!(" (the end of its stderr: {words})"),
                },
            },
            ChildError::CalledOff(why) => Self::CalledOff(why),
            ChildError::Ended(ended) => Self::Ended(ended),
            ChildError::System(error) => Self::System(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_two_little_endian_words() {
        let gate = Gate::from_bytes([1, 2, 0, 0, 0, 0, 3, 0]);
        assert_eq!(gate, Gate { context: 0x201, native_thread_id: 0x3_0000 });
    }

    #[test]
    fn accounts_may_lack_lines_and_other_shapes_are_refused() {
        let frames = parse_account(br#"[["f", "w.py", 3], ["<module>", "w.py", null]]"#).unwrap();
        assert_eq!(frames.iter().map(|frame| frame.line).collect::<Vec<_>>(), [Some(3), None]);
        assert_eq!(frames.first().map(|frame| frame.function.as_str()), Some("f"));
        for bad in [&b"{}"[..], br#"[["f", "w.py"]]"#, br#"[["f", "w.py", 4294967296]]"#, b"\xff", b""] {
            assert!(matches!(parse_account(bad), Err(GateError::Malformed(_))), "{bad:?}");
        }
    }
}
