//! The opcodes of a stopped thread's frames.

use std::collections::{BTreeSet, HashMap};

use framewalk::memory::{Address, RemoteMemory};
use framewalk::raw_frame::RawFrame;
use framewalk::rejection::Rejection;

/// More instructions than this are not remembered. What is not remembered is not judged.
const MOST: usize = 1 << 20;

/// The opcode of a frame's instruction, as the bytecode has it: specialized or instrumented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Opcode {
    pub(super) now: u8,
    /// What it was at earlier stops, while the frame was there.
    pub(super) before: BTreeSet<u8>,
}

/// What the instructions of frames were at the stops so far, by frame and instruction.
#[derive(Debug, Default)]
pub(super) struct SeenOpcodes(HashMap<(Address, Address), BTreeSet<u8>>);

impl SeenOpcodes {
    /// The opcodes of the frames of a chain that run Python, leaf first.
    ///
    /// # Errors
    /// An instruction cannot be read.
    pub(super) fn look(&mut self, memory: &mut dyn RemoteMemory, links: &[RawFrame]) -> Result<Vec<Opcode>, Rejection> {
        if self.0.len() > MOST {
            return Ok(Vec::new());
        }
        let mut opcodes = Vec::new();
        for link in links.iter().filter(|link| link.runs()) {
            let mut byte = [0];
            memory.read(link.instr_ptr, &mut byte)?;
            let [now] = byte;
            let before = self.0.entry((link.address, link.instr_ptr)).or_default();
            opcodes.push(Opcode { now, before: before.clone() });
            before.insert(now);
        }
        Ok(opcodes)
    }

    /// Whatever is cached from here on is read from here on.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
