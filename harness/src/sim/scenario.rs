//! One program, one walker, one schedule: run, judged, and noted down if somebody wants to read it.
//!
//! A right sample is a stack that its thread had at some moment between the sample's first access and its last.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::layout::LayoutError;
use crate::memory::{Address, MemoryError, RemoteMemory};
use crate::sample::{Lookup, ThreadSample, WalkerKind};
use crate::sim::history::Note;
use crate::sim::interpreter::{Interpreter, State};
use crate::sim::layout::LAYOUT;
use crate::sim::map::{Place, RUNTIME, Role, THREAD_COUNT};
use crate::sim::program::{Program, Thread};
use crate::sim::promise::promises_hit;
use crate::sim::store::Store;
use crate::sim::truth::{Chain, chain, matches};
use crate::sim::variation::Variations;
use crate::walk::cache::{FrameCache, Limits};
use crate::walk::cached::CachedWalker;
use crate::walk::reference::ReferenceWalker;
use crate::walk::walker::{CachingWalker, Site, Unsupported};
use crate::walk::weakening::Weakening;
use smallvec::{SmallVec, smallvec};

/// A leg goes back within so many stores, or not at all.
const BACK_LIMIT: usize = 200;

/// Which walker, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    /// `own-cached` or `own-reference`.
    pub kind: WalkerKind,
    /// The checks that it leaves out.
    pub weakenings: BTreeSet<Weakening>,
}

/// A scenario asks for a walker that has no cache of its own.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ContenderError {
    /// Another kind of walker.
    #[error("{0} is no cached walker of this project: it is own-reference or own-cached")]
    NotCached(WalkerKind),
    /// The layout cannot be walked.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The layout cannot be walked.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl std::fmt::Display for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.kind)?;
        self.weakenings.iter().try_for_each(|weakening| write!(f, " with {weakening}"))
    }
}

impl Contender {
    /// The walker. It tries each thread once per sample: a second try is another sample.
    ///
    /// # Errors
    /// It is none of the cached ones.
    pub fn walker(&self, site: Site) -> Result<Box<dyn CachingWalker>, ContenderError> {
        match self.kind {
            WalkerKind::OwnReference => {
                Ok(Box::new(ReferenceWalker::new(site)?.weakened(self.weakenings.clone()).attempting(1)))
            }
            WalkerKind::OwnCached => Ok(Box::new(CachedWalker::new(site, self.weakenings.clone())?)),
            other => Err(ContenderError::NotCached(other)),
        }
    }
}

/// How long the walker goes on, and what the interpreter does then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// From here on
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: From,
    /// so many accesses of the walker to words that change; then:
    pub accesses: u16,
    /// the interpreter goes on until the current frame has changed so often; then:
    #[serde(default, skip_serializing_if = "is_default")]
    pub frames: u8,
    /// so many accesses of the interpreter; then:
    pub stores: u16,
    /// as many more as it takes until each thread's current frame stands where it stood when the sample began; then:
    #[serde(default, skip_serializing_if = "is_default")]
    pub back: bool,
    /// another profiler anchors this thread's current frame, in no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_profiler: Option<u8>,
    /// Where the target is at rest during samples: the next leg belongs to the same sample.
    #[serde(default, skip_serializing_if = "is_default")]
    pub joined: bool,
}

/// Where the accesses of a leg are counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// The end of the leg before.
    #[default]
    LastLeg,
    /// The walker's next write.
    NextWrite,
    /// The next sample's beginning.
    NextSample,
    /// The sample's end.
    SampleEnd,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What is asked of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// The target moves between any two words that the walker reads.
    #[default]
    Moving,
    /// It stands still during samples, between operations: each sample takes one leg, and those that are joined to it.
    /// Another profiler, too, comes where it stands still.
    AtRest,
    /// It moves between the walker's reads, never inside one, and less is asked: that a stack ends at the thread's first
    /// frame; and that callers and callees belong together, if none came from the cache and all of them stand in one
    /// data-stack chunk, which is one read.
    Coarse,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the interpreter runs.
    pub program: Program,
    /// How it differs from CPython.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub variations: Variations,
    /// Who walks it.
    pub walker: Contender,
    /// What the walker's cache holds.
    pub threads_cached: u8,
    /// See [`Limits::addresses`].
    pub addresses_cached: u16,
    /// With what every thread's sequence begins.
    pub first_sequence: u64,
    /// The samples: of one thread, or of all that the interpreter's list has.
    pub samples: Vec<Option<u8>>,
    /// Before which sample the target's first thread forks. From then on the child is walked, by a walker with an empty
    /// cache that finds what others left in the anchors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forks_before: Option<u8>,
    /// When the target moves, and what is asked.
    #[serde(default)]
    pub setting: Setting,
    /// The schedule; after it the interpreter stands still.
    pub legs: Vec<Leg>,
    /// Which thread moves, and which way at a branch, wherever there is a choice; after them always the first.
    pub decisions: Vec<u8>,
}

/// The clause that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// The thread did not have the stack that was returned at any moment of the sample.
    #[error("the thread did not have this stack at any moment of the sample")]
    NotThere,
    /// The stack does not end at the first frame of its thread.
    #[error("the stack does not end at the first frame of its thread")]
    CutShort,
    /// A frame of the stack has a caller that never calls it, and none of them came from the cache.
    #[error("a frame of the stack has a caller that never calls it")]
    Mixed,
    /// A frame left the stack while it was the anchor, and the interpreter did not move the anchor.
    #[error("a frame left the stack while it was the anchor, and the anchor was not moved")]
    AnchorNotMoved,
    /// Something else than a thread's anchor was written.
    #[error("something else than an anchor was written")]
    WroteOutside,
    /// The target was at rest and the anchor's frame is on the stack and in the entry, yet nothing came from the cache.
    #[error("the anchor's frame is on the stack and in the entry, but the sample was no hit")]
    HitMissed,
}

impl Broken {
    /// The name in tables and in saved cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotThere => "not-there",
            Self::CutShort => "cut-short",
            Self::Mixed => "mixed",
            Self::AnchorNotMoved => "anchor-not-moved",
            Self::WroteOutside => "wrote-outside",
            Self::HitMissed => "hit-missed",
        }
    }
}

/// One thread's sample, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What the walker returned.
    pub sample: ThreadSample,
    /// The stacks that were there meanwhile.
    pub possible: Vec<Chain>,
    /// What is wrong with it.
    pub broken: Option<Broken>,
}

/// A scenario that was run.
pub struct Ran {
    /// All samples in order, up to the first wrong one.
    pub samples: Vec<Judged>,
    /// The clause that broke, in the last sample or before it.
    pub broken: Option<Broken>,
    /// What happened, if it was to be noted.
    pub notes: Vec<Note>,
    /// Where names of frames are looked up.
    pub interpreter: Interpreter,
}

/// A moving target.
struct Target<'a> {
    interpreter: &'a Interpreter,
    state: State,
    legs: std::slice::Iter<'a, Leg>,
    /// Accesses until the next leg's stores.
    leg: Option<Leg>,
    decisions: std::slice::Iter<'a, u8>,
    first_sequence: u64,
    setting: Setting,
    /// The current frames when the sample began.
    stood: [Address; THREAD_COUNT],
    /// Whether what the leg counts from has been.
    counting: bool,
    /// Threads whose anchor a profiler wrote during the interpreter's operation.
    written_in_operation: bool,
    anchor_not_moved: bool,
    /// Whether a hit is promised where the anchor's frame is on the stack and in the entry: at rest, and no other profiler
    /// moves the anchor.
    promises: bool,
    /// By thread, the stacks since the sample began.
    seen: Vec<Vec<Chain>>,
    scratch: Chain,
    notes: Option<Vec<Note>>,
    wrote_outside: bool,
}

impl Scenario {
    /// Runs it; `noted` says whether the history is wanted.
    ///
    /// # Errors
    /// The walker is none.
    pub fn run(&self, noted: bool) -> Result<Ran, ContenderError> {
        let (interpreter, mut state) = Interpreter::start(self.program.clone(), self.variations.clone());
        for thread in 0..interpreter.map.threads() {
            let word = interpreter.map.thread_words(thread).sequence;
            state.words[usize::from(word)] = self.first_sequence;
        }
        let mut walker = self.walker.walker(Site { layout: LAYOUT, runtime: RUNTIME })?;
        let limits = Limits { threads: self.threads_cached.into(), addresses: self.addresses_cached.into() };
        walker.set_cache(FrameCache::new(limits));
        let mut legs = self.legs.iter();
        let leg = legs.next().copied();
        let mut target = Target {
            interpreter: &interpreter,
            state,
            legs,
            leg,
            decisions: self.decisions.iter(),
            first_sequence: self.first_sequence,
            setting: self.setting,
            stood: [0; THREAD_COUNT],
            counting: leg.is_none_or(|leg| leg.from == From::LastLeg),
            written_in_operation: false,
            anchor_not_moved: false,
            promises: self.setting == Setting::AtRest && self.legs.iter().all(|leg| leg.other_profiler.is_none()),
            seen: vec![Vec::new(); interpreter.map.threads()],
            scratch: Chain::new(),
            notes: noted.then(Vec::new),
            wrote_outside: false,
        };
        let mut samples = Vec::new();
        for (number, &thread) in (0..).zip(&self.samples) {
            if self.forks_before == Some(number) {
                target.rest();
                target.state = interpreter.fork(&target.state, 0);
                walker.set_cache(FrameCache::new(limits));
            }
            if target.sample(walker.as_mut(), thread, &mut samples) || target.anchor_not_moved {
                break;
            }
        }
        let broken = samples.last().and_then(|last: &Judged| last.broken);
        let broken = broken.or(target.anchor_not_moved.then_some(Broken::AnchorNotMoved));
        let notes = target.notes.unwrap_or_default();
        Ok(Ran { samples, broken, notes, interpreter })
    }
}

impl Target<'_> {
    fn note(&mut self, note: impl FnOnce(&State) -> Note) {
        if let Some(notes) = &mut self.notes {
            notes.push(note(&self.state));
        }
    }

    /// One sample; whether it is wrong.
    fn sample(&mut self, walker: &mut dyn CachingWalker, thread: Option<u8>, samples: &mut Vec<Judged>) -> bool {
        self.counting |= self.leg.is_some_and(|leg| leg.from == From::SampleEnd);
        // What is due before the first access belongs to no sample.
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
            let possible = self.possible(sample.native_thread_id);
            let broken = self.judge(&sample, &possible, &promised);
            self.note(|_| Note::Result(sample.clone()));
            samples.push(Judged { sample, possible, broken });
            if broken.is_some() {
                return true;
            }
        }
        false
    }

    fn judge(&self, sample: &ThreadSample, possible: &[Chain], promised: &[u64]) -> Option<Broken> {
        if self.wrote_outside {
            return Some(Broken::WroteOutside);
        }
        let stack = sample.outcome.as_ref().ok()?;
        let program = &self.interpreter.program;
        if self.setting == Setting::Coarse {
            let ids: Vec<u8> = stack
                .iter()
                .filter_map(|frame| program.functions.iter().position(|function| *function.name == *frame.function))
                .filter_map(|position| u8::try_from(position).ok())
                .collect();
            let of = |thread: &&Thread| thread.native_thread_id == sample.native_thread_id;
            let begins = |function: u8| program.threads.iter().filter(of).any(|thread| thread.entry == function);
            let apart = |pair: &[u8]| !program.may_call(pair[1], pair[0]);
            return match ids.last() {
                Some(last) if !begins(*last) => Some(Broken::CutShort),
                _ if sample.provenance.from_cache == 0 && self.is_one_chunk() && ids.windows(2).any(apart) => {
                    Some(Broken::Mixed)
                }
                _ => None,
            };
        }
        if !possible.iter().any(|chain| matches(program, chain, stack)) {
            return Some(Broken::NotThere);
        }
        let hit = matches!(sample.provenance.lookup, Lookup::FullHit | Lookup::PartialHit);
        (promised.contains(&sample.native_thread_id) && !hit).then_some(Broken::HitMissed)
    }

    /// Whether all frames of the only thread stand in its first chunk, but for the entry's shim frame.
    fn is_one_chunk(&self) -> bool {
        let map = &self.interpreter.map;
        let grown = map.chunk_words(1).is_some_and(|(_, mapped)| self.state.words[usize::from(mapped)] != 0);
        map.threads() == 1 && !grown && self.interpreter.program.only_calls()
    }

    fn possible(&self, native_thread_id: u64) -> Vec<Chain> {
        let threads = &self.interpreter.program.threads;
        let of = |(thread, _): &(usize, &Vec<Chain>)| threads[*thread].native_thread_id == native_thread_id;
        self.seen.iter().enumerate().filter(of).flat_map(|(_, chains)| chains.iter().cloned()).collect()
    }

    /// The threads whose next sample must be a hit. Thread states of the same id share an entry: the one that is walked
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

    /// Notes the stacks that are there now.
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

    /// One access of the interpreter; false if no thread has anything left to do.
    fn step(&mut self) -> bool {
        self.store().is_some()
    }

    /// The same, with what it was.
    fn store(&mut self) -> Option<Store> {
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
        let before = self.notes.is_some().then(|| self.state.clone());
        let stepped = self.interpreter.step(&mut self.state, thread, &mut choice, self.first_sequence);
        let store = stepped.as_ref().map(|(store, _)| *store);
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

    /// On until a current frame has changed.
    fn step_to_next_frame(&mut self) {
        for _ in 0..BACK_LIMIT {
            match self.store() {
                None => return,
                Some(Store::Word { word, .. })
                    if matches!(self.interpreter.map.role(word), Some(Role::CurrentFrame(_))) =>
                {
                    return;
                }
                Some(_) => {}
            }
        }
    }

    /// On to where no thread is inside an operation and none stands on a shim frame.
    fn rest(&mut self) {
        for _ in 0..256 {
            if self.interpreter.is_at_rest(&self.state) || !self.step() {
                return;
            }
        }
    }

    /// Does the stores of all legs that are due.
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
        if let Some(Place::Slot(..)) = map.place(current) {
            self.state.words[usize::from(words.anchor)] = current;
            self.written_in_operation = true;
            self.note(|state| Note::OtherProfiler { thread, state: Box::new(state.clone()) });
        }
    }

    /// Before each access of the walker.
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
fn matters(interpreter: &Interpreter, store: Store) -> bool {
    match store {
        Store::Word { word, .. } => {
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
            (Some(word), Some(Role::Anchor(_)), Some(&value)) => {
                self.access();
                self.counting |= self.leg.is_some_and(|leg| leg.from == From::NextWrite);
                self.written_in_operation = true;
                let value = u64::from_le_bytes(value);
                self.state.words[usize::from(word)] = value;
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
