//! What only a target at a gate allows: its own account, and changes to what the interpreter counts.

use framewalk::frame::Frame;
use framewalk::memory::RemoteMemory;
use framewalk::rejection::Rejection;
use framewalk::sample::{Sample, ThreadSample, WalkerKind};
use model::invariants::Violation;
use model::oracle::differential::{difference, frames_of_account};
use model::oracle::protocol::At;
use model::run::cell::Inconclusive;
use model::run::finding::Possible;
use model::run::phases::Phase;
use model::workload::grammar::is_trampoline;
use process::gate::Gate;
use rand::RngExt;

use super::lane::{JUMP_INTERVAL, Lane};
use crate::cell::CellError;
use crate::recorder::{CellRecorder, Evidence};
use crate::status::Status;
use crate::stops::Stops;

/// The sequences begin this far below a power of two, so that they reach it.
const BELOW: u64 = 20;
/// The target reports its own account at about one gate in this many.
const ACCOUNT_INTERVAL: u32 = 4;

impl Lane<'_> {
    /// Lets the target run to its next gate and stops it there. A user's program may also stop itself elsewhere.
    pub(super) fn run_to_gate(&mut self) -> Result<Option<Gate>, CellError> {
        self.session.target.resume()?;
        if self.cell.program.is_some() {
            return self.run_to_own_stop();
        }
        let gate = self.session.target.next_gate(self.cell.patience())?;
        self.session.target.stop()?;
        Ok(Some(gate))
    }

    /// Compares the gate's context and the target's own account with the walk, and lets the target go on.
    pub(super) fn at_gate(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        gate: Gate,
        truth: &Sample,
    ) -> Result<(), CellError> {
        self.session.target.resume()?;
        // Before 3.15, the state of threads is unknown.
        let by_id = |thread: &ThreadSample| is_at(gate, thread.native_thread_id, None, &[]);
        let ids: Vec<u64> = self.standings.iter().map(|one| one.native_thread_id).collect();
        let at_gate = self.standings.iter().position(|one| is_at(gate, one.native_thread_id, one.status, &ids));
        let index = at_gate.or_else(|| truth.threads.iter().position(by_id));
        let stack = index.and_then(|index| truth.threads.get(index)).and_then(|thread| thread.outcome.as_ref().ok());
        let stack: Vec<Frame> =
            stack.into_iter().flat_map(|stack| stack.iter()).filter(|frame| !is_trampoline(frame)).cloned().collect();
        let stack = stack.as_slice();
        let contexts = self.grammar.as_ref().map(|grammar| grammar.contexts_of(stack));
        let here = contexts.is_some_and(|contexts| contexts.is_ok_and(|contexts| contexts.contains(&gate.context)));
        if !here || self.random.random_range(0..ACCOUNT_INTERVAL) == 0 {
            recorder.end_of(Phase::Judging);
            let account = self.session.target.account(self.cell.patience())?;
            recorder.end_of(Phase::Account);
            let told = frames_of_account(stack, &account);
            if let Some(difference) = difference(stack, &told) {
                recorder.difference(WalkerKind::OwnUncached);
                let possible = Some(Possible::Stack(told));
                let evidence = Evidence { seen: stack, possible, ..Evidence::default() };
                recorder.violation(WalkerKind::OwnUncached, Violation::Account { difference }, evidence);
            } else if !here {
                return Err(Inconclusive::TargetEnded(format!(
                    "the workload announces context {}, but its own stack is not the one of that context: the grammar \
                     is wrong",
                    gate.context
                ))
                .into());
            }
        }
        recorder.end_of(Phase::Judging);
        self.session.target.go(self.cell.patience())?;
        Ok(())
    }

    /// Sets the sequences of all threads a little below the point where they need more bits.
    pub(super) fn begin_sequences(&mut self) -> Result<(), CellError> {
        let bits = match self.stops {
            Stops::Gates => 16,
            #[cfg(target_arch = "x86_64")]
            Stops::Stores => 32,
            // An update may be half done here.
            Stops::Moments => return Ok(()),
        };
        self.write_sequences(|sequence| sequence.max((1 << bits) - BELOW))
    }

    /// Makes everything that caches have stored stale, by a number of returns that is zero in 16 or in 32 bits.
    pub(super) fn jump(&mut self) -> Result<(), CellError> {
        let bits = if self.gates.is_multiple_of(2 * JUMP_INTERVAL) { 16 } else { 32 };
        self.write_sequences(|sequence| sequence.wrapping_add(1 << bits))?;
        self.hits.forget();
        self.note_fields()
    }

    /// Writes the sequences of the threads that are at rest.
    pub(super) fn write_sequences(&mut self, sequence: impl Fn(u64) -> u64) -> Result<(), CellError> {
        let Some(cache) = self.session.site.layout.thread.cache else { return Ok(()) };
        for thread in self.threads()? {
            if self.before.get(&thread.address).is_some_and(|before| before.at == At::Rest) {
                let bytes = sequence(thread.sequence).to_le_bytes();
                self.session
                    .memory
                    .write(thread.address.wrapping_add(cache.sequence), &bytes)
                    .map_err(Rejection::from)?;
            }
        }
        Ok(())
    }

    /// Gives a new thread the id of one that is gone, as the kernel does when it has used up its numbers.
    pub(super) fn reuse_thread_id(&mut self) -> Result<(), CellError> {
        let threads = self.threads()?;
        let is_there = |id: u64| threads.iter().any(|thread| thread.native_thread_id == id);
        let mut new = threads.iter().filter(|thread| !self.ids.contains(&thread.native_thread_id));
        if let (Some(thread), None) = (new.next(), new.next())
            && let Some(gone) = self.ids.iter().copied().find(|&id| !is_there(id))
        {
            let address = thread.address.wrapping_add(self.session.site.layout.thread.native_thread_id);
            self.session.memory.write(address, &gone.to_le_bytes()).map_err(Rejection::from)?;
        }
        self.ids.extend(threads.iter().map(|thread| thread.native_thread_id));
        Ok(())
    }
}

/// Whether the thread is the one at the gate. Of several thread states with its id, it is the one that runs. A thread
/// with a single state can be without the GIL there, since it waits in a `read`. `ids` are the ids of all thread
/// states.
pub(super) fn is_at(gate: Gate, native_thread_id: u64, status: Option<Status>, ids: &[u64]) -> bool {
    let has_twin = ids.iter().filter(|&&id| id == native_thread_id).count() > 1;
    u64::from(gate.native_thread_id) == native_thread_id && (!has_twin || status.is_none_or(Status::has_gil))
}
