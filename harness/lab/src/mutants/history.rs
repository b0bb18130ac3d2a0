//! Which past faults of CPython the mutants reproduce.

use framewalk::weakening::Weakening;

use super::fault::Fault;

/// A past fault of CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Its name on CPython's issue tracker.
    pub name: &'static str,
    /// The past fault in a few words, for reports.
    pub what: &'static str,
}

/// A full hit reported a stale line.
pub const STALE_LEAF: Issue = Issue { name: "gh-142137", what: "the leaf is taken from the cache" };
/// A chain that never reached the base frame was cached.
pub const CUT_SHORT: Issue = Issue { name: "gh-142852", what: "a chain without base frame is stored" };
/// A miss walked live memory.
pub const TORN: Issue = Issue { name: "gh-151424", what: "a walk of moving memory is stored" };
/// Leaving a frame by yield, RETURN_GENERATOR, throw or failed initialisation did not move the anchor.
pub const NOT_MOVED: Issue = Issue { name: "gh-151436", what: "a frame leaves and the anchor stays" };
/// A later frame at the same address was mistaken for the anchor's frame.
pub const REUSED_ADDRESS: Issue = Issue { name: "gh-151613", what: "frames at one address are not distinguished" };
/// Marker entries that are not frames were counted as frames that left.
pub const MARKERS: Issue = Issue { name: "marker frames", what: "a marker counts as a frame that left" };

/// All past faults, oldest first.
pub const ALL: [Issue; 6] = [STALE_LEAF, CUT_SHORT, TORN, NOT_MOVED, REUSED_ADDRESS, MARKERS];

/// The past fault that this fault reproduces, or `None`.
#[must_use]
pub fn of_fault(fault: Fault) -> Option<Issue> {
    match fault {
        Fault::UpdateSkipped => Some(NOT_MOVED),
        Fault::SequenceKept | Fault::SequenceMiscounted => Some(REUSED_ADDRESS),
        Fault::AnchorKept | Fault::GuardAlwaysTrue | Fault::AnchorToGrandparent | Fault::StoresSwapped => None,
    }
}

/// The past fault that this weakening reproduces, or `None`.
#[must_use]
pub fn of_weakening(weakening: Weakening) -> Option<Issue> {
    match weakening {
        Weakening::LeafReusedOnFullHit => Some(STALE_LEAF),
        Weakening::ChainStoredWithoutBase => Some(CUT_SHORT),
        Weakening::ChunksNotCopied | Weakening::TornWalkStored => Some(TORN),
        Weakening::NoSequenceCheckOnFullHit | Weakening::NoSequenceCheckOnPartialHit => Some(REUSED_ADDRESS),
        Weakening::ShimFramesCounted => Some(MARKERS),
        Weakening::ThreadStateNotCompared
        | Weakening::NotReadAgainBeforeUse
        | Weakening::EntryKeptAfterFailedAttempt
        | Weakening::SequenceNotComparedAfterAnchoring
        | Weakening::PartialHitOnGrownStack
        | Weakening::GeneratorLeafAnchored
        | Weakening::GeneratorBeingMadeAnchored
        | Weakening::ShimLeafAnchored
        | Weakening::CodeKeptAfterFree
        | Weakening::GenerationOfAnotherInterpreter => None,
    }
}
