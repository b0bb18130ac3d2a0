//! Copy-on-write memory: it accepts writes without changing the memory below.

use crate::memory::{Address, MemoryError, RemoteMemory, Segment};

/// A memory that keeps writes in an overlay. Later reads see them.
#[derive(Clone, Debug)]
pub struct Overlay<M> {
    memory: M,
    writes: Vec<(Address, Vec<u8>)>,
}

impl<M: RemoteMemory> Overlay<M> {
    /// An overlay over `memory`, which is only read from then on.
    pub fn new(memory: M) -> Self {
        Self { memory, writes: Vec::new() }
    }

    /// All writes, oldest first.
    #[must_use]
    pub fn into_writes(self) -> Vec<(Address, Vec<u8>)> {
        self.writes
    }

    fn lay_over(&self, address: Address, buffer: &mut [u8]) {
        for (start, bytes) in &self.writes {
            for (at, byte) in (*start..).zip(bytes) {
                let offset = at.checked_sub(address).and_then(|offset| usize::try_from(offset).ok());
                if let Some(place) = offset.and_then(|offset| buffer.get_mut(offset)) {
                    *place = *byte;
                }
            }
        }
    }
}

impl<M: RemoteMemory> RemoteMemory for Overlay<M> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(address, buffer)?;
        self.lay_over(address, buffer);
        Ok(())
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        let filled = self.memory.read_vectored(segments)?;
        for segment in segments.iter_mut().take(filled) {
            self.lay_over(segment.address, segment.buffer);
        }
        Ok(filled)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        // For a walker, memory that cannot be read cannot be written either.
        self.memory.read(address, &mut vec![0; bytes.len()])?;
        self.writes.push((address, bytes.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::image::Image;

    #[test]
    fn writes_are_read_back_and_do_not_change_the_memory_below() {
        let mut image = Image::default();
        image.map(0x100, vec![1; 16]);
        let mut overlay = Overlay::new(image.clone());
        overlay.write(0x104, &[2; 4]).unwrap();
        overlay.write(0x106, &[3; 4]).unwrap();
        overlay.write(0x10e, &[4; 4]).unwrap_err();
        let mut seen = [0; 8];
        overlay.read(0x102, &mut seen).unwrap();
        assert_eq!(seen, [1, 1, 2, 2, 3, 3, 3, 3]);
        let mut seen = [0; 2];
        assert_eq!(overlay.read_vectored(&mut [Segment { address: 0x109, buffer: &mut seen }]), Ok(1));
        assert_eq!(seen, [3, 1]);
        assert_eq!(overlay.into_writes(), [(0x104, vec![2; 4]), (0x106, vec![3; 4])]);
    }
}
