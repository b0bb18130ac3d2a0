//! A target's memory as bytes at addresses: what tests build and snapshots load.

use std::collections::BTreeMap;

use crate::memory::{Address, MemoryError, RemoteMemory};

/// Ranges of bytes that do not overlap. Reads and writes stay inside one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    ranges: BTreeMap<Address, Vec<u8>>,
}

impl Image {
    /// Puts `bytes` at `address`; a range that starts there already is replaced.
    pub fn map(&mut self, address: Address, bytes: Vec<u8>) {
        self.ranges.insert(address, bytes);
    }

    /// Removes the range that starts at `address`, and gives its bytes.
    pub fn unmap(&mut self, address: Address) -> Option<Vec<u8>> {
        self.ranges.remove(&address)
    }

    /// The ranges in ascending order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = (Address, &[u8])> {
        self.ranges.iter().map(|(&address, bytes)| (address, bytes.as_slice()))
    }

    /// The bytes from `address` to the end of the range that holds it.
    #[must_use]
    pub fn rest(&self, address: Address) -> Option<&[u8]> {
        let (start, bytes) = self.ranges.range(..=address).next_back()?;
        bytes.get(usize::try_from(address - start).ok()?..)
    }

    /// The `length` bytes at `address`, if one range holds them all.
    #[must_use]
    pub fn get(&self, address: Address, length: usize) -> Option<&[u8]> {
        self.rest(address)?.get(..length)
    }

    /// As [`Image::get`], to change them.
    pub fn get_mut(&mut self, address: Address, length: usize) -> Option<&mut [u8]> {
        let (start, bytes) = self.ranges.range_mut(..=address).next_back()?;
        let offset = usize::try_from(address - start).ok()?;
        bytes.get_mut(offset..offset.checked_add(length)?)
    }
}

impl RemoteMemory for Image {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let length = buffer.len();
        let bytes = self.get(address, length).ok_or(MemoryError::Unmapped { action: "read", address, length })?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let length = bytes.len();
        let there = self.get_mut(address, length).ok_or(MemoryError::Unmapped { action: "write", address, length })?;
        there.copy_from_slice(bytes);
        Ok(())
    }
}
