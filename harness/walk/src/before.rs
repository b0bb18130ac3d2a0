//! The last complete walk of each thread: where the next walk should look, and which frames it need not decode again.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::chain::Chain;
use crate::chunks::Chunks;
use crate::code::{CodeGeneration, Decoder};
use crate::frame::Frame;
use crate::memory::{Address, RemoteMemory, Segment};
use crate::raw_frame::{Owner, RawFrame};
use crate::rejection::Rejection;
use crate::roster::SPECULATION_LIMIT;
use crate::shared::Shared;
use crate::thread_state::ThreadState;
use crate::walker::decode;

/// The last complete walks, by address of the thread state.
#[derive(Default)]
pub(super) struct PreviousWalks {
    walks: BTreeMap<Address, PreviousWalk>,
    buffer: Vec<u8>,
}

impl PreviousWalks {
    pub(super) fn get(&self, thread: Address) -> Option<&PreviousWalk> {
        self.walks.get(&thread)
    }

    pub(super) fn of(&mut self, thread: Address) -> &mut PreviousWalk {
        self.walks.entry(thread).or_default()
    }

    /// Takes out a thread's last walk and a buffer for the next one, so that both can be borrowed while the walker
    /// works.
    pub(super) fn take(&mut self, thread: Address) -> (PreviousWalk, Vec<u8>) {
        (self.walks.remove(&thread).unwrap_or_default(), std::mem::take(&mut self.buffer))
    }

    pub(super) fn put_back(&mut self, thread: Address, (before, buffer): (PreviousWalk, Vec<u8>)) {
        self.walks.insert(thread, before);
        self.buffer = buffer;
    }

    pub(super) fn forget(&mut self) {
        self.walks.clear();
    }

    /// Forgets threads that are not in `threads`.
    pub(super) fn sweep(&mut self, threads: &[ThreadState]) {
        if self.walks.len() > threads.len() {
            self.walks.retain(|&state, _| threads.iter().any(|thread| thread.address == state));
        }
    }
}

/// The last complete walk of one thread.
#[derive(Default)]
pub(super) struct PreviousWalk {
    /// The code-object generation at which `frames` were decoded.
    generation: CodeGeneration,
    /// Addresses of the chunks and their sizes in bytes.
    chunks: Vec<(Address, usize)>,
    /// Addresses of the frames outside all chunks.
    outside: Vec<Address>,
    links: Vec<RawFrame>,
    /// The decoded frames of the links that run Python code.
    frames: Shared<Arc<Frame>>,
}

impl PreviousWalk {
    /// Expected addresses of the chunks and of the other frames, with their sizes in bytes. A frame has `frame_size`
    /// bytes.
    pub(super) fn places(&self, frame_size: usize) -> impl Iterator<Item = (Address, usize)> + Clone {
        let outside = self.outside.iter().map(move |&address| (address, frame_size));
        self.chunks.iter().copied().chain(outside)
    }

    /// Depth of the chain in frames, including shim frames.
    pub(super) fn depth(&self) -> usize {
        self.links.len()
    }

    /// Uses copies of [`PreviousWalk::places`], if they are still the chunks from `head` on.
    pub(super) fn guessed<'a>(
        &self,
        head: Address,
        copies: impl Iterator<Item = (Address, &'a [u8])> + Clone,
    ) -> Option<Chunks<'a>> {
        let mut chunks = Chunks::guessed(head, copies.clone().take(self.chunks.len()))?;
        for (address, copy) in copies.skip(self.chunks.len()) {
            chunks.add(address, copy);
        }
        Some(chunks)
    }

    /// Copies the chunks from `head` on. One read into `buffer` is enough if they have not moved; otherwise they are
    /// copied one by one.
    ///
    /// # Errors
    /// As [`Chunks::copy`].
    pub(super) fn copy<'a>(
        &self,
        memory: &mut dyn RemoteMemory,
        head: Address,
        frame_size: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Chunks<'a>, Rejection> {
        let length: usize = self.places(frame_size).map(|(_, length)| length).sum();
        let is_expected = self.chunks.first().is_some_and(|&(first, _)| first == head);
        if is_expected && length <= SPECULATION_LIMIT {
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            if self.read(memory, frame_size, buffer)
                && let Some(chunks) = self.guessed(head, Copies { rest: buffer, places: self.places(frame_size) })
            {
                return Ok(chunks);
            }
        }
        Chunks::copy(memory, head)
    }

    /// Fills `buffer` from all places. Returns whether every read succeeded.
    fn read(&self, memory: &mut dyn RemoteMemory, frame_size: usize, buffer: &mut [u8]) -> bool {
        let mut rest = buffer;
        let mut segments: SmallVec<[Segment<'_>; 16]> = SmallVec::new();
        for (address, length) in self.places(frame_size) {
            let Some(buffer) = rest.split_off_mut(..length) else { return false };
            segments.push(Segment { address, buffer });
        }
        memory.read_vectored(&mut segments).is_ok_and(|filled| filled == segments.len())
    }

    /// Decodes a chain that reached the base frame. Links at its end that are the same as in the last walk are not
    /// decoded again.
    pub(super) fn decode(
        &self,
        memory: &mut dyn RemoteMemory,
        decoder: &mut Decoder,
        chain: &Chain,
    ) -> Result<Shared<Arc<Frame>>, Rejection> {
        let ends = chain.links.iter().rev().zip(self.links.iter().rev());
        let same = match decoder.still_knows(self.generation) {
            true => ends.take_while(|(link, before)| link == before).count(),
            false => 0,
        };
        let (changed, _) = self.links.split_at(self.links.len() - same);
        let callers = self.frames.skip(changed.iter().filter(|link| link.is_python()).count());
        let (fresh, _) = chain.links.split_at(chain.links.len() - same);
        let fresh = fresh.iter().filter(|link| link.is_python());
        Ok(callers.below(decode(memory, decoder, fresh)?))
    }

    /// Keeps a walk to the base frame: what it read and the decoded frames.
    pub(super) fn keep(
        &mut self,
        generation: CodeGeneration,
        chunks: &Chunks<'_>,
        chain: Chain,
        frames: Shared<Arc<Frame>>,
    ) {
        self.generation = generation;
        self.chunks.clear();
        self.chunks.extend(chunks.places());
        self.outside.clear();
        let outside = chain.links.iter().filter(|frame| frame.owner != Owner::Thread);
        self.outside.extend(outside.map(|frame| frame.address));
        self.links = chain.links;
        self.frames = frames;
    }
}

/// The pieces of a buffer, one for each place.
#[derive(Clone)]
struct Copies<'a, P> {
    rest: &'a [u8],
    places: P,
}

impl<'a, P: Iterator<Item = (Address, usize)>> Iterator for Copies<'a, P> {
    type Item = (Address, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (address, length) = self.places.next()?;
        Some((address, self.rest.split_off(..length)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::End;
    use crate::memory::MemoryError;
    use crate::memory::image::Image;

    const NEWEST: Address = 0x2_0000;
    const OLDEST: Address = 0x1_0000;
    const OUTSIDE: Address = 0x500;
    const FRAME: usize = 88;
    const SIZE: usize = 16 << 10;

    struct Counting {
        image: Image,
        reads: usize,
    }

    impl RemoteMemory for Counting {
        fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
            self.reads += 1;
            self.image.read(address, buffer)
        }

        fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
            self.reads += 1;
            self.image.read_vectored(segments)
        }

        fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
            self.image.write(address, bytes)
        }
    }

    /// Two chunks, each with its own address in its first frame, and a frame outside of them.
    fn target() -> Counting {
        let mut image = Image::default();
        for (address, previous) in [(NEWEST, OLDEST), (OLDEST, 0)] {
            let mut bytes = vec![0; SIZE];
            for (offset, word) in [(0, previous), (8, SIZE as u64), (24, address)] {
                bytes[offset..offset + 8].copy_from_slice(&word.to_le_bytes());
            }
            image.map(address, bytes);
        }
        image.map(OUTSIDE, vec![1; FRAME]);
        Counting { image, reads: 0 }
    }

    /// The stored walk after one walk over the target.
    fn known(target: &mut Counting) -> PreviousWalk {
        let frame = |address, owner| RawFrame { address, previous: 0, code: 1, instr_ptr: 0, owner, copy: 0 };
        let links = vec![frame(NEWEST + 24, Owner::Thread), frame(OUTSIDE, Owner::Shim)];
        let mut before = PreviousWalk::default();
        let chunks = before.copy(target, NEWEST, FRAME, &mut Vec::new()).unwrap().places().collect::<Vec<_>>();
        assert_eq!(chunks, [(NEWEST, SIZE), (OLDEST, SIZE)]);
        let chunks = Chunks::copy(target, NEWEST).unwrap();
        before.keep(CodeGeneration::default(), &chunks, Chain { links, end: End::Base }, Shared::default());
        before
    }

    /// Number of reads, and whether the frame outside the chunks was copied with them.
    fn copied(before: &PreviousWalk, target: &mut Counting, head: Address) -> (usize, bool) {
        target.reads = 0;
        let mut buffer = Vec::new();
        let mut chunks = before.copy(target, head, FRAME, &mut buffer).unwrap();
        let reads = target.reads;
        let mut at = |address| {
            chunks.get(target, address, 8).unwrap().map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
        };
        assert_eq!(at(head + 24), Some(head));
        assert_eq!(at(OLDEST + 24), Some(OLDEST));
        (reads, at(OUTSIDE).is_some())
    }

    #[test]
    fn unchanged_data_needs_one_read() {
        let mut target = target();
        let before = known(&mut target);
        assert_eq!(copied(&PreviousWalk::default(), &mut target, NEWEST), (2, false));
        assert_eq!(copied(&before, &mut target, NEWEST), (1, true));
    }

    #[test]
    fn changed_data_is_read_as_without_a_previous_walk() {
        let mut other = target();
        let before = known(&mut other);
        // A different newest chunk; the same one with a different size; an unmapped frame.
        assert_eq!(copied(&before, &mut other, OLDEST), (1, false));
        let mut bytes = other.image.unmap(OLDEST).unwrap();
        bytes[8..16].copy_from_slice(&(SIZE as u64 / 2).to_le_bytes());
        other.image.map(OLDEST, bytes);
        assert_eq!(copied(&before, &mut other, NEWEST), (3, false));
        let mut gone = target();
        gone.image.unmap(OUTSIDE);
        assert_eq!(copied(&before, &mut gone, NEWEST), (3, false));
    }
}
