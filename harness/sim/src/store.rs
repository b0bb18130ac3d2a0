//! The interpreter's memory accesses, one at a time.

use framewalk::memory::Address;

use crate::map::Word;

/// One access. When a frame leaves the stack, the anchor is loaded and compared. Sequence and anchor are stored only if
/// the anchor was that frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SimStore {
    /// Stores a word that is not part of an anchor update.
    Word {
        /// The index of the word in the map.
        word: Word,
        /// The value after the store.
        value: u64,
    },
    /// Loads the anchor. If it is not `frame`, the next `skip` accesses are skipped.
    CompareAnchor {
        /// Index of the thread.
        thread: usize,
        /// The frame that leaves the stack.
        frame: Address,
        /// Number of accesses that depend on the comparison.
        skip: usize,
    },
    /// Adds one to the sequence.
    IncrementSequence {
        /// Index of the thread.
        thread: usize,
    },
    /// Sets the sequence of a new thread state to the initial sequence.
    ResetSequence {
        /// Index of the thread.
        thread: usize,
    },
    /// Stores the anchor in an anchor update.
    Anchor {
        /// Index of the thread.
        thread: usize,
        /// The caller's frame, or NULL in a new thread state.
        value: Address,
    },
}
