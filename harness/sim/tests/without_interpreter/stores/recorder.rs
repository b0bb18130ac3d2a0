//! Records the loads and stores of a thread until they can be named.

use std::sync::Arc;

use framewalk::layout::{CacheLayout, FrameLayout, GeneratorLayout, ThreadLayout};
use framewalk::memory::Address;

use super::Store;
use super::naming::Naming;

/// The bytes with which debug builds fill new, freed and guard memory.
const FILLERS: [u8; 3] = [0xcd, 0xdd, 0xfd];

/// The owner of a frame, as far as its name depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordKind {
    /// A frame on the data stack.
    Stack,
    /// A frame inside a generator.
    Generator,
    /// A shim frame, owned by the interpreter.
    Shim,
    /// The interpreter: the base frame.
    Base,
}

/// One frame of the chain.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The frame's address in the target.
    pub(crate) address: Address,
    /// The kind of frame, by its owner.
    pub kind: WordKind,
    /// The value of `f_executable`, including tag bits.
    pub executable: u64,
    /// `co_qualname`; empty if there is no code.
    pub function: Arc<str>,
}

/// The offsets of the recorded fields, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    /// Offsets in thread states.
    pub thread: ThreadLayout,
    /// Offsets of the cache's fields in thread states.
    pub cache: CacheLayout,
    /// Offsets of the fields of a frame.
    pub frame: FrameLayout,
    /// Offsets of the fields of a generator object.
    pub generator: GeneratorLayout,
}

pub(crate) enum Entry {
    AnchorLoaded,
    Stored {
        address: Address,
        value: u64,
        size: usize,
    },
    /// The chain of the new current frame, leaf first.
    Chain(Vec<Link>),
}

/// Records the accesses of one thread.
pub(crate) struct StoreRecorder {
    pub(crate) offsets: Offsets,
    pub(crate) thread: Address,
    pub(crate) sequence: u64,
    pub(crate) chunk: Address,
    pub(crate) entries: Vec<Entry>,
}

impl StoreRecorder {
    /// A recorder for the thread state at `thread`, with its present sequence and newest chunk. `chain` is its stack,
    /// leaf first.
    #[must_use]
    pub(crate) fn new(offsets: Offsets, thread: Address, sequence: u64, chunk: Address, chain: Vec<Link>) -> Self {
        Self { offsets, thread, sequence, chunk, entries: vec![Entry::Chain(chain)] }
    }

    /// Records a load of `size` bytes at `address`.
    pub(crate) fn loaded(&mut self, address: Address, size: usize) {
        let anchor = self.thread.wrapping_add(self.offsets.cache.anchor);
        if address <= anchor && anchor - address < size as u64 {
            self.entries.push(Entry::AnchorLoaded);
        }
    }

    /// Records a store. `bytes` is the memory after the store.
    pub(crate) fn stored(&mut self, address: Address, bytes: &[u8]) {
        let filler = bytes.len() >= 8 && bytes.first().is_some_and(|first| FILLERS.contains(first));
        if filler && bytes.windows(2).all(|pair| pair.first() == pair.last()) {
            return;
        }
        for (at, part) in (address..).step_by(8).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(part) {
                *to = *from;
            }
            self.entries.push(Entry::Stored { address: at, value: u64::from_le_bytes(word), size: part.len() });
        }
    }

    /// Whether a store at this address changes the current frame. If so, the new chain must be recorded, too.
    #[must_use]
    pub(crate) fn is_current_frame(&self, address: Address) -> bool {
        address == self.thread.wrapping_add(self.offsets.thread.current_frame)
    }

    /// Records the chain, leaf first, after a store to the current frame.
    pub(crate) fn chain(&mut self, chain: Vec<Link>) {
        self.entries.push(Entry::Chain(chain));
    }

    /// Names the recorded accesses.
    #[must_use]
    pub(crate) fn finish(self) -> Vec<Store> {
        Naming::of(&self)
    }
}
