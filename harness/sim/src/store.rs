//! What the interpreter does to memory, one access at a time.

use framewalk::memory::Address;

use crate::map::Word;

/// One access. A frame that leaves the stack does the last three: the anchor is loaded and compared, and only if it was
/// that frame are sequence and anchor stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// Stores a word.
    Word {
        /// Which one.
        word: Word,
        /// What.
        value: u64,
    },
    /// Loads the anchor; unless it is `frame`, the next `skip` accesses are left out.
    CompareAnchor {
        /// Whose.
        thread: usize,
        /// The frame that leaves.
        frame: Address,
        /// How many depend on it.
        skip: usize,
    },
    /// Adds one to the sequence.
    IncrementSequence {
        /// Whose.
        thread: usize,
    },
    /// Sets the sequence of a new thread state to what sequences start with.
    ResetSequence {
        /// Whose.
        thread: usize,
    },
    /// Stores the anchor.
    Anchor {
        /// Whose.
        thread: usize,
        /// The caller's frame, or NULL in a new thread state.
        value: Address,
    },
}
