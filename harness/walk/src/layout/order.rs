//! The order of the words of `_Py_DebugOffsets`, and the facts about frames that the table does not contain.

use serde::{Deserialize, Serialize};

use super::version::{KNOWN, Version};
use super::{Layout, LayoutError, Table, VersionHex};
use crate::memory::{Address, RemoteMemory};

/// The values of `enum _frameowner`, by the names of its members (`internal/pycore_interpframe_structs.h`; in 3.13
/// `internal/pycore_frame.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameOwners {
    /// `FRAME_OWNED_BY_THREAD`.
    pub thread: u8,
    /// `FRAME_OWNED_BY_GENERATOR`.
    pub generator: u8,
    /// `FRAME_OWNED_BY_FRAME_OBJECT`.
    pub frame_object: u8,
    /// `FRAME_OWNED_BY_INTERPRETER`, since 3.14.
    pub interpreter: Option<u8>,
    /// `FRAME_OWNED_BY_CSTACK`, until 3.14.
    pub c_stack: Option<u8>,
}

impl FrameOwners {
    /// The values in 3.15.
    pub const NEWEST: Self = Self { thread: 0, generator: 1, frame_object: 2, interpreter: Some(3), c_stack: None };

    /// Whether a frame with this owner runs no Python code.
    #[inline]
    #[must_use]
    pub fn is_shim(&self, owner: u8) -> bool {
        self.interpreter == Some(owner) || self.c_stack == Some(owner)
    }
}

/// The order of the words of `_Py_DebugOffsets`, which the table itself does not describe. The version is not enough to
/// know it: 3.16.0a0 had two orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordOrder {
    words: Vec<String>,
    owners: FrameOwners,
    tag_mask: u64,
}

impl WordOrder {
    /// An order that was found in a build. `words` are the words behind `free_threaded`, each as `section.word`.
    #[must_use]
    pub fn new(words: Vec<String>, owners: FrameOwners) -> Self {
        // `Py_TAG_BITS` of `internal/pycore_stackref.h` is no word of the table. Code objects are aligned to 8 bytes or
        // more, so the mask is right where a build uses fewer bits, too.
        Self { words, owners, tag_mask: 3 }
    }

    /// The built-in order of the final releases of a minor version, if it is known.
    #[must_use]
    pub fn of_version(version: VersionHex) -> Option<Self> {
        let known = KNOWN.iter().find(|known| known.minor == version.minor())?;
        Some(Self { words: known.names().collect(), owners: known.owners, tag_mask: known.tag_mask })
    }

    /// The words behind `free_threaded`, each as `section.word`.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The owners of frames.
    #[must_use]
    pub fn owners(&self) -> FrameOwners {
        self.owners
    }

    /// Parses the table at the start of a `.PyRuntime` section in this order.
    ///
    /// # Errors
    /// The table is too short, lacks a word that walkers need, or has an offset outside its structure.
    pub fn layout(&self, section: &[u8]) -> Result<Layout, LayoutError> {
        let position = |name: &str| self.words.iter().position(|word| word == name);
        Table::new(section, self.words.len(), &position)?.layout(self.owners, self.tag_mask)
    }

    /// Reads the table of a process whose `_PyRuntime` is at `runtime`.
    ///
    /// # Errors
    /// As [`WordOrder::layout`]; also fails if the table cannot be read.
    pub fn read(&self, memory: &mut dyn RemoteMemory, runtime: Address) -> Result<Layout, LayoutError> {
        let mut table = vec![0; (Table::HEADER + self.words.len()) * 8];
        memory.read(runtime, &mut table)?;
        self.layout(&table)
    }

    /// The first position at which the orders differ, counted from the first word, with both words. A missing word is
    /// empty.
    #[must_use]
    pub fn first_difference<'a>(&'a self, other: &'a Self) -> Option<(usize, &'a str, &'a str)> {
        let word = |order: &'a Self, index| order.words.get(index).map_or("", String::as_str);
        let length = self.words.len().max(other.words.len());
        (0..length).map(|index| (index, word(self, index), word(other, index))).find(|(_, one, two)| one != two)
    }
}

impl Version {
    /// The names of the words, each as `section.word`.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let words = |&(section, names): &(&'static str, &'static str)| {
            names.split(' ').map(move |word| format!("{section}.{word}"))
        };
        self.sections.iter().flat_map(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_order_parses_like_the_built_in_one_and_a_shifted_one_does_not() {
        let version = VersionHex(0x030f_02f0);
        let order = WordOrder::of_version(version).unwrap();
        let mut section = vec![0; (Table::HEADER + order.words().len()) * 8];
        section[..8].copy_from_slice(&super::super::COOKIE);
        section[8..16].copy_from_slice(&u64::from(version.0).to_le_bytes());
        for (index, word) in order.words().iter().enumerate() {
            let value = match word.rsplit('.').next() {
                Some("size") => 512,
                _ => 8 + 2 * index as u64,
            };
            section[(Table::HEADER + index) * 8..][..8].copy_from_slice(&value.to_le_bytes());
        }
        let layout = order.layout(&section).unwrap();
        assert_eq!(Ok(layout), Layout::parse(&section));
        let mut words = order.words().to_vec();
        words.swap(1, 2);
        let other = WordOrder::new(words, order.owners());
        assert_ne!(other.layout(&section), Ok(layout));
        let difference = order.first_difference(&other);
        assert_eq!(difference, Some((1, "runtime_state.finalizing", "runtime_state.interpreters_head")));
        let short = WordOrder::new(order.words()[..20].to_vec(), order.owners());
        assert_eq!(short.layout(&section), Err(LayoutError::NoWord("unicode_object.asciiobject_size")));
    }
}
