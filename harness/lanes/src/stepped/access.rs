//! Determines the purpose of a walker's access from its addresses.

use std::collections::{BTreeMap, HashSet};

use framewalk::layout::{CacheLayout, Layout};
use framewalk::memory::Address;
use model::schedule::AccessKind;
use model::schedule::event::{AccessedValue, ThreadWord};

/// A range that is accessed: start address and length.
pub(crate) type Part = (Address, usize);

/// The known addresses of one target.
pub(crate) struct Map {
    layout: Layout,
    thread: Address,
    words: [(ThreadWord, Address); 3],
    /// All chunks that the thread's data stack ever had: address and size.
    chunks: BTreeMap<Address, u64>,
    /// All frames outside the chunks that were ever on the chain.
    frames: HashSet<Address>,
}

impl Map {
    pub(crate) fn new(layout: Layout, cache: CacheLayout, thread: Address) -> Self {
        let word = |word, offset| (word, thread.wrapping_add(offset));
        let words = [
            word(ThreadWord::CurrentFrame, layout.thread.current_frame),
            word(ThreadWord::Anchor, cache.anchor),
            word(ThreadWord::Sequence, cache.sequence),
        ];
        Self { layout, thread, words, chunks: BTreeMap::new(), frames: HashSet::new() }
    }

    /// The watched words of the thread state.
    pub(crate) fn words(&self) -> [(ThreadWord, Address); 3] {
        self.words
    }

    pub(crate) fn learn_chunk(&mut self, address: Address, size: u64) {
        self.chunks.insert(address, size);
    }

    pub(crate) fn learn_frame(&mut self, address: Address) {
        if self.chunk_of(address).is_none() {
            self.frames.insert(address);
        }
    }

    fn chunk_of(&self, address: Address) -> Option<(Address, u64)> {
        let (&start, &size) = self.chunks.range(..=address).next_back()?;
        (address - start < size).then_some((start, size))
    }

    /// The purpose of reading these parts in one call. `None` if the access is not numbered.
    pub(crate) fn read_kind(&self, parts: &[Part]) -> Option<AccessKind> {
        let holds = |word: ThreadWord| {
            let at = self.words.iter().find(|(one, _)| *one == word).map_or(0, |(_, address)| *address);
            parts.iter().any(|&part| covers(part, at))
        };
        if holds(ThreadWord::CurrentFrame) {
            return Some(AccessKind::ReadThreadState);
        }
        if holds(ThreadWord::Anchor) || holds(ThreadWord::Sequence) {
            return Some(AccessKind::ReadAnchor);
        }
        let kinds = parts.iter().map(|&part| self.part_kind(part));
        // Frames and chunks say more about a call than what is read with them.
        kinds.flatten().min_by_key(|kind| usize::from(*kind == AccessKind::ReadOther))
    }

    fn part_kind(&self, (address, length): Part) -> Option<AccessKind> {
        if self.frames.contains(&address) {
            return Some(AccessKind::ReadFrame);
        }
        let (start, _) = self.chunk_of(address).or_else(|| self.in_thread_state(address).then_some((0, 0)))?;
        Some(match length as u64 {
            _ if start == 0 => AccessKind::ReadOther,
            length if start == address && length > self.layout.frame.size => AccessKind::ReadChunk,
            _ if start == address => AccessKind::ReadOther,
            _ => AccessKind::ReadFrame,
        })
    }

    fn in_thread_state(&self, address: Address) -> bool {
        address.wrapping_sub(self.thread) < self.layout.thread.size
    }

    /// The purpose of a write to this part. `None` if the access is not numbered.
    pub(crate) fn write_kind(&self, part: Part) -> Option<AccessKind> {
        let [_, (_, anchor), _] = self.words;
        covers(part, anchor).then_some(AccessKind::WriteAnchor)
    }

    /// The new value of the anchor, if writing `bytes` to `part` sets it.
    pub(crate) fn anchor_in(&self, part: Part, bytes: &[u8]) -> Option<u64> {
        let [_, (_, anchor), _] = self.words;
        word_at(part, bytes, anchor)
    }

    /// Adds what `bytes` show. They were read from `offset` on within the part that the walker asked for.
    pub(crate) fn shown(&self, asked: Part, offset: usize, bytes: &[u8], shown: &mut Vec<AccessedValue>) {
        let piece = (asked.0.wrapping_add(offset as u64), bytes.len());
        let before = shown.len();
        for (word, at) in self.words {
            shown.extend(word_at(piece, bytes, at).map(|value| AccessedValue::Thread(word, value)));
        }
        if shown.len() > before {
            return;
        }
        match self.part_kind(asked) {
            Some(AccessKind::ReadFrame) => {
                if bytes.len() as u64 >= self.layout.frame.size {
                    shown.push(AccessedValue::Frame(asked.0));
                }
                let previous = word_at(piece, bytes, asked.0.wrapping_add(self.layout.frame.previous));
                shown.extend(previous.map(|previous| AccessedValue::Previous(asked.0, previous)));
            }
            Some(AccessKind::ReadChunk) => {
                shown.push(AccessedValue::Chunk(piece.0, piece.0.wrapping_add(bytes.len() as u64)));
            }
            _ => {}
        }
        if shown.len() == before {
            shown.push(AccessedValue::Other(format!("{} bytes at {:#x}", bytes.len(), piece.0)));
        }
    }
}

fn covers((address, length): Part, word: Address) -> bool {
    word >= address && (word - address).saturating_add(8) <= length as u64
}

/// The word at an address, if the piece contains it.
fn word_at(piece: Part, bytes: &[u8], address: Address) -> Option<u64> {
    if !covers(piece, address) {
        return None;
    }
    let offset = usize::try_from(address - piece.0).ok()?;
    bytes.get(offset..)?.first_chunk().map(|word| u64::from_le_bytes(*word))
}
