//! Why CPython's unwinder gave no sample.

use std::io;
use std::path::PathBuf;

use framewalk::printable::last_words;
use model::invariants::Violation;
use thiserror::Error;

use super::child::{ChildError, Ended};
use super::deadline::CalledOff;

/// Why CPython's unwinder returned no samples.
#[derive(Debug, Error)]
pub enum UnwinderError {
    /// The interpreter could not be started.
    #[error("cannot start {} for its RemoteUnwinder: {source}", python.display())]
    Start {
        /// The interpreter that should run the unwinder.
        python: PathBuf,
        /// The error of the launch.
        source: io::Error,
    },
    /// The interpreter started, but did not get ready to run an unwinder.
    #[error("{} did not start RemoteUnwinder: {source}", python.display())]
    NotReady {
        /// The interpreter that should run the unwinder.
        python: PathBuf,
        /// What went wrong while waiting for it.
        source: Box<Self>,
    },
    /// The build has no unwinder, or none with a cache.
    #[error("not available in this build: CPython {version} has no {what}")]
    NotAvailable {
        /// The version of the build without the feature.
        version: String,
        /// The missing feature, with the version that introduced it.
        what: &'static str,
    },
    /// The kernel does not let the unwinder read the target.
    #[error("RemoteUnwinder may not read process {pid}: {advice}")]
    Denied {
        /// The target's process id.
        pid: i32,
        /// The setting that refuses, and what to do about it.
        advice: String,
    },
    /// The unwinder raised an exception outside a walk.
    #[error("RemoteUnwinder raised {kind}: {text}")]
    Raised {
        /// The name of the exception's class.
        kind: String,
        /// The exception's `str`, possibly truncated.
        text: String,
    },
    /// No target was opened.
    #[error("the unwinder has no open process")]
    NotOpen,
    /// The driver did not answer in time. It was killed, because a late answer would be taken for the answer to the
    /// next request.
    #[error("RemoteUnwinder did not answer before the deadline")]
    Deadline,
    /// The wait for the answer was given up, which says nothing about the driver. It was killed for the same reason.
    #[error(transparent)]
    CalledOff(#[from] CalledOff),
    /// The driver's process ended.
    #[error("the process that runs RemoteUnwinder ended: {0}")]
    Ended(Ended),
    /// The driver's answer does not parse or is inconsistent.
    #[error("the answer of RemoteUnwinder's driver is invalid: {0}")]
    Malformed(String),
    /// A system call failed.
    #[error("cannot communicate with RemoteUnwinder's driver: {0}")]
    System(io::Error),
}

impl UnwinderError {
    /// The clause that this error breaks, if any: the unwinder must answer, and must not end its process. First check
    /// whether the target has ended; that excuses both.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        match self {
            Self::Ended(ended) => Some(Violation::UnwinderDied {
                end: ended.own_doing()?,
                failed_in: ended.failed_in.clone(),
                words: last_words(&ended.stderr),
            }),
            Self::Deadline => Some(Violation::UnwinderHung),
            Self::Start { .. }
            | Self::NotReady { .. }
            | Self::NotAvailable { .. }
            | Self::Denied { .. }
            | Self::Raised { .. }
            | Self::NotOpen
            | Self::CalledOff(_)
            | Self::Malformed(_)
            | Self::System(_) => None,
        }
    }
}

impl From<ChildError> for UnwinderError {
    fn from(error: ChildError) -> Self {
        match error {
            ChildError::Deadline => Self::Deadline,
            ChildError::CalledOff(why) => Self::CalledOff(why),
            ChildError::Ended(ended) => Self::Ended(ended),
            ChildError::System(error) => Self::System(error),
        }
    }
}
