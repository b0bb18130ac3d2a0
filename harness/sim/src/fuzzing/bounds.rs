//! What a sample may cost at the most, from the limits that the walkers state.
//!
//! Time and memory follow: both grow with reads and bytes. What is kept of a byte that was read is at the most a position
//! of a location table, 36 bytes; what is kept from walk to walk is bounded by the decoder and the cache.

use framewalk::chain::DEPTH_LIMIT;
use framewalk::chunks::{COUNT_LIMIT, SIZE_LIMIT, TOTAL_LIMIT};
use framewalk::code::{TABLE_LIMIT, WALK_LIMIT};
use framewalk::layout::Layout;
use framewalk::python_text::LENGTH_LIMIT;
use framewalk::thread_state::{INTERPRETER_LIMIT, THREAD_LIMIT};

/// No walker walks a thread more often in one sample.
const ATTEMPTS: u64 = 4;
/// Thread state, leaf, anchor and sequence, before, during and after a walk.
const READS_OF_STATE: u64 = 16;
/// A chunk is read at its usual size, its header alone, its last byte, and whole.
const READS_OF_CHUNK: u64 = 4;
/// A code object, two texts in two reads each, a table in two.
const READS_OF_CODE: u64 = 7;

/// Reads and bytes of a sample, segments of vectored reads each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) reads: u64,
    pub(super) bytes: u64,
}

/// The most that a sample of an image may cost whose lists lead to `threads` threads.
pub(super) fn most(layout: &Layout, threads: usize) -> Cost {
    let listed = (1 + 2 * INTERPRETER_LIMIT + THREAD_LIMIT) as u64;
    let (chunks, frames) = (COUNT_LIMIT as u64 + 1, DEPTH_LIMIT as u64);
    let one_code = layout.code.size + TABLE_LIMIT + 2 * 4 * LENGTH_LIMIT + 512;
    let walk = Cost {
        reads: READS_OF_STATE + READS_OF_CHUNK * chunks + frames * (1 + READS_OF_CODE),
        bytes: READS_OF_STATE * layout.thread.size.max(layout.frame.size)
            + 2 * (TOTAL_LIMIT as u64 + SIZE_LIMIT)
            + frames * layout.frame.size
            + 4 * (WALK_LIMIT as u64 + one_code),
    };
    Cost {
        reads: listed + threads as u64 * ATTEMPTS * walk.reads,
        bytes: listed * layout.thread.size.max(16) + threads as u64 * ATTEMPTS * walk.bytes,
    }
}
