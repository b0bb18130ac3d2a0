//! Which states a walker is documented not to walk.

use framewalk::rejection::Rejection;
use framewalk::sample::WalkerKind;

use crate::schedule::fingerprint::LeafKind;

/// What `RemoteUnwinder` raises while a thread stands between C and Python, or runs no Python yet or any more.
const NO_LEAF: [&str; 1] = ["RuntimeError: Failed to parse initial frame in chain"];

/// Whether a walker of this kind may reject some states for this reason: the reference walker says which leaves it cannot hold.
#[must_use]
pub fn may_reject(walker: WalkerKind, rejection: &Rejection) -> bool {
    walker == WalkerKind::OwnReference && matches!(rejection, Rejection::GeneratorLeaf | Rejection::ShimLeaf)
}

/// Whether CPython's unwinder is documented not to walk a thread whose current frame is of this kind, with this error.
#[must_use]
pub fn is_documented_leaf(rejection: &Rejection, leaf: LeafKind) -> bool {
    leaf == LeafKind::Shim && matches!(rejection, Rejection::Raised(text) if NO_LEAF.contains(&text.as_str()))
}
