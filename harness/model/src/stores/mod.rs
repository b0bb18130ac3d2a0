//! What an interpreter stores into the words that a walker reads, in order and by name.
//!
//! A [`Store`] says which word of which frame or thread state changed, with frames called by their function instead of
//! their address, so that the list of an operation is the same in every process. [`recorder`] makes such a list from
//! addresses; who observed them does not matter here. The lists of real interpreters come from
//! [`process::stepper`].

mod naming;
pub mod recorder;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

/// A frame, or what stands in a frame's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// No frame.
    Null,
    /// The thread's base frame.
    Base,
    /// A frame on the data stack, by its function's `co_qualname`.
    Stack(Arc<str>),
    /// The frame inside a generator, coroutine or asynchronous generator, by its function's `co_qualname`.
    Generator(Arc<str>),
    /// The shim frame under which C code called Python, by its caller.
    Shim(Arc<str>),
    /// An address that is none of these.
    Elsewhere,
}

impl Place {
    /// A frame on the data stack.
    #[must_use]
    pub fn stack(function: &str) -> Self {
        Self::Stack(function.into())
    }

    /// A frame inside a generator.
    #[must_use]
    pub fn generator(function: &str) -> Self {
        Self::Generator(function.into())
    }

    /// The shim frame that `caller` entered C code above.
    #[must_use]
    pub fn shim(caller: &str) -> Self {
        Self::Shim(caller.into())
    }
}

impl fmt::Display for Place {
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

/// What `f_executable` is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No object: the frame is gone.
    Null,
    /// The code object of the frame's function.
    Function,
    /// Another object, such as `None` in a shim frame.
    Other,
}

/// `gi_frame_state` (`enum _framestate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GeneratorState {
    /// 0: it has not run yet.
    Created,
    /// 1: it stands at a `yield`.
    Suspended,
    /// 2: it stands at a `yield from` or an `await`.
    Delegating,
    /// 4: it runs.
    Executing,
    /// 5: it is over, or was not begun to be.
    Cleared,
    /// Another number.
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

/// One access. All are stores but one: the load of the anchor that an update begins with is told too, because
/// whatever is stored to the anchor later than this load is not seen by that update.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// `current_frame`.
    CurrentFrame(Place),
    /// The load of `last_profiled_frame`.
    AnchorLoaded,
    /// `last_profiled_frame`.
    Anchor(Place),
    /// `last_profiled_frame_seq`, one more than it was.
    SequenceIncremented,
    /// `last_profiled_frame_seq`, anything else.
    Sequence(u64),
    /// `datastack_chunk`: 0 is the chunk at the beginning, others are numbered as they appear.
    Chunk(usize),
    /// `previous` of a frame.
    Previous(Place, Place),
    /// `f_executable` of a frame.
    Executable(Place, Code),
    /// `instr_ptr` of a frame that is not the current one. (The current frame's changes with every instruction.)
    Instruction(Place),
    /// `owner` of a frame.
    Owner(Place, u8),
    /// `gi_frame_state` of the generator around a frame.
    State(Place, GeneratorState),
}

impl Store {
    /// The frame one of whose words it is, if it is one of a frame's.
    #[must_use]
    pub fn frame(&self) -> Option<&Place> {
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
