//! Records which ranges of a memory are read.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::memory::{Address, MemoryError, RemoteMemory, Segment};

/// A set of addresses. Adjacent ranges are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// The end of each range by its start.
    ranges: BTreeMap<Address, Address>,
}

impl Ranges {
    /// Adds `length` bytes from `address` on. Bytes beyond the end of the address space are left out.
    pub fn add(&mut self, address: Address, length: usize) {
        let mut start = address;
        let mut end = address.saturating_add(length as u64);
        if start == end {
            return;
        }
        while let Some((&from, &to)) = self.ranges.range(..=end).next_back().filter(|&(_, &to)| to >= start) {
            start = start.min(from);
            end = end.max(to);
            self.ranges.remove(&from);
        }
        self.ranges.insert(start, end);
    }

    /// The ranges in ascending order. At least one address that is in no range separates two ranges.
    pub fn iter(&self) -> impl Iterator<Item = Range<Address>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }
}

/// A memory that records every range read from it.
#[derive(Debug)]
pub struct Recorder<'a, M> {
    memory: M,
    read: &'a mut Ranges,
}

impl<'a, M> Recorder<'a, M> {
    /// Records reads from `memory` in `read`, in addition to the ranges already there. Failed reads are not recorded.
    pub fn new(memory: M, read: &'a mut Ranges) -> Self {
        Self { memory, read }
    }

    /// Returns the wrapped memory.
    pub fn into_inner(self) -> M {
        self.memory
    }
}

impl<M: RemoteMemory> RemoteMemory for Recorder<'_, M> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, buffer)?;
        self.read.add(address, buffer.len());
        Ok(())
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        let filled = self.memory.read_vectored(segments)?;
        for segment in segments.iter().take(filled) {
            self.read.add(segment.address, segment.buffer.len());
        }
        Ok(filled)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.memory.write(address, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::image::Image;

    fn ranges(added: &[(Address, usize)]) -> Vec<(Address, Address)> {
        let mut ranges = Ranges::default();
        for &(address, length) in added {
            ranges.add(address, length);
        }
        ranges.iter().map(|range| (range.start, range.end)).collect()
    }

    #[test]
    fn adjacent_and_overlapping_ranges_are_merged_in_any_order() {
        assert_eq!(ranges(&[(0x10, 8), (0x20, 8), (5, 0)]), [(0x10, 0x18), (0x20, 0x28)]);
        assert_eq!(ranges(&[(0x10, 8), (0x20, 8), (0x18, 8)]), [(0x10, 0x28)]);
        assert_eq!(ranges(&[(0x20, 8), (0x10, 8), (0x30, 8), (0x8, 0x40)]), [(0x8, 0x48)]);
        assert_eq!(ranges(&[(0x8, 0x40), (0x10, 8)]), [(0x8, 0x48)]);
        assert_eq!(ranges(&[(u64::MAX - 4, 100)]), [(u64::MAX - 4, u64::MAX)]);
    }

    #[test]
    fn only_successful_reads_are_recorded() {
        let mut image = Image::default();
        image.map(0x100, vec![7; 32]);
        let mut read = Ranges::default();
        let mut recorder = Recorder::new(image, &mut read);
        recorder.read(0x108, &mut [0; 8]).unwrap();
        recorder.read(0x118, &mut [0; 16]).unwrap_err();
        let (mut first, mut second) = ([0; 4], [0; 4]);
        let mut segments =
            [Segment { address: 0x100, buffer: &mut first }, Segment { address: 0x200, buffer: &mut second }];
        assert_eq!(recorder.read_vectored(&mut segments), Ok(1));
        assert_eq!(read.iter().collect::<Vec<_>>(), [0x100..0x104, 0x108..0x110]);
    }
}
