//! Machine code at its addresses.

use iced_x86::{Decoder, DecoderOptions, Instruction};

/// Where code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It is executed where it is; instructions follow one another.
    Text,
    /// Read-only data that may hold the JIT's templates: code begins anywhere.
    Data,
}

/// A section of an image.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// What it holds.
    pub kind: Kind,
    /// The address of its first byte, as the image is linked.
    pub address: u64,
    /// Where it stands in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl Section<'_> {
    /// The bytes from `address` to the end.
    pub(super) fn from(&self, address: u64) -> Option<&[u8]> {
        let start = usize::try_from(address.checked_sub(self.address)?).ok()?;
        self.bytes.get(start..)
    }

    /// Where the byte at `address` stands in the file.
    pub(super) fn file_offset(&self, address: u64) -> u64 {
        self.offset + (address - self.address)
    }

    /// The instructions from `address` on, up to the first that is none.
    pub(super) fn instructions(&self, address: u64) -> impl Iterator<Item = Instruction> + '_ {
        let bytes = self.from(address).unwrap_or_default();
        let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        std::iter::from_fn(move || {
            let instruction = decoder.can_decode().then(|| decoder.decode())?;
            (!instruction.is_invalid()).then_some(instruction)
        })
    }
}

/// An instruction's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Its first byte.
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
