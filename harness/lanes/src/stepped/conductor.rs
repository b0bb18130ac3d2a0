//! One run of a schedule: numbers the accesses, asks the scheduler, moves the target, and records what happens.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use framewalk::frame::Frame;
use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment};
use framewalk::sample::{Lookup, ThreadSample};
use model::schedule::cast::{Lifecycle, ProfilerId};
use model::schedule::cost::Cost;
use model::schedule::event::{Access, AccessedValue, StepEvent, ThreadWord};
use model::schedule::{AccessKind, Digest, Move, Point, RanSchedule, Schedule, Scheduler};
use process::memory::ProcessMemory;

use super::RigPlan;
use super::access::Part;
use super::error::RigError;
use super::target::{SteppedTarget, Stored};
use super::truth::Moment;

/// The size of a word in bytes. Reads are torn at its multiples.
const WORD: usize = 8;

/// What to keep of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOptions {
    /// Whether to keep the history of events.
    pub history: bool,
    /// Whether to keep the digests by which two runs are compared.
    pub digests: bool,
}

pub(super) struct Conductor<'a> {
    pub(super) target: &'a mut SteppedTarget,
    scheduler: &'a mut dyn Scheduler,
    keeping: RecordOptions,
    tearing: bool,
    still: &'a BTreeSet<AccessKind>,
    sample: u32,
    access: u32,
    /// The sequence at the start. Sequences are reported relative to it, because the target has run other schedules
    /// before.
    sequence: u64,
    moments: Vec<Arc<Moment>>,
    cost: Cost,
    /// Whether the target moved since the first access of the sample.
    moved: bool,
    moves: Vec<Move>,
    ran: RanSchedule,
    history: Vec<StepEvent>,
    digest: Option<Digest>,
    shown: Vec<AccessedValue>,
}

impl<'a> Conductor<'a> {
    pub(super) fn new(
        target: &'a mut SteppedTarget,
        scheduler: &'a mut dyn Scheduler,
        plan: &'a RigPlan,
    ) -> Result<Self, RigError> {
        let sequence = target.state()?.sequence;
        let mut conductor = Self {
            target,
            scheduler,
            keeping: plan.keeping,
            tearing: plan.tearing,
            still: &plan.still,
            sample: 0,
            access: 0,
            sequence,
            moments: Vec::new(),
            cost: Cost::default(),
            moved: false,
            moves: Vec::new(),
            ran: RanSchedule::default(),
            history: Vec::new(),
            digest: None,
            shown: Vec::new(),
        };
        conductor.note_truth();
        Ok(conductor)
    }

    /// Whether reads have to be recorded.
    pub(super) fn is_keeping(&self) -> bool {
        self.keeping.history || self.keeping.digests
    }

    /// Whether the target may move within a read.
    pub(super) fn tears(&self) -> bool {
        self.tearing
    }

    pub(super) fn begin_sample(&mut self, sample: u32) {
        self.sample = sample;
        self.access = 0;
        self.moments.clear();
        self.cost = Cost::default();
        self.moved = false;
        if self.keeping.history {
            self.history.push(StepEvent::Sample(sample));
        }
    }

    /// Records what happened to an actor while the target stood still.
    pub(super) fn happened(&mut self, one: Lifecycle) -> Result<(), RigError> {
        if self.keeping.history {
            let anchor = self.target.state()?.anchor;
            self.history.push(StepEvent::Happened(one, anchor));
        }
        Ok(())
    }

    /// Records who takes the next sample.
    pub(super) fn next_is(&mut self, actor: ProfilerId) {
        if self.keeping.history {
            self.history.push(StepEvent::NextIs(actor));
        }
    }

    /// Moves the target before the next numbered access. Returns the point.
    pub(super) fn arrive(&mut self, kind: AccessKind) -> Result<Point, RigError> {
        let at = Point { sample: self.sample, access: self.access, word: 0 };
        self.access += 1;
        self.at(at, kind)?;
        if at.is_between_samples() {
            // A stack from before the first access is not a right answer.
            self.moments = vec![Arc::clone(self.target.now())];
        }
        Ok(at)
    }

    /// Moves the target at this point, by as many steps as the scheduler says.
    pub(super) fn at(&mut self, at: Point, kind: AccessKind) -> Result<(), RigError> {
        let steps = self.steps(at, kind);
        self.go(at, steps)
    }

    /// How many steps the target does at this point: 0 if it has to stand still.
    fn steps(&mut self, at: Point, kind: AccessKind) -> u32 {
        if self.still.contains(&kind) && !at.is_between_samples() {
            self.end_digest();
            return 0;
        }
        self.ask(at, kind)
    }

    /// Asks the scheduler how many steps the target does at this point.
    fn ask(&mut self, at: Point, kind: AccessKind) -> u32 {
        self.end_digest();
        self.ran.points.push((at, kind));
        if self.keeping.digests {
            self.digest = Some(Digest::default().text(kind.name()));
        }
        self.scheduler.steps(at, kind)
    }

    /// Moves the target by this many steps.
    pub(super) fn go(&mut self, at: Point, steps: u32) -> Result<(), RigError> {
        self.moved |= steps > 0 && !at.is_between_samples();
        for done in 0..steps {
            let stored = self.target.step()?;
            for Stored { loaded, word, value } in stored {
                let value = self.relative(word, value);
                self.add(|digest| digest.text(if loaded { "load" } else { word.name() }).word(value));
                if self.keeping.history {
                    self.history.push(if loaded {
                        StepEvent::AnchorLoaded(value)
                    } else {
                        StepEvent::Step(word, value)
                    });
                }
                if word == ThreadWord::CurrentFrame {
                    self.moments.push(Arc::clone(self.target.now()));
                    self.note_truth();
                }
            }
            match self.moves.last_mut() {
                Some(last) if last.at == at => last.steps = done + 1,
                _ => self.moves.push(Move { at, steps: done + 1 }),
            }
        }
        Ok(())
    }

    fn relative(&self, word: ThreadWord, value: u64) -> u64 {
        if word == ThreadWord::Sequence { value.wrapping_sub(self.sequence) } else { value }
    }

    /// Records bytes that the current access read or wrote, from `offset` on within one of its parts.
    pub(super) fn did_part(&mut self, part: Part, offset: usize, bytes: &[u8]) {
        self.target.map.shown(part, offset, bytes, &mut self.shown);
    }

    /// Records that the access, or a piece of it, is complete.
    pub(super) fn did(&mut self, at: Option<Point>, kind: AccessKind) {
        let mut shown = std::mem::take(&mut self.shown);
        for one in &mut shown {
            if let AccessedValue::Thread(word, value) = one {
                *value = self.relative(*word, *value);
            }
        }
        if at.is_some() {
            // Memory in which there is no frame any more is not part of the program's state. It holds pointers to
            // objects that may be elsewhere in each round.
            let chain = &self.target.now().chain;
            let stands = |shown: &&AccessedValue| match shown {
                AccessedValue::Previous(frame, _) => chain.iter().any(|link| link.address == *frame),
                _ => true,
            };
            self.digest = self.digest.map(|digest| shown.iter().filter(stands).fold(digest, add_shown));
        }
        if self.keeping.history {
            self.history.push(StepEvent::Access(Access { at, kind, shown }));
        }
    }

    /// Reads the segments of one access, during which the target does not move. Returns how many were filled.
    pub(super) fn read_whole(
        &mut self,
        memory: &mut ProcessMemory,
        segments: &mut [Segment<'_>],
    ) -> Result<usize, MemoryError> {
        let filled = memory.read_vectored(segments)?;
        if self.is_keeping() {
            for segment in segments.iter().take(filled) {
                self.did_part((segment.address, segment.buffer.len()), 0, segment.buffer);
            }
        }
        Ok(filled)
    }

    /// Reads the segments of the access at point `at`. The target may move between any two of their words. Returns how
    /// many segments were filled.
    pub(super) fn read_torn(
        &mut self,
        memory: &mut ProcessMemory,
        at: Point,
        kind: AccessKind,
        segments: &mut [Segment<'_>],
    ) -> Result<Result<usize, MemoryError>, RigError> {
        let mut here = at;
        for (done, Segment { address, buffer }) in segments.iter_mut().enumerate() {
            let part = (*address, buffer.len());
            let stopped = |error| Ok(if done == 0 { Err(error) } else { Ok(done) });
            let mut read = 0;
            for offset in (0..part.1).step_by(WORD) {
                let steps = if here == at { 0 } else { self.steps(here, kind) };
                if steps > 0 {
                    if let Err(error) = self.read_piece(memory, part, read..offset, buffer) {
                        return stopped(error);
                    }
                    if self.is_keeping() {
                        self.did(Some(at), kind);
                    }
                    self.go(here, steps)?;
                    read = offset;
                }
                here.word += 1;
            }
            if let Err(error) = self.read_piece(memory, part, read..part.1, buffer) {
                return stopped(error);
            }
        }
        Ok(Ok(segments.len()))
    }

    fn read_piece(
        &mut self,
        memory: &mut ProcessMemory,
        part: Part,
        range: Range<usize>,
        buffer: &mut [u8],
    ) -> Result<(), MemoryError> {
        let start = range.start;
        let Some(piece) = buffer.get_mut(range).filter(|piece| !piece.is_empty()) else { return Ok(()) };
        memory.read(part.0.wrapping_add(start as u64), piece)?;
        if self.is_keeping() {
            self.did_part(part, start, piece);
        }
        Ok(())
    }

    /// Counts a read of these ranges in one system call, which the sample is about to make.
    pub(super) fn reads(&mut self, kind: Option<AccessKind>, parts: &[Part]) {
        self.cost.reads(kind, parts);
    }

    /// Counts a write of this value to the anchor, which the sample is about to make.
    pub(super) fn writes_anchor(&mut self, value: Address) -> Result<(), RigError> {
        let again = self.target.state()?.anchor == value;
        self.cost.writes_anchor(again);
        Ok(())
    }

    /// Whether the target has stood still since the first access of the sample.
    pub(super) fn stood_still(&self) -> bool {
        !self.moved
    }

    /// Takes the cost of the current sample.
    pub(super) fn take_cost(&mut self) -> Cost {
        std::mem::take(&mut self.cost)
    }

    /// Ends a sample. Returns the stacks that existed during it.
    pub(super) fn end_sample(&mut self, sample: &ThreadSample) -> Vec<Arc<Moment>> {
        self.end_digest();
        if self.keeping.digests {
            self.ran.results.push(digest_of(sample));
        }
        if self.keeping.history {
            self.history.push(StepEvent::Result(self.sample, sample.clone()));
        }
        if self.moments.is_empty() {
            self.moments.push(Arc::clone(self.target.now()));
        }
        std::mem::take(&mut self.moments)
    }

    /// Returns what ran, and the history.
    pub(super) fn finish(mut self) -> (RanSchedule, Vec<StepEvent>) {
        self.end_digest();
        self.ran.schedule = Schedule::new(self.moves);
        (self.ran, self.history)
    }

    fn note_truth(&mut self) {
        if self.keeping.history {
            self.history.push(StepEvent::Truth(self.target.now().chain.clone()));
        }
    }

    fn add(&mut self, add: impl FnOnce(Digest) -> Digest) {
        self.digest = self.digest.map(add);
    }

    fn end_digest(&mut self) {
        if let Some(digest) = self.digest.take() {
            self.ran.contents.push(digest.value());
        }
    }
}

fn add_shown(digest: Digest, shown: &AccessedValue) -> Digest {
    match shown {
        AccessedValue::Thread(word, value) => digest.text(word.name()).word(*value),
        AccessedValue::Frame(frame) => digest.text("frame").word(*frame),
        AccessedValue::Previous(frame, previous) => digest.text("previous").word(*frame).word(*previous),
        AccessedValue::Chunk(start, end) => digest.text("chunk").word(*start).word(*end),
        AccessedValue::Other(what) => digest.text(what),
    }
}

/// A digest of everything that must be the same in every process that runs the schedule. It leaves out folders, which
/// differ.
fn digest_of(sample: &ThreadSample) -> u64 {
    let mut digest = Digest::default();
    match &sample.outcome {
        Ok(stack) => {
            for Frame { function, file, location } in stack.iter() {
                let file = file.rsplit('/').next().unwrap_or_default();
                digest = digest
                    .text(function)
                    .text(file)
                    .word(location.line.map_or(u64::MAX, |line| line.cast_unsigned().into()));
            }
        }
        Err(rejection) => digest = digest.text(rejection.name()),
    }
    let lookup = match sample.provenance.lookup {
        Lookup::Uncached => "uncached".into(),
        Lookup::FullHit => "full-hit".into(),
        Lookup::PartialHit => "partial-hit".into(),
        Lookup::Miss(reason) => reason.to_string(),
        Lookup::Unknown => "unknown".into(),
    };
    digest.text(&lookup).word(sample.provenance.from_cache as u64).value()
}
