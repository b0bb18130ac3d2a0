//! A target's memory as byte ranges at addresses. Tests build such images, and snapshots load them.

use std::collections::BTreeMap;

use crate::memory::{Address, MemoryError, RemoteMemory};

/// Byte ranges at addresses, which must not overlap. A read or write must stay inside one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    ranges: BTreeMap<Address, Vec<u8>>,
}

impl Image {
    /// Maps `bytes` at `address`. Replaces a range that starts at the same address.
    pub fn map(&mut self, address: Address, bytes: Vec<u8>) {
        self.ranges.insert(address, bytes);
    }

    /// Removes the range that starts at `address` and returns its bytes.
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

    /// The `length` bytes at `address`, or `None` if no single range holds them all.
    #[must_use]
    pub fn get(&self, address: Address, length: usize) -> Option<&[u8]> {
        self.rest(address)?.get(..length)
    }

    /// As [`Image::get`], mutable.
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
