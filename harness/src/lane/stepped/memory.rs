//! The target's memory as own walkers see it: before every access, the target may move.

use std::ops::Range;

use super::access::Part;
use super::conductor::Conductor;
use super::error::RigError;
use crate::memory::process::ProcessMemory;
use crate::memory::{Address, MemoryError, RemoteMemory, Segment};
use crate::schedule::{AccessKind, Point};

/// The bytes of a word; memory is torn at its multiples.
const WORD: usize = 8;

pub(super) struct SteppedMemory<'a, 'b> {
    conductor: &'a mut Conductor<'b>,
    memory: ProcessMemory,
    /// What ended the run: the walker is told that its target is gone.
    failed: Option<RigError>,
}

impl<'a, 'b> SteppedMemory<'a, 'b> {
    pub(super) fn new(conductor: &'a mut Conductor<'b>) -> Self {
        let memory = conductor.target.memory();
        Self { conductor, memory, failed: None }
    }

    /// Why the target could not be moved, if it could not.
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

    /// Reads the segments; the target may move between any two words. How many were filled.
    fn read_torn(&mut self, at: Point, kind: AccessKind, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        let mut here = at;
        for done in 0..segments.len() {
            let Some(Segment { address, buffer }) = segments.get_mut(done) else { break };
            let part = (*address, buffer.len());
            let mut read = 0;
            for offset in (0..part.1).step_by(WORD) {
                if here != at {
                    let steps = self.conductor.ask(here, kind);
                    if steps > 0 {
                        if let Err(error) = self.read_piece(part, read..offset, buffer) {
                            return if done == 0 { Err(error) } else { Ok(done) };
                        }
                        if self.conductor.is_keeping() {
                            self.conductor.did(Some(at), kind);
                        }
                        self.conductor.go(here, steps).map_err(|error| self.fail(error))?;
                        read = offset;
                    }
                }
                here.word += 1;
            }
            if let Err(error) = self.read_piece(part, read..part.1, buffer) {
                return if done == 0 { Err(error) } else { Ok(done) };
            }
        }
        Ok(segments.len())
    }

    fn read_piece(&mut self, part: Part, range: Range<usize>, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let start = range.start;
        let Some(piece) = buffer.get_mut(range).filter(|piece| !piece.is_empty()) else { return Ok(()) };
        self.memory.read(part.0.wrapping_add(start as u64), piece)?;
        if self.conductor.is_keeping() {
            self.conductor.did_part(part, start, piece);
        }
        Ok(())
    }
}

impl RemoteMemory for SteppedMemory<'_, '_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let length = buffer.len();
        match self.read_vectored(&mut [Segment { address, buffer }])? {
            1 => Ok(()),
            _ => Err(MemoryError::Unmapped { action: "read", address, length }),
        }
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        let parts: Vec<Part> = segments.iter().map(|segment| (segment.address, segment.buffer.len())).collect();
        let kind = self.conductor.target.map.read_kind(&parts);
        let at = match kind {
            Some(kind) => Some(self.arrive(kind)?),
            None => None,
        };
        let filled = match at.zip(kind) {
            Some((at, kind)) if self.conductor.tears() => self.read_torn(at, kind, segments),
            _ => {
                let filled = self.memory.read_vectored(segments);
                if self.conductor.is_keeping() {
                    let count = *filled.as_ref().unwrap_or(&0);
                    for (part, segment) in parts.iter().zip(segments.iter()).take(count) {
                        self.conductor.did_part(*part, 0, segment.buffer);
                    }
                }
                filled
            }
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
