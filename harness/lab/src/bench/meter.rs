//! Records the accesses that walks make to a target's memory.

use std::time::{Duration, Instant};

use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment};
use process::memory::ProcessMemory;

use crate::bench::statistics::median;

/// Memory ranges of the target, in the order in which they were read.
pub(super) type Ranges = Vec<(Address, usize)>;

/// The accesses of one sample to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accesses {
    pub(super) system_calls: u64,
    pub(super) writes: u64,
    /// The ranges that were read. Writes add none.
    pub(super) ranges: Ranges,
}

impl Accesses {
    pub(super) fn bytes(&self) -> u64 {
        self.ranges.iter().map(|&(_, length)| length as u64).sum()
    }

    /// Records one read of all these ranges.
    pub(super) fn read(&mut self, ranges: impl IntoIterator<Item = (Address, usize)>) {
        self.system_calls += 1;
        self.ranges.extend(ranges);
    }

    pub(super) fn wrote(&mut self) {
        self.system_calls += 1;
        self.writes += 1;
    }
}

/// A memory that records the accesses to it.
pub(super) struct Meter {
    pub(super) memory: ProcessMemory,
    pub(super) accesses: Accesses,
}

impl RemoteMemory for Meter {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.accesses.read([(address, buffer.len())]);
        self.memory.read(address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        for call in segments.chunks(SEGMENTS_PER_CALL) {
            self.accesses.read(call.iter().map(|segment| (segment.address, segment.buffer.len())));
        }
        self.memory.read_vectored(segments)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.accesses.wrote();
        self.memory.write(address, bytes)
    }
}

/// A memory that times the accesses to it.
pub(super) struct Clocked {
    pub(super) memory: ProcessMemory,
    /// The total time of all accesses.
    pub(super) spent: Duration,
}

impl Clocked {
    fn timed<T>(&mut self, access: impl FnOnce(&mut ProcessMemory) -> T) -> T {
        let begun = Instant::now();
        let result = access(&mut self.memory);
        self.spent += begun.elapsed();
        result
    }
}

impl RemoteMemory for Clocked {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.timed(|memory| memory.read(address, buffer))
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        self.timed(|memory| memory.read_vectored(segments))
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.timed(|memory| memory.write(address, bytes))
    }
}

/// What one of this project's walkers does in a sample outside its accesses, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Inside {
    /// Following the chain, cache lookups and decoding.
    pub(super) decoding: f64,
    /// Copying each stack into a separate list of frames, as CPython's unwinder does.
    pub(super) results: f64,
}

/// The kernel's limit on ranges per system call (`UIO_MAXIOV`).
const SEGMENTS_PER_CALL: usize = nix::libc::UIO_MAXIOV as usize;

/// Reads the same ranges with as few system calls as possible and ignores the bytes.
pub(super) struct BareRead {
    memory: ProcessMemory,
    ranges: Ranges,
    buffers: Vec<Vec<u8>>,
}

impl BareRead {
    pub(super) fn new(memory: ProcessMemory, ranges: Ranges) -> Self {
        let buffers = ranges.iter().map(|&(_, length)| vec![0; length]).collect();
        Self { memory, ranges, buffers }
    }

    /// The median time of `reads` reads, in nanoseconds.
    ///
    /// # Errors
    /// Some of the recorded ranges can no longer be read.
    pub(super) fn block(&mut self, reads: u64) -> Result<f64, MemoryError> {
        let mut segments: Vec<Segment<'_>> = (self.ranges.iter().zip(&mut self.buffers))
            .map(|(&(address, _), buffer)| Segment { address, buffer })
            .collect();
        let mut times = Vec::new();
        for _ in 0..reads.max(1) {
            let begun = Instant::now();
            let filled = self.memory.read_vectored(&mut segments)?;
            times.push(begun.elapsed());
            if let Some(&(address, length)) = self.ranges.get(filled) {
                return Err(MemoryError::Unmapped { action: "read", address, length });
            }
        }
        Ok(middle(&times))
    }
}

/// The median of times, in nanoseconds. Unlike the mean, it ignores a call that was interrupted.
pub(super) fn middle(times: &[Duration]) -> f64 {
    let mut times: Vec<f64> = times.iter().map(|time| nanoseconds(*time)).collect();
    median(&mut times).unwrap_or(1.0)
}

/// A time in nanoseconds, at least 1: the clock can return 0, which cannot be used in a ratio.
#[allow(clippy::cast_precision_loss, reason = "a time in nanoseconds")]
pub(super) fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos().max(1) as f64
}
