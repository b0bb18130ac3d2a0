//! The target's memory as our own walkers see it: the target may move before every access.

use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment, read_one};
use model::schedule::{AccessKind, Point};
use process::memory::ProcessMemory;

use super::access::Part;
use super::conductor::Conductor;
use super::error::RigError;

pub(super) struct SteppedMemory<'a, 'b> {
    conductor: &'a mut Conductor<'b>,
    memory: ProcessMemory,
    /// The error that ended the run. To the walker, the target is gone.
    failed: Option<RigError>,
}

impl<'a, 'b> SteppedMemory<'a, 'b> {
    pub(super) fn new(conductor: &'a mut Conductor<'b>) -> Self {
        let memory = conductor.target.memory();
        Self { conductor, memory, failed: None }
    }

    /// The error that kept the target from moving, if there was one.
    pub(super) fn into_result(self) -> Result<(), RigError> {
        self.failed.map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: RigError) -> MemoryError {
        self.failed.get_or_insert(error);
        MemoryError::Gone { pid: self.memory.pid() }
    }

    fn arrive(&mut self, kind: AccessKind) -> Result<Point, MemoryError> {
        if self.failed.is_some() {
            return Err(MemoryError::Gone { pid: self.memory.pid() });
        }
        self.conductor.arrive(kind).map_err(|error| self.fail(error))
    }
}

impl RemoteMemory for SteppedMemory<'_, '_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        read_one(self, address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        let parts: Vec<Part> = segments.iter().map(|segment| (segment.address, segment.buffer.len())).collect();
        let kind = self.conductor.target.map.read_kind(&parts);
        let at = match kind {
            Some(kind) => Some(self.arrive(kind)?),
            None => None,
        };
        let filled = match at.zip(kind) {
            Some((at, kind)) if self.conductor.tears() => {
                let read = self.conductor.read_torn(&mut self.memory, at, kind, segments);
                read.map_err(|error| self.fail(error))?
            }
            _ => self.conductor.read_whole(&mut self.memory, segments),
        };
        if self.conductor.is_keeping() {
            self.conductor.did(at, kind.unwrap_or(AccessKind::ReadOther));
        }
        filled
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let part = (address, bytes.len());
        let Some(kind) = self.conductor.target.map.write_kind(part) else {
            return self.memory.write(address, bytes);
        };
        let at = self.arrive(kind)?;
        let written = self.memory.write(address, bytes);
        if self.conductor.is_keeping() {
            self.conductor.did_part(part, 0, bytes);
            self.conductor.did(Some(at), kind);
        }
        written
    }
}
