//! The stores of an interpreter to the fields that a walker reads, in order and by name.
//!
//! A [`Store`] says which field of which frame or thread state changed. Frames are identified by their function instead
//! of their address, so the stores of an operation are the same in every process. [`recorder`] makes such a list from
//! addresses, whichever tool observed them. The lists of real interpreters come from the stepper in the tests of the stepped lane.

mod naming;
pub(crate) mod operations;
pub(crate) mod recorder;

use std::fmt;
use std::sync::Arc;

/// A frame, or a value in place of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FrameName {
    /// NULL instead of a frame.
    Null,
    /// The thread's base frame.
    Base,
    /// A frame on the data stack, by its function's `co_qualname`.
    Stack(Arc<str>),
    /// The frame inside a generator, coroutine or asynchronous generator, by its function's `co_qualname`.
    Generator(Arc<str>),
    /// The shim frame through which C code called Python. The name is that of the function that called the C code.
    Shim(Arc<str>),
    /// An address that is none of these.
    Elsewhere,
}

impl FrameName {
    /// A frame on the data stack.
    #[must_use]
    pub(crate) fn stack(function: &str) -> Self {
        Self::Stack(function.into())
    }

    /// A frame inside a generator.
    #[must_use]
    pub(crate) fn generator(function: &str) -> Self {
        Self::Generator(function.into())
    }

    /// The shim frame of C code that `caller` called.
    #[must_use]
    pub(crate) fn shim(caller: &str) -> Self {
        Self::Shim(caller.into())
    }
}

impl fmt::Display for FrameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Base => f.write_str("base"),
            Self::Stack(function) => f.write_str(function),
            Self::Generator(function) => write!(f, "generator {function}"),
            Self::Shim(caller) => write!(f, "shim of {caller}"),
            Self::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

/// The value of `f_executable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Code {
    /// NULL: the frame is gone.
    Null,
    /// The code object of the frame's function.
    Function,
    /// Another object, such as `None` in a shim frame.
    Other,
}

/// `gi_frame_state` (`enum _framestate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum GeneratorState {
    /// 0: it has not run yet.
    Created,
    /// 1: it is suspended at a `yield`.
    Suspended,
    /// 2: it is suspended at a `yield from` or an `await`.
    Delegating,
    /// 4: it is running.
    Executing,
    /// 5: it has ended, or its creation is not complete.
    Cleared,
    /// A number that CPython does not define.
    Other(u8),
}

impl From<u8> for GeneratorState {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Created,
            1 => Self::Suspended,
            2 => Self::Delegating,
            4 => Self::Executing,
            5 => Self::Cleared,
            other => Self::Other(other),
        }
    }
}

/// One access. All are stores except the load of the anchor at the start of an update. That load is recorded because
/// the update does not notice anything stored to the anchor later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Store {
    /// A store to `current_frame`.
    CurrentFrame(FrameName),
    /// The load of `last_profiled_frame`.
    AnchorLoaded,
    /// A store to `last_profiled_frame`.
    Anchor(FrameName),
    /// A store to `last_profiled_frame_seq` of its old value plus one.
    SequenceIncremented,
    /// A store of any other value to `last_profiled_frame_seq`.
    Sequence(u64),
    /// A store to `datastack_chunk`. Chunk 0 is the first one; the others are numbered as they appear.
    Chunk(usize),
    /// A store to `previous` of a frame.
    Previous(FrameName, FrameName),
    /// A store to `f_executable` of a frame.
    Executable(FrameName, Code),
    /// A store to `instr_ptr` of a frame other than the current one. (That of the current frame changes with every
    /// instruction.)
    Instruction(FrameName),
    /// A store to `owner` of a frame.
    Owner(FrameName, u8),
    /// A store to `gi_frame_state` of the generator that contains a frame.
    State(FrameName, GeneratorState),
}

impl Store {
    /// The frame whose field is stored to; `None` if it is a field of the thread state.
    #[must_use]
    pub(crate) fn frame(&self) -> Option<&FrameName> {
        match self {
            Self::Previous(of, _)
            | Self::Executable(of, _)
            | Self::Instruction(of)
            | Self::Owner(of, _)
            | Self::State(of, _) => Some(of),
            _ => None,
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CurrentFrame(place) => write!(f, "current_frame := {place}"),
            Self::AnchorLoaded => f.write_str("anchor loaded"),
            Self::Anchor(place) => write!(f, "anchor := {place}"),
            Self::SequenceIncremented => f.write_str("sequence += 1"),
            Self::Sequence(value) => write!(f, "sequence := {value}"),
            Self::Chunk(number) => write!(f, "chunk := number {number}"),
            Self::Previous(of, place) => write!(f, "({of}).previous := {place}"),
            Self::Executable(of, Code::Null) => write!(f, "({of}).executable := NULL"),
            Self::Executable(of, Code::Function) => write!(f, "({of}).executable := its code"),
            Self::Executable(of, Code::Other) => write!(f, "({of}).executable := no code"),
            Self::Instruction(of) => write!(f, "({of}).instr_ptr := ..."),
            Self::Owner(of, owner) => write!(f, "({of}).owner := {owner}"),
            Self::State(of, state) => write!(f, "({of}).state := {state:?}"),
        }
    }
}
