//! All walkers look at the stopped target, and what they see is judged.

use std::path::Path;
use std::time::Instant;

use framewalk::cache::Limits;
use framewalk::chain::{DEPTH_LIMIT, follow};
use framewalk::chunks::Chunks;
use framewalk::code::CodeGeneration;
use framewalk::frame::Frame;
use framewalk::memory::Address;
use framewalk::raw_frame::{Owner as FrameOwner, RawFrame};
use framewalk::rejection::Rejection;
use framewalk::sample::{Sample, ThreadSample, WalkerKind};
use framewalk::thread_state::thread_states;
use framewalk::walker::Walker;
use model::invariants::Violation;
use model::oracle::hits::{Before, anchor_left};
use model::oracle::markers::owed;
use model::oracle::protocol::{At, OffChain};
use model::run::phases::Phase;
use model::schedule::fingerprint::LeafKind;
use model::workload::family::FamilyThreads;
use process::gate::Gate;
use process::maps::is_c_stack;
use process::unwinder::CountedSample;
use rand::RngExt;

use super::gates::is_at;
use super::lane::Lane;
use crate::agreement::{Compared, Standing, Stopped, compare};
use crate::cell::CellError;
use crate::leaf;
use crate::owner::{Taken, UnwinderReport};
use crate::recorder::{CellRecorder, Evidence};
use crate::session::Session;
use crate::shared_code::ThreadCode;
use crate::status::{Running, status};
use crate::stops::Stops;

impl Lane<'_> {
    /// Lets all walkers look at the stopped target. Returns what our own uncached walker saw.
    pub(super) fn look(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        gate: Option<Gate>,
        with_owner: bool,
    ) -> Result<Sample, CellError> {
        self.look_at_protocol(recorder, gate)?;
        recorder.end_of(Phase::Fields);

        let begun = Instant::now();
        let truth = self.uncached.sample(&mut self.session.memory)?;
        let spent = begun.elapsed();
        recorder.end_of(Phase::Walking);
        for thread in &truth.threads {
            recorder.count(WalkerKind::OwnUncached, thread);
            self.judge_truth(recorder, thread);
        }
        self.shared_code.learn(&self.thread_codes, &truth.threads);
        recorder.spent(WalkerKind::OwnUncached, spent);
        recorder.end_of(Phase::Judging);

        if let Some(unwinder) = &mut self.cpython {
            unwinder.opened(recorder)?;
            let (listing, asked) = (unwinder.listing()?, unwinder.asked());
            let begun = Instant::now();
            let sample = unwinder.sample(recorder)?;
            let spent = begun.elapsed();
            recorder.end_of(Phase::Walking);
            if let Some(CountedSample { sample, counters, told }) = sample {
                let walker = sample.walker;
                let report = UnwinderReport { counters, threads: told, owed: None, listing };
                let taken = Taken { sample, unwinder: Some(report) };
                compare(recorder, self.stopped(&truth), asked, None, &taken);
                recorder.spent(walker, spent);
            }
            recorder.end_of(Phase::Judging);
        }
        let is_asked = with_owner && !self.may_go_unnoticed();
        if with_owner && !is_asked {
            recorder.not_asked(self.owner.kind());
        }
        if is_asked && self.is_in_generator(At::Rest) {
            recorder.asked_instead(self.owner.kind());
        }
        if is_asked {
            let turn = match self.fresh.checked_sub(1) {
                Some(turn) => turn,
                None => self.random.random_range(0..self.owner.turns()),
            };
            self.fresh = self.fresh.saturating_sub(1);
            let begun = Instant::now();
            let taken = self.owner.sample(recorder, turn, &mut self.session.memory, &self.standings)?;
            let spent = begun.elapsed();
            recorder.end_of(Phase::Walking);
            if let Some(taken) = taken {
                let mut attributions = std::mem::take(&mut self.attributions);
                let asked = self.owner.asked(turn);
                let compared = compare(recorder, self.stopped(&truth), asked, attributions.get_mut(turn), &taken);
                self.attributions = attributions;
                if let (Some(number), Some(owed)) = (compared.raised, taken.unwinder.and_then(|told| told.owed)) {
                    self.owner.raised(turn, &owed, number);
                }
                self.judge_use(recorder, &taken.sample, &compared)?;
                recorder.spent(taken.sample.walker, spent);
            } else {
                self.forget_caches();
            }
            recorder.end_of(Phase::Judging);
        }
        self.note_fields()?;
        recorder.end_of(Phase::Fields);
        if with_owner && self.is_in_program(&truth) {
            self.looks += 1;
        }
        Ok(truth)
    }

    /// What is known about the target at this stop, for comparisons.
    fn stopped<'b>(&'b self, truth: &'b Sample) -> Stopped<'b> {
        Stopped {
            grammar: self.grammar.as_ref(),
            truth: &truth.threads,
            by: &self.uncached,
            standings: &self.standings,
            codes: &self.thread_codes,
            listed: &[],
            shared: &self.shared_code,
        }
    }

    /// Judges whether a cached walker used its cache correctly and left the anchor where it should. The threads before
    /// the one at which CPython's unwinder raised have their anchors by then.
    pub(super) fn judge_use(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        sample: &Sample,
        compared: &Compared,
    ) -> Result<(), CellError> {
        // If several threads share CPython's counters, these do not show which thread hit.
        let runs_threads = self.cell.family.spec().threads == FamilyThreads::Running;
        let shares = runs_threads || self.cell.program.is_some() && sample.threads.len() > 1;
        let tells = !shares || sample.walker != WalkerKind::CpythonCached;
        let alone = self.owner.turns() == 1;
        self.met.extend(self.before.values().map(|before| before.thread.native_thread_id));
        // With too many threads, only the counters show which of them have entries.
        let has_room = self.met.len() <= Limits::CPYTHON.threads;
        let fits = self.before.len() <= Limits::CPYTHON.threads;
        if !fits || compared.has_ended {
            self.hits.forget();
            return Ok(());
        }
        let has_raised = sample.threads.iter().any(|thread| matches!(thread.outcome, Err(Rejection::Raised(_))));
        let told = sample.threads.iter().map(|thread| thread.native_thread_id);
        let listed = compared.listed.iter().filter_map(|&index| self.standings.get(index));
        if !has_raised && !told.eq(listed.map(|one| one.native_thread_id)) {
            // It reported other threads than exist, which is judged elsewhere. Which thread state is which is unknown.
            self.hits.forget();
            return Ok(());
        }
        for after in self.threads()? {
            let Some(before) = self.before.get(&after.address) else { continue };
            let Some(index) = self.standings.iter().position(|one| one.state == after.address) else { continue };
            let Some(index) = compared.listed.iter().position(|&listed| listed == index) else { continue };
            if has_raised && index >= compared.raised.unwrap_or(0) && after.anchor != before.thread.anchor {
                let violation = Violation::AnchorWrittenInVain { before: before.thread.anchor, anchor: after.anchor };
                recorder.violation(sample.walker, violation, Evidence::default());
            }
            let id = before.thread.native_thread_id;
            // An unwinder that raised reports one thread, without its state.
            let thread = match sample.threads.first() {
                Some(first) if has_raised => Some(first).filter(|first| first.native_thread_id == id),
                _ => sample.threads.get(index),
            };
            let Some(thread) = thread else { continue };
            // An entry is found by the kernel's id. Two thread states with the same id take it from each other.
            let has_twin = self.standings.iter().filter(|one| one.native_thread_id == id).count() > 1;
            let missed = if tells && alone && has_room && !has_twin {
                self.hits.judge(sample.walker, before, thread)
            } else {
                None
            };
            let evidence = || Evidence { seen: thread.outcome.as_deref().unwrap_or_default(), ..Evidence::default() };
            for violation in anchor_left(&before.thread, &after, thread).into_iter().chain(missed) {
                recorder.violation(sample.walker, violation, evidence());
            }
        }
        Ok(())
    }

    pub(super) fn judge_truth(&self, recorder: &mut CellRecorder<'_>, thread: &ThreadSample) {
        let walker = WalkerKind::OwnUncached;
        match &thread.outcome {
            Ok(stack) => {
                if let Some(Err(illegal)) = self.grammar.as_ref().map(|grammar| grammar.judge(stack)) {
                    let cause = model::oracle::cause::Cause::Unattributed;
                    recorder.impossible(walker, cause);
                    let evidence = Evidence { cause: Some(cause), seen: stack, ..Evidence::default() };
                    recorder.violation(walker, Violation::Legality { illegal }, evidence);
                }
            }
            Err(Rejection::Empty) => {}
            Err(rejection) => recorder.violation(
                walker,
                Violation::RejectedWhileStopped { rejection: rejection.clone() },
                Evidence::default(),
            ),
        }
    }

    /// Checks the cache's fields against the chains.
    pub(super) fn look_at_protocol(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        gate: Option<Gate>,
    ) -> Result<(), CellError> {
        let (kind, is_traced) = (self.owner.kind(), self.is_traced());
        let Session { memory, site, target, .. } = &mut self.session;
        if site.layout.thread.cache.is_none() {
            return Ok(());
        }
        let pid = target.pid();
        let configuration = self.cell.id.configuration;
        // Seen on 3.15.2: a thread that a tracer has stopped is in a state that the unwinder does not know.
        let knows_processor = configuration.mode.looks_at_processor() && !is_traced;
        self.before.clear();
        self.standings.clear();
        self.thread_codes.clear();
        let threads = thread_states(memory, &site.layout, site.runtime)?;
        let ids: Vec<u64> = threads.iter().map(|thread| thread.native_thread_id).collect();
        for thread in threads {
            let mut chunks = Chunks::copy(memory, thread.datastack_chunk)?;
            let start = thread.current_frame;
            let chain = follow(memory, &site.layout, &thread, Some(&mut chunks), start, None, DEPTH_LIMIT);
            let links = chain?.links;
            let generation = CodeGeneration::read(memory, &site.layout, thread.interpreter);
            let interpreter = generation.number.map(|(id, _)| id);
            self.codes.enter(generation);
            let leaf = leaf::kind(memory, &mut self.codes, links.first())?;
            self.codes.keep();
            let native_thread_id = thread.native_thread_id;
            let in_generator = links.iter().any(|frame| frame.owner == FrameOwner::Generator);
            // A family gives threads the ids of others.
            let knows_processor =
                knows_processor && Path::new(&format!("/proc/{pid}/task/{native_thread_id}")).exists();
            let status = status(memory, &site.layout, &thread, in_generator, interpreter, knows_processor)?;
            let running = Running::read(memory, &site.layout, &thread)?;
            let owner = thread.interpreter;
            let opcodes = if configuration.opcodes { self.opcodes.look(memory, &links)? } else { Vec::new() };
            self.standings.push(Standing {
                state: thread.address,
                native_thread_id,
                owner,
                interpreter,
                leaf,
                links: links.len(),
                status,
                holder: running.holder,
                is_anchored: thread.anchor != 0 && thread.anchor == thread.current_frame,
                markers: owed(&links, running.collecting, configuration),
                opcodes,
            });
            let codes = links.iter().filter(|frame| frame.is_python()).map(|frame| frame.code).collect();
            self.thread_codes.push(ThreadCode { interpreter: owner, codes });
            let python = links.iter().take_while(|frame| frame.runs()).count();
            let chain: Vec<Address> = links.iter().map(|frame| frame.address).collect();
            let at = match (self.stops, gate) {
                // The other threads of the target are not at the gate.
                (Stops::Gates, Some(gate)) if is_at(gate, native_thread_id, status, &ids) => At::Rest,
                #[cfg(target_arch = "x86_64")]
                (Stops::Stores, _) => At::Rest,
                _ => At::Anywhere,
            };
            let place = |anchor| {
                // What is left of a shim frame can look like any frame, so its location is checked first.
                if is_c_stack(pid, thread.native_thread_id, anchor) {
                    return OffChain::CStack;
                }
                match RawFrame::read(memory, &site.layout, anchor) {
                    Ok(frame) if frame.is_python() && frame.previous == thread.current_frame => OffChain::Leaving,
                    Ok(frame) if frame.owner == FrameOwner::Generator && frame.previous == 0 => {
                        OffChain::SuspendedGenerator
                    }
                    _ => OffChain::Elsewhere,
                }
            };
            if self.cell.program.is_some() {
                self.watch.forget_if_new(&thread);
            }
            for violation in self.watch.look(&thread, &chain, at, place) {
                let before = stack_of(self.last.as_ref(), thread.native_thread_id);
                recorder.violation(kind, violation, Evidence { before, ..Evidence::default() });
            }
            self.before.insert(thread.address, Before { thread, at, chain, python, leaf });
        }
        Ok(())
    }

    /// Whether there is a single thread, with a short chain.
    pub(super) fn is_shallow(&self) -> bool {
        matches!(self.standings.as_slice(), [Standing { links: ..32, .. }])
    }

    /// Whether the interpreter could fail to notice an anchor that is written now; see the module.
    pub(super) fn may_go_unnoticed(&self) -> bool {
        // The reference walker has to reject these leaves by itself.
        if self.owner.kind() == WalkerKind::OwnReference {
            return false;
        }
        self.is_in_generator(At::Anywhere)
    }

    /// Whether a thread that is stopped in this way is in a generator's code.
    pub(super) fn is_in_generator(&self, at: At) -> bool {
        let mut stopped = self.before.values().filter(|before| before.at == at);
        stopped.any(|before| !matches!(before.leaf, LeafKind::Function | LeafKind::Shim))
    }
}

/// The stack of a thread in a sample. Empty if the sample has no stack for it.
fn stack_of(sample: Option<&Sample>, native_thread_id: u64) -> &[Frame] {
    let threads = sample.map(|sample| sample.threads.as_slice()).unwrap_or_default();
    let thread = threads.iter().find(|thread| thread.native_thread_id == native_thread_id);
    thread.and_then(|thread| thread.outcome.as_deref().ok()).unwrap_or_default()
}
