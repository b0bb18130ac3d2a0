//! Compares what is read through a layout with what the target said.

use std::collections::BTreeSet;
use std::fmt::Debug;

use framewalk::layout::Layout;
use framewalk::memory::{Address, MemoryError, RemoteMemory};
use framewalk::printable::excerpt;

use super::WrongWord;
use crate::memory::ProcessMemory;

/// Reads a target through a layout, and remembers which words were proved.
pub(super) struct Reader<'a> {
    pub(super) memory: ProcessMemory,
    pub(super) layout: &'a Layout,
    pub(super) runtime: Address,
    pub(super) proved: BTreeSet<&'static str>,
}

impl Reader<'_> {
    /// Reads a word at an offset in a structure. A failure is blamed on `words`, one of which led here.
    pub(super) fn word(&mut self, words: &'static str, structure: Address, offset: u64) -> Result<u64, WrongWord> {
        let address = structure.wrapping_add(offset);
        self.memory.read_u64(address).map_err(|error| unreadable(words, &error))
    }

    pub(super) fn int(&mut self, words: &'static str, structure: Address, offset: u64) -> Result<u32, WrongWord> {
        Ok(u32::from_le_bytes(self.array(words, structure.wrapping_add(offset))?))
    }

    pub(super) fn byte(&mut self, words: &'static str, structure: Address, offset: u64) -> Result<u8, WrongWord> {
        let [byte] = self.array(words, structure.wrapping_add(offset))?;
        Ok(byte)
    }

    pub(super) fn bytes(&mut self, words: &'static str, address: Address, length: usize) -> Result<Vec<u8>, WrongWord> {
        let mut bytes = vec![0; length];
        self.memory.read(address, &mut bytes).map_err(|error| unreadable(words, &error))?;
        Ok(bytes)
    }

    /// Writes a word at an offset in a structure.
    pub(super) fn write(
        &mut self,
        words: &'static str,
        structure: Address,
        offset: u64,
        value: u64,
    ) -> Result<(), WrongWord> {
        let written = self.memory.write(structure.wrapping_add(offset), &value.to_le_bytes());
        written.map_err(|error| unreadable(words, &error))
    }

    fn array<const N: usize>(&mut self, words: &'static str, address: Address) -> Result<[u8; N], WrongWord> {
        let mut bytes = [0; N];
        self.memory.read(address, &mut bytes).map_err(|error| unreadable(words, &error))?;
        Ok(bytes)
    }

    /// Proves `words` (separated by spaces) if what was read is what the target said.
    pub(super) fn same<T: PartialEq + Debug>(
        &mut self,
        words: &'static str,
        read: T,
        said: T,
    ) -> Result<(), WrongWord> {
        self.prove(words, read == said, || [format!("{read:?}"), format!("{said:?}")])
    }

    /// [`Reader::same`] for addresses.
    pub(super) fn same_address(&mut self, words: &'static str, read: Address, said: Address) -> Result<(), WrongWord> {
        self.prove(words, read == said, || [read, said].map(|address| format!("{address:#x}")))
    }

    /// Proves that a structure is not larger than the memory that it has.
    pub(super) fn at_most(&mut self, word: &'static str, size: u64, room: u64) -> Result<(), WrongWord> {
        self.prove(word, size <= room, || [format!("{size} bytes"), format!("{room} bytes at most")])
    }

    /// Proves `words` if `is_right`. Otherwise `values` are what was read and what the target said.
    fn prove(
        &mut self,
        words: &'static str,
        is_right: bool,
        values: impl FnOnce() -> [String; 2],
    ) -> Result<(), WrongWord> {
        if !is_right {
            let [read, said] = values().map(|value| excerpt(&value));
            return Err(WrongWord { words, read, said });
        }
        self.proved.extend(words.split(' '));
        Ok(())
    }

    /// Follows a linked list of at most `limit` structures.
    pub(super) fn list(
        &mut self,
        words: &'static str,
        first: Address,
        next: u64,
        limit: usize,
    ) -> Result<Vec<Address>, WrongWord> {
        let (mut all, mut at) = (Vec::new(), first);
        while at != 0 {
            if all.len() == limit {
                let (read, said) = (format!("a list of more than {limit}"), "a list that ends".to_owned());
                return Err(WrongWord { words, read, said });
            }
            all.push(at);
            at = self.word(words, at, next)?;
        }
        Ok(all)
    }
}

fn unreadable(words: &'static str, error: &MemoryError) -> WrongWord {
    WrongWord { words, read: error.to_string(), said: "something readable".to_owned() }
}
