//! Access to a target's memory. Everything that walks takes it as a parameter.

pub mod image;
pub mod overlay;
pub mod recorder;

use thiserror::Error;

/// An address in the target.
pub type Address = u64;

/// Why an access failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MemoryError {
    /// The range is not mapped, at least not completely.
    #[error("cannot {action} {length} bytes at {address:#x}: not mapped")]
    Unmapped {
        /// The access that failed: "read" or "write".
        action: &'static str,
        /// First address of the access.
        address: Address,
        /// Length of the access in bytes.
        length: usize,
    },
    /// The process has ended.
    #[error("process {pid} has ended")]
    Gone {
        /// The process that was accessed.
        pid: i32,
    },
    /// The kernel denied the access (`EPERM`).
    #[error("cannot {action} memory of process {pid} (EPERM): {advice}")]
    Denied {
        /// The access that failed: "read" or "write".
        action: &'static str,
        /// The process that was accessed.
        pid: i32,
        /// Which setting denies the access, and the remedy.
        advice: String,
    },
    /// The memory is opened read-only.
    #[error(
        "not written: {length} bytes at {address:#x}, because the target is observed read-only (--write allows writing)"
    )]
    ReadOnly {
        /// First address of the write.
        address: Address,
        /// Length of the write in bytes.
        length: usize,
    },
    /// Any other error of the system call.
    #[error("cannot {action} {length} bytes at {address:#x} of process {pid}: {errno}")]
    System {
        /// The access that failed: "read" or "write".
        action: &'static str,
        /// The process that was accessed.
        pid: i32,
        /// First address of the access.
        address: Address,
        /// Length of the access in bytes.
        length: usize,
        /// Name and text of the error.
        errno: String,
    },
}

/// One part of a vectored read.
#[derive(Debug)]
pub struct Segment<'a> {
    /// First address to read.
    pub address: Address,
    /// The buffer for the bytes; its length is that of the range.
    pub buffer: &'a mut [u8],
}

/// [`RemoteMemory::read`] for a memory whose reads are all vectored.
///
/// # Errors
/// As [`RemoteMemory::read_vectored`]; also fails if not every byte could be read.
pub fn read_one(memory: &mut dyn RemoteMemory, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
    let length = buffer.len();
    match memory.read_vectored(&mut [Segment { address, buffer }])? {
        1 => Ok(()),
        _ => Err(MemoryError::Unmapped { action: "read", address, length }),
    }
}

/// A target's memory: a live process, a snapshot image, a simulated interpreter, or a wrapper around one of them.
pub trait RemoteMemory {
    /// Fills `buffer` from `address`.
    ///
    /// # Errors
    /// Fails if not every byte could be read. The content of `buffer` is then unspecified.
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError>;

    /// Reads the segments in order, not atomically. Returns how many were filled completely.
    ///
    /// # Errors
    /// Fails if the first segment could not be read.
    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        for (done, segment) in segments.iter_mut().enumerate() {
            match self.read(segment.address, segment.buffer) {
                Ok(()) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => return Ok(done),
            }
        }
        Ok(segments.len())
    }

    /// Writes `bytes` at `address`.
    ///
    /// # Errors
    /// Fails if not every byte could be written.
    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError>;

    /// Reads one little-endian word.
    ///
    /// # Errors
    /// As [`RemoteMemory::read`].
    fn read_u64(&mut self, address: Address) -> Result<u64, MemoryError> {
        let mut buffer = [0; 8];
        self.read(address, &mut buffer)?;
        Ok(u64::from_le_bytes(buffer))
    }
}

impl<M: RemoteMemory + ?Sized> RemoteMemory for &mut M {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        (**self).read(address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        (**self).read_vectored(segments)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        (**self).write(address, bytes)
    }
}
