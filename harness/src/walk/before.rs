//! What the last whole walk of a thread read, and what came of it: where the next one should look, and what it need not
//! decode again.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::frame::Frame;
use crate::memory::{Address, RemoteMemory, Segment};
use crate::walk::chain::Chain;
use crate::walk::chunks::Chunks;
use crate::walk::code::Decoder;
use crate::walk::raw_frame::{Owner, RawFrame};
use crate::walk::rejection::Rejection;
use crate::walk::shared::Shared;
use crate::walk::walker::decode;

/// More is not read on speculation, in bytes.
const SPECULATION_LIMIT: usize = 16 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Before {
    /// The chunks, with their sizes in bytes.
    chunks: Vec<(Address, usize)>,
    /// The frames that no chunk holds.
    outside: Vec<Address>,
    links: Vec<RawFrame>,
    /// What the links that run Python code are.
    frames: Shared<Arc<Frame>>,
}

impl Before {
    /// Where the chunks and the other frames are expected, with their sizes in bytes; a frame has `frame_size`.
    pub(super) fn places(&self, frame_size: usize) -> impl Iterator<Item = (Address, usize)> + Clone {
        let outside = self.outside.iter().map(move |&address| (address, frame_size));
        self.chunks.iter().copied().chain(outside)
    }

    /// How many frames the chain had.
    pub(super) fn depth(&self) -> usize {
        self.links.len()
    }

    /// The copies of [`Before::places`], if those are the chunks from `head` on.
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

    /// The chunks from `head` on, in one read into `buffer` if they are where they were, else one by one.
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

    /// Fills `buffer` from all places; whether they are all there.
    fn read(&self, memory: &mut dyn RemoteMemory, frame_size: usize, buffer: &mut [u8]) -> bool {
        let mut rest = buffer;
        let mut segments: SmallVec<[Segment<'_>; 16]> = SmallVec::new();
        for (address, length) in self.places(frame_size) {
            let Some(buffer) = rest.split_off_mut(..length) else { return false };
            segments.push(Segment { address, buffer });
        }
        memory.read_vectored(&mut segments).is_ok_and(|filled| filled == segments.len())
    }

    /// What the links of a chain that reached the base frame are. Those at its end that read as they did are not decoded
    /// again.
    pub(super) fn decode(
        &self,
        memory: &mut dyn RemoteMemory,
        decoder: &mut Decoder,
        chain: &Chain,
    ) -> Result<Shared<Arc<Frame>>, Rejection> {
        let ends = chain.links.iter().rev().zip(self.links.iter().rev());
        let same = ends.take_while(|(link, before)| link == before).count();
        let (changed, _) = self.links.split_at(self.links.len() - same);
        let callers = self.frames.skip(changed.iter().filter(|link| link.is_python()).count());
        let (fresh, _) = chain.links.split_at(chain.links.len() - same);
        let fresh = fresh.iter().filter(|link| link.is_python());
        Ok(callers.below(decode(memory, decoder, fresh)?))
    }

    /// Keeps what a walk to the base frame read, and what came of it.
    pub(super) fn keep(&mut self, chunks: &Chunks<'_>, chain: Chain, frames: Shared<Arc<Frame>>) {
        self.chunks.clear();
        self.chunks.extend(chunks.places());
        self.outside.clear();
        let outside = chain.links.iter().filter(|frame| frame.owner != Owner::Thread);
        self.outside.extend(outside.map(|frame| frame.address));
        self.links = chain.links;
        self.frames = frames;
    }
}

/// The parts of a buffer, place by place.
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
