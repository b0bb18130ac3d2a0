//! One `_PyInterpreterFrame` as it is in memory.

use crate::layout::Layout;
use crate::memory::{Address, RemoteMemory};
use crate::rejection::Rejection;
use crate::thread_state::word;

/// Owner of a frame's memory (`enum _frameowner` of each version).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The thread: the frame is on its data stack.
    Thread,
    /// A generator, coroutine or async generator: the frame is inside that object.
    Generator,
    /// A frame object that outlived its frame.
    FrameObject,
    /// The interpreter: a shim frame between C and Python, or the base frame. It runs no Python code.
    Shim,
}

impl Owner {
    #[inline]
    fn parse(layout: &Layout, byte: u8) -> Option<Self> {
        let owners = &layout.frame.owners;
        Some(match byte {
            _ if byte == owners.thread => Self::Thread,
            _ if byte == owners.generator => Self::Generator,
            _ if byte == owners.frame_object => Self::FrameObject,
            _ if owners.is_shim(byte) => Self::Shim,
            _ => return None,
        })
    }
}

/// The fields of a frame that walkers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Address of the frame.
    pub address: Address,
    /// The caller's frame, or NULL.
    pub previous: Address,
    /// The code object (`f_executable` without its tag bits).
    pub code: Address,
    /// Address of the current instruction (`instr_ptr`).
    pub instr_ptr: Address,
    /// Owner of its memory.
    pub owner: Owner,
    /// The copy of the bytecode that it runs (`tlbc_index`): 0 in builds with the GIL.
    pub copy: u32,
}

impl RawFrame {
    /// Size of a frame in bytes.
    #[must_use]
    pub fn size(layout: &Layout) -> usize {
        usize::try_from(layout.frame.size).unwrap_or(0)
    }

    /// A buffer of the size of one frame.
    #[must_use]
    pub fn buffer(layout: &Layout) -> Vec<u8> {
        vec![0; Self::size(layout)]
    }

    /// Parses the frame at `address` from its memory `bytes`.
    ///
    /// # Errors
    /// [`Rejection::BadOwner`] for an unknown owner, [`Rejection::Unreadable`] if `bytes` is shorter than a frame.
    #[inline]
    pub fn parse(layout: &Layout, address: Address, bytes: &[u8]) -> Result<Self, Rejection> {
        let field = |offset: u64| usize::try_from(offset).ok().and_then(|offset| word(bytes, offset));
        let frame = &layout.frame;
        let owner = usize::try_from(frame.owner).ok().and_then(|offset| bytes.get(offset));
        let (Some(previous), Some(executable), Some(instr_ptr), Some(&owner)) =
            (field(frame.previous), field(frame.executable), field(frame.instr_ptr), owner)
        else {
            return Err(Rejection::Unreadable(format!("frame {address:#x} is truncated")));
        };
        let owner = Owner::parse(layout, owner).ok_or(Rejection::BadOwner { frame: address, owner })?;
        let copy = layout.per_thread.and_then(|it| bytes.get(usize::try_from(it.frame_index).ok()?..)?.first_chunk());
        let copy = copy.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        Ok(Self { address, previous, code: executable & !frame.tag_mask, instr_ptr, owner, copy })
    }

    /// Reads the frame at `address`.
    ///
    /// # Errors
    /// As [`RawFrame::parse`]; also fails if the frame cannot be read.
    pub fn read(memory: &mut dyn RemoteMemory, layout: &Layout, address: Address) -> Result<Self, Rejection> {
        let mut buffer = Self::buffer(layout);
        memory.read(address, &mut buffer)?;
        Self::parse(layout, address, &buffer)
    }

    /// Whether the frame runs Python code and has not been cleared. A cleared frame has no code object.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.is_python() && self.code != 0
    }

    /// Whether the frame runs Python code. Shim frames and the base frame do not.
    #[must_use]
    pub fn is_python(&self) -> bool {
        self.owner != Owner::Shim
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::release_3_15_2::LAYOUT;
    use crate::layout::{FrameLayout, FrameOwners};

    fn parsed(c_stack: Option<u8>, owner: u8) -> Result<RawFrame, Rejection> {
        let mut bytes = RawFrame::buffer(&LAYOUT);
        bytes[..8].copy_from_slice(&0x4003_u64.to_le_bytes());
        bytes[8..16].copy_from_slice(&0x5003_u64.to_le_bytes());
        bytes[56..64].copy_from_slice(&0x6003_u64.to_le_bytes());
        bytes[74] = owner;
        let frame = FrameLayout { owners: FrameOwners { c_stack, ..FrameOwners::NEWEST }, ..LAYOUT.frame };
        RawFrame::parse(&Layout { frame, ..LAYOUT }, 0x10, &bytes)
    }

    #[test]
    fn owners_are_those_of_the_version() {
        for c_stack in [None, Some(4)] {
            let known = [Owner::Thread, Owner::Generator, Owner::FrameObject, Owner::Shim];
            for (byte, owner) in (0..).zip(known) {
                let frame = parsed(c_stack, byte).unwrap();
                assert_eq!((frame.owner, frame.is_python()), (owner, owner != Owner::Shim));
            }
            assert_eq!(parsed(c_stack, 4).is_ok(), c_stack.is_some());
            assert_eq!(parsed(c_stack, 5), Err(Rejection::BadOwner { frame: 0x10, owner: 5 }));
        }
    }

    #[test]
    fn only_the_code_object_is_tagged() {
        let frame = parsed(None, 1).unwrap();
        assert_eq!((frame.code, frame.previous, frame.instr_ptr), (0x4000, 0x5003, 0x6003));
        assert!(
            frame.runs() && !RawFrame { code: 0, ..frame }.runs() && !RawFrame { owner: Owner::Shim, ..frame }.runs()
        );
    }

    #[test]
    fn a_truncated_frame_is_refused() {
        let cut = RawFrame::parse(&LAYOUT, 0x10, &[0; 74]);
        assert_eq!(cut, Err(Rejection::Unreadable("frame 0x10 is truncated".into())));
        assert_eq!(RawFrame::buffer(&LAYOUT).len(), 88);
    }
}
