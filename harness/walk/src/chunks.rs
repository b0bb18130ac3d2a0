//! Copies of a thread's data-stack chunks, so that few reads fetch a whole chain of frames.

use std::borrow::Cow;

use crate::cycle::Cycle;
use crate::memory::{Address, RemoteMemory};
use crate::rejection::Rejection;
use crate::thread_state::word;

/// Size of a chunk unless one frame needs more (`DATA_STACK_CHUNK_SIZE`), in bytes.
const USUAL_SIZE: usize = 16 << 10;
/// Largest accepted chunk, in bytes.
pub const SIZE_LIMIT: u64 = 16 << 20;
/// Limit for the chunks of one thread together, in bytes. Copying fails at the chunk that exceeds it.
pub const TOTAL_LIMIT: usize = 64 << 20;
/// Most chunks of one thread.
pub const COUNT_LIMIT: usize = 4096;
/// Size of the `_PyStackChunk` header: previous, size, top. The frames follow.
const HEADER: usize = 24;
const SIZE_OFFSET: usize = 8;

/// Copies of data-stack chunks, newest first. Each chunk is read at a different time, so the copies are consistent only
/// if the target is stopped.
#[derive(Debug, Default)]
pub struct Chunks<'a> {
    copies: Vec<(Address, Cow<'a, [u8]>)>,
    /// Number of copies that are not chunks. They are at the end.
    others: usize,
    /// Index of the copy that served the last request. A chain usually stays within one chunk for many frames.
    last: usize,
    /// Address of the next chunk that was not copied yet, or NULL.
    next: Address,
    head: Address,
    bytes: usize,
    cycle: Cycle,
}

impl<'a> Chunks<'a> {
    /// Uses `copies` that were read on the guess that they are the chunks from `head` on. Returns `None` if they are
    /// not.
    pub(super) fn guessed(head: Address, copies: impl Iterator<Item = (Address, &'a [u8])>) -> Option<Self> {
        let mut chunks = Self::default();
        let mut expected = head;
        for (address, copy) in copies {
            let size = word(copy, SIZE_OFFSET)?;
            if address != expected || usize::try_from(size) != Ok(copy.len()) {
                return None;
            }
            expected = word(copy, 0)?;
            chunks.copies.push((address, Cow::Borrowed(copy)));
        }
        (expected == 0).then_some(chunks)
    }

    /// Addresses of the chunks and their sizes in bytes.
    pub(super) fn places(&self) -> impl Iterator<Item = (Address, usize)> {
        let chunks = self.copies.len() - self.others;
        self.copies.iter().take(chunks).map(|(address, copy)| (*address, copy.len()))
    }

    /// Adds the copy of a range outside the chunks that may be on the chain.
    pub(super) fn add(&mut self, address: Address, copy: &'a [u8]) {
        self.copies.push((address, Cow::Borrowed(copy)));
        self.others += 1;
    }

    /// Copies all chunks from `head` on.
    ///
    /// # Errors
    /// [`Rejection::Unreadable`] if a read fails, a chunk's size is out of bounds, or the list does not end.
    pub fn copy(memory: &mut dyn RemoteMemory, head: Address) -> Result<Self, Rejection> {
        let mut chunks = Self::when_needed(head);
        while chunks.next != 0 {
            chunks.copy_next(memory)?;
        }
        Ok(chunks)
    }

    /// The chunks from `head` on. Each chunk is copied only when a request needs it.
    #[must_use]
    pub fn when_needed(head: Address) -> Self {
        Self { next: head, head, ..Self::default() }
    }

    fn copy_next(&mut self, memory: &mut dyn RemoteMemory) -> Result<(), Rejection> {
        let Self { next: address, head, .. } = *self;
        if self.cycle.closes_at(address) {
            return Err(Rejection::Unreadable(format!("the data stack loops at chunk {address:#x}")));
        }
        let copy = Self::copy_one(memory, address)?;
        self.bytes += copy.len();
        if self.copies.len() == COUNT_LIMIT || self.bytes > TOTAL_LIMIT {
            return Err(Rejection::Unreadable(format!("the list of data-stack chunks from {head:#x} has no end")));
        }
        self.next = word(&copy, 0).unwrap_or(0);
        self.copies.push((address, Cow::Owned(copy)));
        Ok(())
    }

    fn copy_one(memory: &mut dyn RemoteMemory, address: Address) -> Result<Vec<u8>, Rejection> {
        let mut copy = vec![0; USUAL_SIZE];
        if memory.read(address, &mut copy).is_err() {
            copy.truncate(HEADER);
            memory.read(address, &mut copy)?;
        }
        let size = word(&copy, SIZE_OFFSET).unwrap_or(0);
        let size = usize::try_from(size)
            .ok()
            .filter(|_| (HEADER as u64..=SIZE_LIMIT).contains(&size))
            .ok_or_else(|| Rejection::Unreadable(format!("chunk {address:#x} claims {size} bytes")))?;
        if size > copy.len() {
            // Garbage can claim a huge size. Probe the last byte before allocating.
            memory.read(address.wrapping_add(size as u64 - 1), &mut [0])?;
            copy.resize(size, 0);
            memory.read(address, &mut copy)?;
        }
        copy.truncate(size);
        Ok(copy)
    }

    /// Returns the `length` bytes at `address` if one chunk holds all of them. Copies further chunks until one does.
    ///
    /// # Errors
    /// As [`Chunks::copy`].
    #[inline]
    pub fn get(
        &mut self,
        memory: &mut dyn RemoteMemory,
        address: Address,
        length: usize,
    ) -> Result<Option<&[u8]>, Rejection> {
        let offset = match self.within(self.last, address, length) {
            Some(offset) => offset,
            None => match self.find(memory, address, length)? {
                Some(offset) => offset,
                None => return Ok(None),
            },
        };
        Ok(self.copies.get(self.last).and_then(|(_, copy)| copy.get(offset..offset + length)))
    }

    /// Selects the copy that holds `length` bytes at `address` as the last one. Returns their offset in it.
    fn find(
        &mut self,
        memory: &mut dyn RemoteMemory,
        address: Address,
        length: usize,
    ) -> Result<Option<usize>, Rejection> {
        let mut index = 0;
        loop {
            if index == self.copies.len() {
                if self.next == 0 {
                    return Ok(None);
                }
                self.copy_next(memory)?;
            }
            if let Some(offset) = self.within(index, address, length) {
                self.last = index;
                return Ok(Some(offset));
            }
            index += 1;
        }
    }

    #[inline]
    fn within(&self, index: usize, address: Address, length: usize) -> Option<usize> {
        let (start, copy) = self.copies.get(index)?;
        let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
        (offset.checked_add(length)? <= copy.len()).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryError;
    use crate::memory::image::Image;

    const FIRST: Address = 0x100_0000;

    /// A chunk of `size` bytes, 7 in each but its header.
    fn chunk(previous: Address, size: u64) -> Vec<u8> {
        let mut bytes = vec![7; usize::try_from(size).unwrap()];
        bytes[..8].copy_from_slice(&previous.to_le_bytes());
        bytes[8..16].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    /// `count` chunks of `size` bytes, whose frames are zeros; counts its reads.
    struct Many {
        count: u64,
        size: u64,
        reads: usize,
    }

    impl RemoteMemory for Many {
        fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
            self.reads += 1;
            let (index, offset) = ((address - FIRST) / SIZE_LIMIT, (address - FIRST) % SIZE_LIMIT);
            if offset + buffer.len() as u64 > self.size {
                return Err(MemoryError::Unmapped { action: "read", address, length: buffer.len() });
            }
            buffer.fill(0);
            if let Some(header) = buffer.get_mut(..HEADER) {
                let previous = if index + 1 < self.count { FIRST + (index + 1) * SIZE_LIMIT } else { 0 };
                header[..8].copy_from_slice(&previous.to_le_bytes());
                header[8..16].copy_from_slice(&self.size.to_le_bytes());
            }
            Ok(())
        }

        fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
            Err(MemoryError::ReadOnly { address, length: bytes.len() })
        }
    }

    fn copied(count: u64, size: u64) -> (Result<usize, Rejection>, usize) {
        let mut memory = Many { count, size, reads: 0 };
        let copied = Chunks::copy(&mut memory, FIRST).map(|chunks| chunks.copies.len());
        (copied, memory.reads)
    }

    #[test]
    fn chunks_of_every_size_are_copied_whole() {
        for size in [HEADER as u64, 100, 16 << 10, 40_000] {
            let mut image = Image::default();
            image.map(FIRST, chunk(0x10, 16 << 10));
            image.map(0x10, chunk(0, size));
            let size = usize::try_from(size).unwrap();
            for mut chunks in [Chunks::copy(&mut image, FIRST).unwrap(), Chunks::when_needed(FIRST)] {
                let mut get = |address, length| chunks.get(&mut image, address, length).unwrap().map(<[u8]>::to_vec);
                assert_eq!(get(FIRST + 24, 2), Some(vec![7, 7]));
                assert_eq!(get(0x10, size), Some(chunk(0, size as u64)));
                assert_eq!(get(0x11, size), None);
                assert_eq!(get(FIRST - 1, 2), None);
                assert_eq!(get(FIRST + 24, 2), Some(vec![7, 7]));
            }
        }
        assert!(Chunks::copy(&mut Image::default(), 0).unwrap().copies.is_empty());
    }

    #[test]
    fn chunks_are_copied_on_demand() {
        let mut memory = Many { count: 3, size: 16 << 10, reads: 0 };
        let mut chunks = Chunks::when_needed(FIRST);
        for (index, reads) in [(0, 1), (0, 1), (1, 2), (0, 2), (2, 3), (3, 3)] {
            let found = chunks.get(&mut memory, FIRST + index * SIZE_LIMIT + 64, 8).unwrap().is_some();
            assert_eq!((found, memory.reads), (index < 3, reads), "{index}");
        }
    }

    #[test]
    fn a_chunk_of_the_usual_size_needs_one_read() {
        assert_eq!(copied(3, 16 << 10), (Ok(3), 3));
    }

    #[test]
    fn garbage_is_refused() {
        for (size, why) in [(23, "claims 23 bytes"), (SIZE_LIMIT + 1, "claims 16777217 bytes")] {
            let mut image = Image::default();
            image.map(FIRST, vec![0; USUAL_SIZE]);
            image.write(FIRST + 8, &size.to_le_bytes()).unwrap();
            let refused = Chunks::copy(&mut image, FIRST).unwrap_err();
            assert!(matches!(&refused, Rejection::Unreadable(text) if text.contains(why)), "{refused}");
        }
    }

    #[test]
    fn the_number_of_copied_chunks_and_bytes_is_limited() {
        assert_eq!(copied(COUNT_LIMIT as u64, 64).0, Ok(COUNT_LIMIT));
        let endless = Err(Rejection::Unreadable(format!("the list of data-stack chunks from {FIRST:#x} has no end")));
        assert_eq!(copied(COUNT_LIMIT as u64 + 1, 64).0, endless);
        let most = TOTAL_LIMIT as u64 / SIZE_LIMIT;
        assert_eq!(copied(most, SIZE_LIMIT).0.map(|count| count as u64), Ok(most));
        assert_eq!(copied(most + 1, SIZE_LIMIT).0, endless);
    }
}
