//! The target of a scenario. It moves between the accesses of its walker, and records which stacks it had.

use std::collections::VecDeque;

use framewalk::memory::{Address, MemoryError, RemoteMemory};
use framewalk::sample::{Lookup, ThreadSample};
use framewalk::walker::CachingWalker;
use model::invariants::{PossibleStacks, SampleFault, judge};
use model::workload::grammar::Illegal;
use smallvec::{SmallVec, smallvec};

use super::{From, JudgedSample, Leg, Scenario, Setting};
use crate::history::Note;
use crate::interpreter::{Interpreter, State};
use crate::map::{FrameSlot, Role, THREAD_COUNT};
use crate::promise::promises_hit;
use crate::store::SimStore;
use crate::truth::{PossibleChains, TrueChain, chain};

/// Most stores of the loops that wait for current frames: a change of one, or their return to where the sample began.
const BACK_LIMIT: usize = 200;

/// A target that moves while it is read.
pub(super) struct Target<'a> {
    interpreter: &'a Interpreter,
    pub(super) state: State,
    legs: std::slice::Iter<'a, Leg>,
    /// The next leg, with the accesses that are left until its stores.
    leg: Option<Leg>,
    decisions: std::slice::Iter<'a, u8>,
    loaded_before_writes: std::slice::Iter<'a, u8>,
    /// What each thread's next comparisons have loaded already, the next one first.
    loaded: [VecDeque<Address>; THREAD_COUNT],
    first_sequence: u64,
    setting: Setting,
    /// The current frames at the beginning of the sample.
    stood: [Address; THREAD_COUNT],
    /// Whether the leg's accesses are being counted.
    counting: bool,
    /// Whether a profiler wrote an anchor during the interpreter's operation.
    written_in_operation: bool,
    pub(super) anchor_not_moved: bool,
    /// Whether a hit is promised if the anchor's frame is on the stack and in the entry. True if the target is at rest
    /// during samples and no other profiler moves the anchor.
    promises: bool,
    /// The stacks since the beginning of the sample, by thread.
    seen: Vec<Vec<TrueChain>>,
    scratch: TrueChain,
    pub(super) notes: Option<Vec<Note>>,
    wrote_outside: bool,
}

impl<'a> Target<'a> {
    /// The target of `scenario` in its initial state.
    pub(super) fn new(scenario: &'a Scenario, interpreter: &'a Interpreter, state: State, noted: bool) -> Self {
        let mut legs = scenario.legs.iter();
        let leg = legs.next().copied();
        Self {
            interpreter,
            state,
            legs,
            leg,
            decisions: scenario.decisions.iter(),
            loaded_before_writes: scenario.loaded_before_writes.iter(),
            loaded: Default::default(),
            first_sequence: scenario.first_sequence,
            setting: scenario.setting,
            stood: [0; THREAD_COUNT],
            counting: leg.is_none_or(|leg| leg.from == From::LastLeg),
            written_in_operation: false,
            anchor_not_moved: false,
            promises: scenario.setting == Setting::AtRest
                && scenario.legs.iter().all(|leg| leg.other_profiler.is_none()),
            seen: vec![Vec::new(); interpreter.map.threads()],
            scratch: TrueChain::new(),
            notes: noted.then(Vec::new),
            wrote_outside: false,
        }
    }

    fn note(&mut self, note: impl FnOnce(&State) -> Note) {
        if let Some(notes) = &mut self.notes {
            notes.push(note(&self.state));
        }
    }

    /// Takes one sample. Returns whether it is wrong.
    pub(super) fn sample(
        &mut self,
        walker: &mut dyn CachingWalker,
        thread: Option<u8>,
        samples: &mut Vec<JudgedSample>,
    ) -> bool {
        self.counting |= self.leg.is_some_and(|leg| leg.from == From::SampleEnd);
        // Moves due before the first access belong to no sample.
        self.move_if_due();
        if self.setting == Setting::AtRest {
            self.rest();
        }
        self.stood = self.current_frames();
        self.counting |= self.leg.is_some_and(|leg| leg.from == From::NextSample);
        self.note(|_| Note::Sample);
        for seen in &mut self.seen {
            seen.clear();
        }
        self.look();
        let promised = if self.promises { self.promised_hits(walker) } else { Vec::new() };
        let threads = match thread.map(usize::from) {
            Some(thread) if thread < self.interpreter.map.threads() => {
                let address = self.interpreter.map.thread_address(thread);
                smallvec![walker.sample_thread(self, address)]
            }
            Some(_) => SmallVec::new(),
            None => walker.sample(self).map(|sample| sample.threads).unwrap_or_default(),
        };
        for sample in threads {
            let possible = self.possible(thread.map(usize::from), sample.native_thread_id);
            let broken = self.judge(&sample, &possible, &promised);
            self.note(|_| Note::Result(sample.clone()));
            samples.push(JudgedSample { sample, possible, broken });
            if broken.is_some() {
                return true;
            }
        }
        false
    }

    fn judge(&self, sample: &ThreadSample, possible: &[TrueChain], promised: &[u64]) -> Option<SampleFault> {
        if self.wrote_outside {
            return Some(SampleFault::WroteOutside);
        }
        let stack = sample.outcome.as_ref().ok()?;
        let provenance = sample.provenance;
        let program = &self.interpreter.program;
        let possible = PossibleChains { program, native_thread_id: sample.native_thread_id, chains: possible };
        if self.setting == Setting::Coarse {
            return match possible.illegal(stack)? {
                Illegal::CutShort => Some(SampleFault::CutShort),
                Illegal::MixedBranches { .. } if provenance.from_cache == 0 && self.is_one_chunk() => {
                    Some(SampleFault::Torn)
                }
                // This setting does not require more.
                Illegal::Empty
                | Illegal::ForeignFrame { .. }
                | Illegal::MixedBranches { .. }
                | Illegal::WrongLine { .. }
                | Illegal::WrongPosition { .. } => None,
            };
        }
        if let Err(wrong) = judge(stack, &possible, provenance) {
            return Some(wrong.fault);
        }
        let hit = matches!(provenance.lookup, Lookup::FullHit | Lookup::PartialHit);
        (promised.contains(&sample.native_thread_id) && !hit).then_some(SampleFault::HitMissed)
    }

    /// Whether all frames of the only thread are in its first chunk, except for the entry's shim frame.
    fn is_one_chunk(&self) -> bool {
        let map = &self.interpreter.map;
        let grown = map.chunk_words(1).is_some_and(|(_, mapped)| self.state.words[usize::from(mapped)] != 0);
        map.threads() == 1 && !grown && self.interpreter.program.only_calls()
    }

    /// The possible stacks of the sampled thread or, if all threads were sampled, of the threads with this id. No two
    /// live threads share an id.
    fn possible(&self, sampled: Option<usize>, native_thread_id: u64) -> Vec<TrueChain> {
        let threads = &self.interpreter.program.threads;
        let is_of = |thread: usize| match sampled {
            Some(one) => one == thread,
            None => threads[thread].native_thread_id == native_thread_id,
        };
        let of = self.seen.iter().enumerate().filter(|&(thread, _)| is_of(thread));
        of.flat_map(|(_, chains)| chains.iter().cloned()).collect()
    }

    /// The threads whose next sample must be a hit. Thread states with the same id share an entry: whichever is walked
    /// first takes it from the other.
    fn promised_hits(&self, walker: &dyn CachingWalker) -> Vec<u64> {
        let map = &self.interpreter.map;
        let live = self.interpreter.threads(&self.state);
        let id = |thread: usize| self.interpreter.program.threads[thread].native_thread_id;
        let get = |word: u16| self.state.words[usize::from(word)];
        let promised = live.iter().filter(|&&thread| {
            live.iter().filter(|&&other| id(other) == id(thread)).count() == 1
                && promises_hit(map, thread, get, walker.cache(), walker.kind())
        });
        promised.map(|&thread| id(thread)).collect()
    }

    /// Records the current stacks.
    fn look(&mut self) {
        let map = &self.interpreter.map;
        for &thread in self.interpreter.threads(&self.state) {
            let words = &self.state.words;
            if chain(map, thread, |word| words[usize::from(word)], &mut self.scratch).is_some()
                && !self.seen[thread].contains(&self.scratch)
            {
                self.seen[thread].push(self.scratch.clone());
            }
        }
    }

    fn decide(decisions: &mut std::slice::Iter<'_, u8>, ways: usize) -> usize {
        if ways < 2 { 0 } else { decisions.next().map_or(0, |&decision| usize::from(decision) % ways) }
    }

    /// Performs one access of the interpreter. Returns false if no thread has anything left to do.
    fn step(&mut self) -> bool {
        self.store().is_some()
    }

    /// As [`Target::step`], but returns the access.
    fn store(&mut self) -> Option<SimStore> {
        let movable = self.interpreter.movable(&self.state);
        let (mut threads, mut count) = ([0; 8], 0);
        for (slot, thread) in threads.iter_mut().zip(movable) {
            *slot = thread;
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let thread = threads[Self::decide(&mut self.decisions, count)];
        let decisions = &mut self.decisions;
        let mut choice = || Self::decide(decisions, 2) == 1;
        let mut before = self.notes.is_some().then(|| self.state.clone());
        let loaded = &self.loaded;
        let load = |thread: usize, anchor| loaded[thread].front().copied().unwrap_or(anchor);
        let stepped = self.interpreter.step(&mut self.state, thread, &mut choice, self.first_sequence, &load);
        let store = stepped.as_ref().map(|(store, _)| *store);
        match store {
            Some(SimStore::CompareAnchor { thread, .. }) => {
                if let Some(early) = self.loaded[thread].pop_front() {
                    self.written_in_operation = true;
                    if let Some(before) = &mut before {
                        before.words[usize::from(self.interpreter.map.thread_words(thread).anchor)] = early;
                    }
                }
            }
            // A core sees its own stores at once.
            Some(SimStore::Anchor { thread, value }) => self.loaded[thread].iter_mut().for_each(|early| *early = value),
            Some(SimStore::Word { .. } | SimStore::IncrementSequence { .. } | SimStore::ResetSequence { .. })
            | None => {}
        }
        if let Some((_, left)) = stepped
            && self.interpreter.is_between_operations(&self.state)
        {
            let anchor = self.state.words[usize::from(self.interpreter.map.thread_words(thread).anchor)];
            self.anchor_not_moved |= left.contains(&anchor) && !self.written_in_operation;
            self.written_in_operation = false;
        }
        if let (Some(store), Some(before)) = (store, before) {
            self.note(|after| Note::Store { thread, store, before: Box::new(before), after: Box::new(after.clone()) });
        }
        if store.is_none_or(|store| matters(self.interpreter, store)) {
            self.look();
        }
        store
    }

    /// Runs until a current frame changes.
    fn step_to_next_frame(&mut self) {
        for _ in 0..BACK_LIMIT {
            match self.store() {
                None => return,
                Some(SimStore::Word { word, .. })
                    if matches!(self.interpreter.map.role(word), Some(Role::CurrentFrame(_))) =>
                {
                    return;
                }
                Some(_) => {}
            }
        }
    }

    /// Runs until no thread is inside an operation or on a shim frame.
    pub(super) fn rest(&mut self) {
        for _ in 0..256 {
            if self.interpreter.is_at_rest(&self.state) || !self.step() {
                return;
            }
        }
    }

    /// Performs the stores of all legs that are due.
    fn move_if_due(&mut self) {
        let at_rest = self.setting == Setting::AtRest;
        while let Some(leg) = self.leg.filter(|leg| leg.accesses == 0 && self.counting || at_rest) {
            self.leg = self.legs.next().copied();
            self.counting = self.leg.is_none_or(|leg| leg.from == From::LastLeg);
            for _ in 0..leg.frames {
                self.step_to_next_frame();
            }
            for _ in 0..leg.stores {
                if !self.step() {
                    break;
                }
            }
            if leg.back {
                for _ in 0..BACK_LIMIT {
                    if self.current_frames() == self.stood || !self.step() {
                        break;
                    }
                }
            }
            if let Some(thread) = leg.other_profiler {
                if at_rest {
                    self.rest();
                }
                self.other_profiler(usize::from(thread));
            }
            if at_rest && !leg.joined {
                return;
            }
        }
    }

    fn current_frames(&self) -> [u64; THREAD_COUNT] {
        let mut frames = [0; THREAD_COUNT];
        for (thread, frame) in frames.iter_mut().enumerate().take(self.interpreter.map.threads()) {
            *frame = self.state.words[usize::from(self.interpreter.map.thread_words(thread).current_frame)];
        }
        frames
    }

    fn other_profiler(&mut self, thread: usize) {
        let map = &self.interpreter.map;
        if thread >= map.threads() {
            return;
        }
        let words = map.thread_words(thread);
        let current = self.state.words[usize::from(words.current_frame)];
        if let Some(FrameSlot::Slot(..)) = map.place(current) {
            self.state.words[usize::from(words.anchor)] = current;
            self.written_in_operation = true;
            self.note(|state| Note::OtherProfiler { thread, state: Box::new(state.clone()) });
        }
    }

    /// Called before each access of the walker.
    fn access(&mut self) {
        if self.setting == Setting::AtRest {
            return;
        }
        if self.setting == Setting::Moving {
            self.move_if_due();
        }
        if let Some(leg) = &mut self.leg
            && self.counting
        {
            leg.accesses = leg.accesses.saturating_sub(1);
        }
    }
}

/// Whether a store can change a stack.
fn matters(interpreter: &Interpreter, store: SimStore) -> bool {
    match store {
        SimStore::Word { word, .. } => {
            !matches!(interpreter.map.role(word), Some(Role::Chunk(_) | Role::ChunkPrevious(_)))
        }
        _ => false,
    }
}

impl RemoteMemory for Target<'_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let interpreter = self.interpreter;
        if self.setting == Setting::Coarse {
            self.move_if_due();
        }
        interpreter.map.read(address, buffer, |word| {
            self.access();
            let value = self.state.words[usize::from(word)];
            self.note(|state| Note::Read { word, value, state: Box::new(state.clone()) });
            value
        })
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let interpreter = self.interpreter;
        let word = interpreter.map.written(address, bytes.len());
        let role = word.and_then(|word| interpreter.map.role(word));
        match (word, role, bytes.first_chunk()) {
            (Some(word), Some(Role::Anchor(thread)), Some(&value)) => {
                self.access();
                self.counting |= self.leg.is_some_and(|leg| leg.from == From::NextWrite);
                self.written_in_operation = true;
                let value = u64::from_le_bytes(value);
                let old = std::mem::replace(&mut self.state.words[usize::from(word)], value);
                let early = self.loaded_before_writes.next().copied().unwrap_or(0);
                self.loaded[thread].extend(std::iter::repeat_n(old, early.into()));
                self.note(|state| Note::Write { word, value, state: Box::new(state.clone()) });
                Ok(())
            }
            _ => {
                self.wrote_outside = true;
                Err(MemoryError::Unmapped { action: "write", address, length: bytes.len() })
            }
        }
    }
}
