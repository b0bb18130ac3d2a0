//! Sections of machine code and the positions of instructions.

use iced_x86::{Decoder, DecoderOptions, Instruction};

/// The kind of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Code that is executed in place. Instructions follow one another.
    Text,
    /// Read-only data that may contain the JIT's templates. Code can start at any byte.
    Data,
}

/// A section of an image.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Whether it contains code or data.
    pub kind: Kind,
    /// Address of its first byte in the linked image.
    pub address: u64,
    /// Its offset in the file.
    pub offset: u64,
    /// Its bytes in the file.
    pub bytes: &'a [u8],
}

impl Section<'_> {
    /// The bytes from `address` to the end of the section.
    pub(super) fn from(&self, address: u64) -> Option<&[u8]> {
        let start = usize::try_from(address.checked_sub(self.address)?).ok()?;
        self.bytes.get(start..)
    }

    /// The offset in the file of the byte at `address`.
    pub(super) fn file_offset(&self, address: u64) -> u64 {
        self.offset + (address - self.address)
    }

    /// The instructions from `address` up to the first byte that does not decode.
    pub(super) fn instructions(&self, address: u64) -> impl Iterator<Item = Instruction> + '_ {
        let bytes = self.from(address).unwrap_or_default();
        let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        std::iter::from_fn(move || {
            let instruction = decoder.can_decode().then(|| decoder.decode())?;
            (!instruction.is_invalid()).then_some(instruction)
        })
    }
}

/// The position of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Address of its first byte.
    pub address: u64,
    /// Its length in bytes.
    pub length: usize,
}

impl Span {
    /// The address after it.
    #[must_use]
    pub fn end(self) -> u64 {
        self.address + self.length as u64
    }
}

impl From<&Instruction> for Span {
    fn from(instruction: &Instruction) -> Self {
        Self { address: instruction.ip(), length: instruction.len() }
    }
}
