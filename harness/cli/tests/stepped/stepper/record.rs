//! Records the stores of a target between two gates.

use std::sync::Arc;
use std::time::Instant;

use framewalk::layout::{Layout, LayoutError};
use framewalk::memory::{Address, MemoryError, RemoteMemory};
use framewalk::python_text;
use framewalk::raw_frame::{Owner, RawFrame};
use framewalk::rejection::Rejection;
use framewalk::thread_state::{Window, thread_states, write_anchor};
use nix::libc;
use process::gate::{Gate, GateError};
use process::target::Target;
use thiserror::Error;

use super::{StepError, Stepper};
use crate::common::stores::Store;
use crate::common::stores::recorder::{Link, Offsets, StoreRecorder, WordKind};

/// The descriptor on which targets announce their gates.
const STANDARD_OUTPUT: u64 = 1;
/// Longer chains are treated as garbage.
const DEPTH_LIMIT: usize = 1024;

/// Which frame the harness sets the anchor to during recording, in place of a profiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arming {
    /// No frame: the anchor is NULL.
    Nobody,
    /// Every frame as soon as it becomes current by a call, a resumption or the exit of a shim frame. A walker would
    /// not set the anchor to a shim frame.
    Entered,
    /// The caller of every frame, as soon as that frame becomes current.
    Caller,
    /// Every frame as soon as it stops being current, like a late write of a profiler.
    Left,
}

/// Why nothing was recorded.
#[derive(Debug, Error)]
pub(crate) enum StepRecordError {
    /// The thread could not be stepped.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The target could not leave its gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The target's memory is inconsistent.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The target's memory could not be accessed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The build's layout lacks something that is needed for recording.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The build has no frame cache.
    #[error("the build has no frame cache: nothing to record")]
    NoCache,
    /// The thread at the gate has no thread state in the interpreter.
    #[error("no thread state has the native thread id {0}")]
    NoThread(u32),
    /// The next gate was not reached within the limit on instructions.
    #[error("no gate was reached within {0} instructions: shorten the workload, or allow more instructions")]
    Limit(u64),
}

/// Records the operations of one target.
pub(crate) struct Recording {
    runtime: Address,
    layout: Layout,
    offsets: Offsets,
    /// Maximum number of instructions between two gates.
    pub(crate) limit: u64,
}

impl Recording {
    /// A recording of the target whose `_PyRuntime` is at `runtime`.
    ///
    /// # Errors
    /// The build has no frame cache, or its layout cannot be read.
    pub(crate) fn new(memory: &mut dyn RemoteMemory, runtime: Address) -> Result<Self, StepRecordError> {
        let layout = Layout::read(memory, runtime)?;
        let cache = layout.thread.cache.ok_or(StepRecordError::NoCache)?;
        let generator = layout.generator.ok_or(StepRecordError::NoCache)?;
        let offsets = Offsets { thread: layout.thread, cache, frame: layout.frame, generator };
        Ok(Self { runtime, layout, offsets, limit: 1 << 20 })
    }

    /// Lets `target` leave `gate`, at which it waits, and steps it until it is about to announce the next one. Then
    /// call [`Target::next_gate`].
    ///
    /// # Errors
    /// See [`StepRecordError`].
    pub(crate) fn record(
        &self,
        target: &mut Target,
        gate: Gate,
        arming: Arming,
        deadline: Instant,
    ) -> Result<Vec<Store>, StepRecordError> {
        let mut memory = target.memory();
        let thread = thread_states(&mut memory, &self.layout, self.runtime)?
            .into_iter()
            .find(|thread| thread.native_thread_id == u64::from(gate.native_thread_id))
            .ok_or(StepRecordError::NoThread(gate.native_thread_id))?
            .address;
        write_anchor(&mut memory, &self.offsets.cache, thread, 0)?;
        let state = Window::new(&self.layout).read(&mut memory, &self.layout, thread)?;
        let mut chain = self.chain(&mut memory, state.current_frame)?;
        let mut recorder =
            StoreRecorder::new(self.offsets, thread, state.sequence, state.datastack_chunk, chain.clone());

        let mut stepper = Stepper::attach(target.pid(), gate.native_thread_id.cast_signed())?;
        target.go(deadline)?;
        for _ in 0..self.limit {
            let instruction = stepper.upcoming()?;
            if instruction.system_call == Some((libc::SYS_write.cast_unsigned(), STANDARD_OUTPUT)) {
                write_anchor(&mut memory, &self.offsets.cache, thread, 0)?;
                stepper.detach()?;
                return Ok(recorder.finish());
            }
            stepper.step(&instruction, deadline)?;
            for load in instruction.loads {
                recorder.loaded(load.address, load.size);
            }
            for store in instruction.stores {
                // If the range is not mapped, this was a conditional store that did not happen.
                let Ok(bytes) = stepper.bytes(store) else { continue };
                recorder.stored(store.address, &bytes);
                if !recorder.is_current_frame(store.address) {
                    continue;
                }
                let current = bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
                let before = std::mem::replace(&mut chain, self.chain(stepper.memory(), current)?);
                recorder.chain(chain.clone());
                if let Some(anchor) = armed(arming, &before, &chain) {
                    write_anchor(stepper.memory(), &self.offsets.cache, thread, anchor)?;
                }
            }
        }
        Err(StepRecordError::Limit(self.limit))
    }

    /// The chain of frames from `address` to its end.
    fn chain(&self, memory: &mut dyn RemoteMemory, address: Address) -> Result<Vec<Link>, StepRecordError> {
        let mut links = Vec::new();
        let mut next = address;
        while next != 0 {
            if links.len() == DEPTH_LIMIT {
                return Err(Rejection::TooDeep(DEPTH_LIMIT).into());
            }
            let raw = RawFrame::read(memory, &self.layout, next)?;
            let kind = match raw.owner {
                Owner::Shim if raw.previous == 0 => WordKind::Base,
                Owner::Shim => WordKind::Shim,
                Owner::Generator => WordKind::Generator,
                Owner::Thread | Owner::FrameObject => WordKind::Stack,
            };
            let executable = memory.read_u64(next.wrapping_add(self.layout.frame.executable))?;
            let function = if raw.is_python() { self.function(memory, raw.code)? } else { "".into() };
            links.push(Link { address: next, kind, executable, function });
            next = raw.previous;
        }
        Ok(links)
    }

    fn function(&self, memory: &mut dyn RemoteMemory, code: Address) -> Result<Arc<str>, StepRecordError> {
        let address = memory.read_u64(code.wrapping_add(self.layout.code.qualname))?;
        Ok(python_text::read(memory, &self.layout.code, code, address)?)
    }
}

/// The new value of the anchor after the chain changed, or `None` to leave it.
fn armed(arming: Arming, before: &[Link], after: &[Link]) -> Option<Address> {
    let leaf = before.first()?;
    let exits = leaf.kind == WordKind::Shim;
    let leaf = leaf.address;
    let entered = after.iter().skip(1).any(|link| link.address == leaf);
    match arming {
        Arming::Entered if entered || exits => after.first().map(|link| link.address),
        Arming::Caller if entered => after.get(1).map(|link| link.address),
        Arming::Left if !entered => Some(leaf),
        _ => None,
    }
}
