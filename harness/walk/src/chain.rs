//! Following a thread's chain of frames.

use crate::chunks::Chunks;
use crate::cycle::Cycle;
use crate::layout::Layout;
use crate::memory::{Address, RemoteMemory};
use crate::raw_frame::RawFrame;
use crate::rejection::Rejection;
use crate::thread_state::ThreadState;

/// Depth limit of framediff's own walkers, in frames. A longer chain is rejected.
pub const DEPTH_LIMIT: usize = 1 << 16;

/// How a chain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the thread's base frame.
    Base,
    /// At the requested stop address.
    Stopped,
    /// At a NULL link of a frame that is not the base frame.
    Elsewhere,
}

/// A thread's frames in walking order, newest first. The last one is the frame at which the walk ended.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Every link, including shim frames.
    pub links: Vec<RawFrame>,
    /// How the chain ended.
    pub end: End,
}

impl Chain {
    /// The frames that run Python code.
    pub fn python(&self) -> impl Iterator<Item = &RawFrame> {
        self.links.iter().filter(|frame| frame.is_python())
    }

    /// The chain as CPython's unwinder takes it: frames without a code object (cleared frames) are skipped. The first
    /// frame must run Python code.
    ///
    /// # Errors
    /// [`Rejection::Empty`] if the first frame does not run Python code.
    pub fn as_cpython(mut self) -> Result<Self, Rejection> {
        if !self.links.first().is_some_and(RawFrame::runs) {
            return Err(Rejection::Empty);
        }
        self.links.retain(|frame| !frame.is_python() || frame.code != 0);
        Ok(self)
    }

    /// The rejection of a chain that did not end at the base frame.
    #[must_use]
    pub fn not_at_base(&self, thread: &ThreadState) -> Rejection {
        let last = self.links.last().map_or(0, |frame| frame.address);
        Rejection::NotAtBase { base: thread.base_frame.unwrap_or(0), last }
    }
}

/// Follows the chain of `thread` from `start` to the frame at `stop_at` (included) or to a NULL link. A frame is taken
/// from `chunks` if they hold it, otherwise it is read from `memory`.
///
/// # Errors
/// [`Rejection::Loops`] for a cycle, [`Rejection::TooDeep`] after `limit` frames; otherwise as [`RawFrame::read`].
pub fn follow(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    thread: &ThreadState,
    chunks: Option<&mut Chunks<'_>>,
    start: Address,
    stop_at: Option<Address>,
    limit: usize,
) -> Result<Chain, Rejection> {
    follow_knowing(
        memory,
        layout,
        thread,
        Known { chunks, frame: None, depth: 0, starts_with_python: false },
        start,
        stop_at,
        limit,
    )
}

/// What a walker already knows when it follows a chain.
#[derive(Debug)]
pub struct Known<'a, 'copies> {
    /// Copies of the data stack.
    pub chunks: Option<&'a mut Chunks<'copies>>,
    /// One frame that was already read. A copy in `chunks` takes precedence.
    pub frame: Option<&'a RawFrame>,
    /// Expected depth in frames, used to reserve space.
    pub depth: usize,
    /// If set, the chain is rejected at once when its first frame does not run Python code.
    pub starts_with_python: bool,
}

/// As [`follow`], using what is already `known`.
///
/// # Errors
/// As [`follow`].
pub fn follow_knowing(
    memory: &mut dyn RemoteMemory,
    layout: &Layout,
    thread: &ThreadState,
    mut known: Known<'_, '_>,
    start: Address,
    stop_at: Option<Address>,
    limit: usize,
) -> Result<Chain, Rejection> {
    let mut links: Vec<RawFrame> = Vec::with_capacity(known.depth.min(limit));
    let size = RawFrame::size(layout);
    let mut address = start;
    // A torn chain often contains a cycle and would otherwise be followed to the limit.
    let mut cycle = Cycle::new();
    while address != 0 {
        if cycle.closes_at(address) {
            return Err(Rejection::Loops { frame: address });
        }
        if links.len() == limit {
            return Err(Rejection::TooDeep(limit));
        }
        let copied = match &mut known.chunks {
            Some(chunks) => chunks.get(memory, address, size)?,
            None => None,
        };
        let frame = match (copied, known.frame.filter(|frame| frame.address == address)) {
            (Some(bytes), _) => RawFrame::parse(layout, address, bytes)?,
            (None, Some(frame)) => *frame,
            (None, None) => RawFrame::read(memory, layout, address)?,
        };
        if known.starts_with_python && links.is_empty() && !frame.runs() {
            return Err(Rejection::Empty);
        }
        links.push(frame);
        if stop_at == Some(address) {
            return Ok(Chain { links, end: End::Stopped });
        }
        address = frame.previous;
    }
    // Before 3.15, the thread state has no base-frame pointer. The base frame is then the last link, which is no Python
    // frame.
    let at_base = links.last().is_some_and(|last| match thread.base_frame {
        Some(base) => last.address == base,
        None => !last.is_python(),
    });
    Ok(Chain { links, end: if at_base { End::Base } else { End::Elsewhere } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::release_3_15_2::LAYOUT;
    use crate::memory::image::Image;
    use crate::raw_frame::Owner;

    const FRAMES: Address = 0x1000;
    const CODE: Address = 0x9000;

    /// Address of frame `index`.
    fn at(index: u64) -> Address {
        FRAMES + index * 0x100
    }

    /// A chain of frames with these owners, leaf first.
    fn chain(owners: &[u8]) -> Image {
        let mut image = Image::default();
        for (index, &owner) in (0..).zip(owners) {
            let previous = if index + 1 == owners.len() as u64 { 0 } else { at(index + 1) };
            let mut bytes = RawFrame::buffer(&LAYOUT);
            bytes[..8].copy_from_slice(&CODE.to_le_bytes());
            bytes[8..16].copy_from_slice(&previous.to_le_bytes());
            bytes[74] = owner;
            image.map(at(index), bytes);
        }
        image
    }

    fn thread(base_frame: Option<Address>) -> ThreadState {
        ThreadState { base_frame, ..ThreadState::unknown(0x10) }
    }

    const NOTHING: Known<'static, 'static> = Known { chunks: None, frame: None, depth: 0, starts_with_python: false };

    fn followed(owners: &[u8], thread: &ThreadState, known: Known<'_, '_>, limit: usize) -> Result<Chain, Rejection> {
        follow_knowing(&mut chain(owners), &LAYOUT, thread, known, at(0), None, limit)
    }

    #[test]
    fn a_chain_ends_at_the_base_frame_if_the_thread_has_one() {
        let end = |owners: &[u8], base| followed(owners, &thread(base), NOTHING, 9).unwrap().end;
        assert_eq!(end(&[0, 0, 3], Some(at(2))), End::Base);
        assert_eq!(end(&[0, 0, 3], Some(at(1))), End::Elsewhere);
        // Before 3.15, the owner identifies it.
        assert_eq!(end(&[0, 0, 3], None), End::Base);
        assert_eq!(end(&[0, 3, 0], None), End::Elsewhere);
    }

    #[test]
    fn a_chain_stops_at_the_requested_frame() {
        let thread = thread(Some(at(2)));
        let stopped = follow(&mut chain(&[0, 0, 3]), &LAYOUT, &thread, None, at(0), Some(at(1)), 9).unwrap();
        let met: Vec<Address> = stopped.links.iter().map(|frame| frame.address).collect();
        assert_eq!((stopped.end, met), (End::Stopped, vec![at(0), at(1)]));
        assert_eq!(stopped.not_at_base(&thread), Rejection::NotAtBase { base: at(2), last: at(1) });
    }

    #[test]
    fn a_chain_can_be_as_long_as_the_limit() {
        let followed = |limit| followed(&[0, 0, 3], &thread(None), NOTHING, limit).map(|chain| chain.links.len());
        assert_eq!((followed(3), followed(2)), (Ok(3), Err(Rejection::TooDeep(2))));
    }

    #[test]
    fn a_known_frame_is_used_only_at_its_own_address() {
        let known =
            |address| RawFrame { address, previous: at(1), code: 0x77, instr_ptr: 0, owner: Owner::Thread, copy: 0 };
        let codes = |frame: &RawFrame| {
            let known = Known { frame: Some(frame), ..NOTHING };
            let chain = followed(&[0, 0, 3], &thread(None), known, 9).unwrap();
            chain.links.iter().map(|frame| frame.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(&known(at(0))), [0x77, 0x9000, 0x9000]);
        assert_eq!(codes(&known(0x50)), [0x9000, 0x9000, 0x9000]);
    }

    #[test]
    fn only_the_first_frame_must_run_python_and_only_on_request() {
        let python = || Known { starts_with_python: true, ..NOTHING };
        let links = |owners: &[u8], known| followed(owners, &thread(None), known, 9).map(|chain| chain.links.len());
        assert_eq!(links(&[3, 0, 3], NOTHING), Ok(3));
        assert_eq!(links(&[3, 0, 3], python()), Err(Rejection::Empty));
        assert_eq!(links(&[0, 3, 0, 3], python()), Ok(4));
    }

    #[test]
    fn cpython_skips_gone_frames_except_the_first() {
        let frame = |owner, code| RawFrame { address: 1, previous: 0, code, instr_ptr: 0, owner, copy: 0 };
        let taken = |links: &[RawFrame]| {
            let chain = Chain { links: links.to_vec(), end: End::Base };
            chain.as_cpython().map(|chain| chain.links)
        };
        let (leaf, gone, shim) = (frame(Owner::Thread, 5), frame(Owner::Thread, 0), frame(Owner::Shim, 0));
        assert_eq!(taken(&[leaf, gone, shim, leaf]), Ok(vec![leaf, shim, leaf]));
        assert_eq!(taken(&[gone, leaf]), Err(Rejection::Empty));
        assert_eq!(taken(&[shim, leaf]), Err(Rejection::Empty));
        assert_eq!(taken(&[]), Err(Rejection::Empty));
    }
}
