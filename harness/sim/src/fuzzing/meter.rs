//! A memory that counts accesses and fails on request.

use framewalk::memory::{Address, MemoryError, RemoteMemory};

use super::sheet::ScratchImage;

/// Counts the accesses to a sheet.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    pub(super) sheet: &'a mut ScratchImage,
    /// Number of reads, including failed ones. Each segment of a vectored read counts as one.
    pub(super) reads: u64,
    /// Number of bytes requested, except by reads made to fail.
    pub(super) bytes: u64,
    /// Address and length of each write.
    pub(super) writes: Vec<(Address, usize)>,
    /// Indices of the reads that must fail.
    failing: &'a [u16],
}

impl<'a> Meter<'a> {
    pub(super) fn new(sheet: &'a mut ScratchImage, failing: &'a [u16]) -> Self {
        Self { sheet, reads: 0, bytes: 0, writes: Vec::new(), failing }
    }
}

impl RemoteMemory for Meter<'_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.reads += 1;
        if self.failing.iter().any(|&number| u64::from(number) + 1 == self.reads) {
            // A short read leaves meaningless bytes in the buffer.
            let half = buffer.len() / 2;
            buffer[..half].fill(0xa5);
            return Err(MemoryError::Unmapped { action: "read", address, length: buffer.len() });
        }
        self.sheet.read(address, buffer)?;
        self.bytes += buffer.len() as u64;
        Ok(())
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.writes.push((address, bytes.len()));
        self.sheet.write(address, bytes)
    }
}
