//! The states that a walker is documented not to walk.

use framewalk::rejection::Rejection;
use framewalk::sample::WalkerKind;

use crate::schedule::fingerprint::LeafKind;

/// The errors that `RemoteUnwinder` raises for a thread that is between C and Python, or does not run Python code yet
/// or any more.
const NO_LEAF: [&str; 1] = ["RuntimeError: Failed to parse initial frame in chain"];

/// Whether this kind of walker may reject some states for this reason. The reference walker rejects leaves that it
/// cannot hold.
#[must_use]
pub fn may_reject(walker: WalkerKind, rejection: &Rejection) -> bool {
    match walker {
        WalkerKind::OwnReference => matches!(rejection, Rejection::GeneratorLeaf | Rejection::ShimLeaf),
        WalkerKind::OwnUncached | WalkerKind::OwnCached | WalkerKind::CpythonUncached | WalkerKind::CpythonCached => {
            false
        }
    }
}

/// Whether CPython's unwinder raised because a thread runs no Python.
#[must_use]
pub fn has_no_leaf(rejection: &Rejection) -> bool {
    matches!(rejection, Rejection::Raised(text) if NO_LEAF.contains(&text.as_str()))
}

/// Whether CPython's unwinder is documented to raise this error for a thread whose current frame is of this kind.
#[must_use]
pub fn is_documented_leaf(rejection: &Rejection, leaf: LeafKind) -> bool {
    leaf == LeafKind::Shim && has_no_leaf(rejection)
}
