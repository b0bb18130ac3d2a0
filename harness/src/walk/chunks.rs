//! Copies of a thread's data-stack chunks, so that a chain of frames is read with few accesses.

use crate::memory::{Address, RemoteMemory};
use crate::walk::cycle::Cycle;
use crate::walk::rejection::Rejection;
use crate::walk::thread_state::word;

/// The size of a chunk unless one frame needs more (`DATA_STACK_CHUNK_SIZE`).
const USUAL_SIZE: usize = 16 << 10;
/// A larger chunk is garbage.
pub const SIZE_LIMIT: u64 = 16 << 20;
/// Copying ends with the chunk with which all chunks of a thread together have more than these bytes.
pub const TOTAL_LIMIT: usize = 64 << 20;
/// More chunks are garbage.
pub const COUNT_LIMIT: usize = 4096;
/// `_PyStackChunk`: previous, size, top; the frames follow.
const HEADER: usize = 24;
const SIZE_OFFSET: usize = 8;

/// The copies, newest chunk first. Each was read at another time: only a target that does not move makes them one
/// picture.
#[derive(Debug, Default)]
pub struct Chunks {
    copies: Vec<(Address, Vec<u8>)>,
}

impl Chunks {
    /// Copies the chunks from `head` on.
    ///
    /// # Errors
    /// [`Rejection::Unreadable`] for an address that cannot be read, a size out of bounds or a list that does not end.
    pub fn copy(memory: &mut dyn RemoteMemory, head: Address) -> Result<Self, Rejection> {
        let mut chunks = Self::default();
        let mut total = 0;
        let mut address = head;
        let mut cycle = Cycle::new();
        while address != 0 {
            if cycle.closes_at(address) {
                return Err(Rejection::Unreadable(format!("the data stack loops at chunk {address:#x}")));
            }
            let copy = Self::copy_one(memory, address)?;
            total += copy.len();
            if chunks.copies.len() == COUNT_LIMIT || total > TOTAL_LIMIT {
                return Err(Rejection::Unreadable(format!("the data stack from chunk {head:#x} on does not end")));
            }
            let next = word(&copy, 0).unwrap_or(0);
            chunks.copies.push((address, copy));
            address = next;
        }
        Ok(chunks)
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
            // Garbage claims much: its end is looked at before room is made for all of it.
            memory.read(address.wrapping_add(size as u64 - 1), &mut [0])?;
            copy.resize(size, 0);
            memory.read(address, &mut copy)?;
        }
        copy.truncate(size);
        Ok(copy)
    }

    /// The `length` bytes at `address`, if a copy holds them all.
    #[must_use]
    pub fn get(&self, address: Address, length: usize) -> Option<&[u8]> {
        self.copies.iter().find_map(|(start, copy)| {
            let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
            copy.get(offset..offset.checked_add(length)?)
        })
    }
}
