//! The anchors: who owns them, and in which state they are handed over.

use framewalk::memory::{Address, RemoteMemory};
use framewalk::raw_frame::RawFrame;
use framewalk::rejection::Rejection;
use framewalk::sample::WalkerKind;
use framewalk::thread_state::ThreadState;
use model::invariants::Violation;
use model::oracle::attribution::Attribution;

use super::lane::Lane;
use crate::cell::CellError;
use crate::drivers::UnwinderPool;
use crate::owner::Owner;
use crate::recorder::{CellRecorder, Evidence};
use crate::stops::Stops;

impl Lane<'_> {
    /// From here on, all caches are empty.
    pub(super) fn forget_caches(&mut self) {
        self.attributions = (0..self.owner.turns()).map(|_| Attribution::default()).collect();
        self.hits.forget();
        self.met.clear();
        self.opcodes.forget();
    }

    /// Gives the anchors to `walker`.
    pub(super) fn attach(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
        walker: Option<WalkerKind>,
        turns: usize,
    ) -> Result<(), CellError> {
        if walker.is_some() {
            self.leave_anchors()?;
        }
        self.owner = Owner::new(self.cell, drivers, recorder, &self.session, walker, turns)?;
        self.fresh = self.owner.turns();
        self.forget_caches();
        self.owner.attach(&mut self.session.memory)?;
        self.look_for_left_anchors(recorder)?;
        self.begin_sequences()?;
        self.note_fields()
    }

    /// Puts each thread's anchor on the caller of its leaf, as a profiler leaves it that ended without cleaning up. The
    /// next walker has to clear it. Otherwise the walker takes the anchor for its own, and the entry for one that the
    /// interpreter kept up to date.
    pub(super) fn leave_anchors(&mut self) -> Result<(), CellError> {
        let layout = self.session.site.layout;
        for thread in self.threads()? {
            if thread.current_frame != 0 {
                let caller = RawFrame::read(&mut self.session.memory, &layout, thread.current_frame)?.previous;
                self.write_anchor(&thread, caller)?;
            }
        }
        Ok(())
    }

    /// Judges the anchors that are still set, and clears them. The target then runs on as with a walker that has
    /// cleared them.
    pub(super) fn look_for_left_anchors(&mut self, recorder: &mut CellRecorder<'_>) -> Result<(), CellError> {
        for thread in self.threads()?.into_iter().filter(|thread| thread.anchor != 0) {
            if self.owner.begins() {
                let violation = Violation::AnchorNotCleared { anchor: thread.anchor };
                recorder.violation(self.owner.kind(), violation, Evidence::default());
            }
            self.write_anchor(&thread, 0)?;
        }
        Ok(())
    }

    pub(super) fn write_anchor(&mut self, thread: &ThreadState, anchor: Address) -> Result<(), CellError> {
        let Some(cache) = self.session.site.layout.thread.cache else { return Ok(()) };
        let address = thread.address.wrapping_add(cache.anchor);
        self.session.memory.write(address, &anchor.to_le_bytes()).map_err(Rejection::from)?;
        Ok(())
    }

    /// Detaches the walkers; no anchor may stay behind. A gated target is at a gate then, so no update is half done
    /// that would complete later.
    pub(super) fn detach(&mut self, recorder: &mut CellRecorder<'_>) -> Result<(), CellError> {
        if self.stops == Stops::Gates {
            self.run_to_gate()?;
            self.look_for_life()?;
        }
        if !self.is_traced() {
            self.session.target.stop()?;
        }
        // The target has moved on without a look.
        self.last = None;
        let kind = self.owner.kind();
        let detached = self.owner.detach(recorder, &mut self.session.memory)?;
        for thread in self.threads()? {
            if detached && thread.anchor != 0 {
                recorder.violation(kind, Violation::AnchorLeft { anchor: thread.anchor }, Evidence::default());
            }
        }
        self.note_fields()?;
        if self.stops == Stops::Gates && self.cell.program.is_none() {
            self.session.target.resume()?;
            self.session.target.go(self.cell.patience())?;
        }
        Ok(())
    }

    pub(super) fn note_fields(&mut self) -> Result<(), CellError> {
        for thread in self.threads()? {
            let chain = self.before.get(&thread.address).map(|before| before.chain.as_slice()).unwrap_or_default();
            self.watch.leave(&thread, chain);
        }
        Ok(())
    }
}
