//! Upper bounds for the cost of a sample, derived from the walkers' documented limits.
//!
//! They also bound time and memory, which both grow with reads and bytes. A byte that was read is kept as at most one
//! position of a location table, 36 bytes. The decoder and the cache bound what is kept between walks.

use framewalk::chain::DEPTH_LIMIT;
use framewalk::chunks::{COUNT_LIMIT, SIZE_LIMIT, TOTAL_LIMIT};
use framewalk::code::{TABLE_LIMIT, WALK_LIMIT};
use framewalk::layout::Layout;
use framewalk::python_text::LENGTH_LIMIT;
use framewalk::thread_state::{INTERPRETER_LIMIT, THREAD_LIMIT};

/// Most walks of a thread in one sample, for any walker.
const ATTEMPTS: u64 = 4;
/// Reads of thread state, leaf, anchor and sequence before, during and after a walk.
const READS_OF_STATE: u64 = 16;
/// Reads of a chunk: at its usual size, its header alone, its last byte, and the whole chunk.
const READS_OF_CHUNK: u64 = 4;
/// Reads of a code object: the object, two texts with two reads each, a location table with two.
const READS_OF_CODE: u64 = 7;

/// Number of reads and bytes of a sample. Each segment of a vectored read counts as a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) reads: u64,
    pub(super) bytes: u64,
}

/// The highest cost of a sample of an image whose lists lead to `threads` threads.
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
