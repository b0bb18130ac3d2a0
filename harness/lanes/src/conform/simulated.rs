//! The simulated interpreter in place of a stepped lane's target, with the same walkers, points and steps.

use std::collections::BTreeSet;

use framewalk::cached::CachedWalker;
use framewalk::frame::{Frame, Location};
use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment, read_one};
use framewalk::rejection::Rejection;
use framewalk::sample::WalkerKind;
use framewalk::spec::WalkerSpec;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Unsupported, Walker};
use framewalk::weakening::Weakening;
use model::schedule::event::{Access, AccessedValue, ChainFrame, StepEvent, ThreadWord};
use model::schedule::{AccessKind, Point, Schedule};
use sim::interpreter::{Interpreter, State};
use sim::map::{FrameSlot, MOST_SHIMS, Map, RUNTIME, Role};
use sim::program::SimProgram;
use sim::store::SimStore;
use sim::variation::Variations;

use super::family::{MAIN, ROUND_LINE};
use super::given::{Orders, RealRunFacts};
use crate::stepped::access::Map as AccessMap;

/// Rounds before the first schedule, so that memory contains what earlier rounds left.
const WARM_UP: usize = 2;
/// The most accesses between two steps, or in a round. A program that needs more is considered endless.
const ACCESS_LIMIT: usize = 100_000;
/// The size of the simulated interpreter's data-stack chunks, in bytes.
const CHUNK_SIZE: u64 = 16 << 10;

/// The simulated interpreter at the start of a round; see the module.
pub(super) struct Simulated {
    weakenings: BTreeSet<Weakening>,
    interpreter: Interpreter,
    start: State,
    map: AccessMap,
    steps: usize,
}

impl Simulated {
    /// Runs `program` to the start of a round, where every schedule begins. Its walkers omit what `weakenings` names.
    /// `None` if the program has no rounds.
    pub(super) fn new(program: &SimProgram, variations: &Variations, weakenings: &BTreeSet<Weakening>) -> Option<Self> {
        let map = Map::with_shims(program, MOST_SHIMS);
        let (interpreter, start) = Interpreter::start_in(map, program.clone(), variations.clone());
        let map = AccessMap::new(LAYOUT, LAYOUT.thread.cache?, interpreter.map.thread_address(0));
        let mut simulated = Self { weakenings: weakenings.clone(), interpreter, start, map, steps: 0 };
        let mut state = simulated.start.clone();
        for _ in 0..=WARM_UP {
            simulated.steps = simulated.round(&mut state)?;
        }
        simulated.start = state;
        Some(simulated)
    }

    /// The number of steps in a round while the anchor is NULL.
    pub(super) fn steps_of_a_round(&self) -> usize {
        self.steps
    }

    /// Runs to the start of the next round. Returns the number of steps.
    fn round(&mut self, state: &mut State) -> Option<usize> {
        let mut steps = 0;
        self.learn(state);
        for _ in 0..ACCESS_LIMIT {
            let (store, _) = self.interpreter.step(state, 0, &mut || false, 0, &|_, anchor| anchor)?;
            if self.starts_round(store) {
                return Some(steps);
            }
            if let Some((word, _)) = watched(&self.interpreter, state, store) {
                steps += 1;
                if word == ThreadWord::CurrentFrame {
                    self.learn(state);
                }
            }
        }
        None
    }

    fn starts_round(&self, store: SimStore) -> bool {
        let SimStore::Word { word, value } = store else { return false };
        matches!(self.interpreter.map.role(word), Some(Role::Instruction(FrameSlot::Slot(0, 1))))
            && self.interpreter.map.codes().line_of(MAIN, value) == Some(ROUND_LINE)
    }

    /// Records the addresses of frames and chunks, as the rig does.
    fn learn(&mut self, state: &State) {
        for standing in self.chain(state) {
            self.map.learn_frame(standing.address);
        }
        let word = self.interpreter.map.thread_words(0).chunk;
        let mut chunk = state.words.get(usize::from(word)).copied().unwrap_or(0);
        while let Some(number) =
            (0..sim::map::CHUNK_COUNT).find(|&number| chunk != 0 && self.interpreter.map.chunk_address(number) == chunk)
        {
            self.map.learn_chunk(chunk, CHUNK_SIZE);
            let previous = self.interpreter.map.chunk_words(number).map(|(previous, _)| previous);
            chunk = previous.and_then(|word| state.words.get(usize::from(word)).copied()).unwrap_or(0);
        }
    }

    /// The chain, leaf first, including the base frame and shim frames.
    fn chain(&self, state: &State) -> Vec<ChainFrame> {
        let map = &self.interpreter.map;
        let get = |word: u16| state.words.get(usize::from(word)).copied().unwrap_or(0);
        let mut chain = Vec::new();
        let mut address = get(map.thread_words(0).current_frame);
        while let Some(place) = map.place(address).filter(|_| chain.len() < ACCESS_LIMIT) {
            let frame = map.frame_words(place).and_then(|words| {
                let function = map.codes().function_of(get(words.code), get)?;
                let name = &self.interpreter.program.functions.get(usize::from(function))?.name;
                let line = map.codes().line_of(function, get(words.instruction)).map(i32::from);
                let location = Location { line, ..Location::default() };
                Some(Frame { function: name.as_str().into(), file: "".into(), location })
            });
            chain.push(ChainFrame { address, frame });
            let Some(previous) = map.previous_word(place) else { break };
            address = get(previous);
        }
        chain
    }

    /// Runs a schedule with `samples` samples of the walker.
    ///
    /// # Errors
    /// The walker cannot be created.
    pub(super) fn run(
        &mut self,
        kind: WalkerKind,
        samples: u32,
        schedule: &Schedule,
        given: RealRunFacts,
    ) -> Result<Ran, Unsupported> {
        let mut state = self.start.clone();
        let thread = self.interpreter.map.thread_address(0);
        let words = *self.interpreter.map.thread_words(0);
        let mut walker =
            own(kind, self.weakenings.clone(), state.words.get(usize::from(words.chunk)).copied().unwrap_or(0))?;
        if let Some(anchor) = state.words.get_mut(usize::from(words.anchor)) {
            *anchor = 0;
        }
        state.shims_ahead = given.shims;
        let sequence = state.words.get(usize::from(words.sequence)).copied().unwrap_or(0);
        let mut turn = Turn {
            rig: self,
            state,
            schedule,
            orders: given.orders,
            sample: 0,
            access: 0,
            sequence,
            history: Vec::new(),
            beyond: None,
        };
        turn.note_truth();
        for sample in 0..samples {
            (turn.sample, turn.access) = (sample, 0);
            turn.history.push(StepEvent::Sample(sample));
            let result = walker.sample_thread(&mut turn, thread);
            let is_cpython = kind.is_cpythons();
            if is_cpython && matches!(result.outcome, Err(Rejection::Loops { .. })) {
                turn.beyond.get_or_insert(turn.history.len());
            }
            turn.history.push(StepEvent::Result(sample, result));
        }
        Ok(Ran { history: turn.history, beyond: turn.beyond })
    }
}

/// Our own walker that behaves like `kind`, created while `chunk` is the newest chunk.
fn own(kind: WalkerKind, weakenings: BTreeSet<Weakening>, chunk: Address) -> Result<Box<dyn Walker>, Unsupported> {
    let site = Site { layout: LAYOUT, runtime: RUNTIME };
    Ok(match kind {
        WalkerKind::CpythonUncached => Box::new(UncachedWalker::new(site)?.as_cpython()),
        WalkerKind::CpythonCached => Box::new(CachedWalker::new(site, weakenings)?.as_cpython(chunk)),
        WalkerKind::OwnUncached | WalkerKind::OwnCached | WalkerKind::OwnReference => {
            WalkerSpec { kind, weakenings }.build(site)?
        }
    })
}

/// The watched word that a store changes, and its new value. `None` if the store is not a step.
fn watched(interpreter: &Interpreter, state: &State, store: SimStore) -> Option<(ThreadWord, u64)> {
    let words = interpreter.map.thread_words(0);
    let (word, number) = match store {
        SimStore::Word { word, .. } if word == words.current_frame => (ThreadWord::CurrentFrame, word),
        SimStore::Anchor { .. } => (ThreadWord::Anchor, words.anchor),
        SimStore::IncrementSequence { .. } => (ThreadWord::Sequence, words.sequence),
        _ => return None,
    };
    Some((word, state.words.get(usize::from(number)).copied()?))
}

/// One run of a schedule.
struct Turn<'a> {
    rig: &'a mut Simulated,
    state: State,
    schedule: &'a Schedule,
    orders: Orders,
    sample: u32,
    access: u32,
    sequence: u64,
    history: Vec<StepEvent>,
    beyond: Option<usize>,
}

/// The result of a run.
pub(super) struct Ran {
    pub(super) history: Vec<StepEvent>,
    /// The index of the event from which on nothing can be compared. Either the walker read the memory of a shim frame
    /// or generator that is gone, whose content is up to C. Or the chain loops, and CPython's unwinder, unlike our own
    /// walkers, follows it to its limit.
    pub(super) beyond: Option<usize>,
}

impl Turn<'_> {
    fn relative(&self, word: ThreadWord, value: u64) -> u64 {
        if word == ThreadWord::Sequence { value.wrapping_sub(self.sequence) } else { value }
    }

    fn note_truth(&mut self) {
        let chain = self.rig.chain(&self.state);
        self.history.push(StepEvent::Truth(chain));
    }

    fn step(&mut self) {
        for _ in 0..ACCESS_LIMIT {
            self.order();
            let Some((store, _)) = self.rig.interpreter.step(&mut self.state, 0, &mut || false, 0, &|_, anchor| anchor)
            else {
                return;
            };
            if let Some((word, value)) = watched(&self.rig.interpreter, &self.state, store) {
                self.history.push(StepEvent::Step(word, self.relative(word, value)));
                if word == ThreadWord::CurrentFrame {
                    self.rig.learn(&self.state);
                    self.note_truth();
                }
                return;
            }
        }
    }

    /// Puts the next two stores into the build's order, if they update anchor and sequence.
    fn order(&mut self) {
        let interpreter = &self.rig.interpreter;
        if let Some(first) = interpreter.next_update(&self.state, 0) {
            let wanted = self.orders.next().unwrap_or(first);
            if wanted != first {
                interpreter.swap_update(&mut self.state, 0);
            }
        }
    }

    fn arrive(&mut self) -> Point {
        let at = Point { sample: self.sample, access: self.access, word: 0 };
        self.access += 1;
        for _ in 0..self.schedule.steps(at) {
            self.step();
        }
        at
    }

    fn did(&mut self, at: Option<Point>, kind: AccessKind, parts: &[(Address, &[u8])]) {
        let mut shown = Vec::new();
        for &(address, bytes) in parts {
            let before = shown.len();
            self.rig.map.shown((address, bytes.len()), 0, bytes, &mut shown);
            let place = self.rig.interpreter.map.place(address);
            if place.is_some_and(|place| !self.rig.interpreter.is_kept(&self.state, place)) {
                // A wrongly predicted leaf is not used. The number of parts must stay the same, so only its content is
                // masked.
                for one in shown.iter_mut().skip(before) {
                    if let AccessedValue::Previous(frame, previous) = one {
                        *previous = *frame;
                    }
                }
                if kind != AccessKind::ReadThreadState {
                    self.beyond.get_or_insert(self.history.len());
                }
            }
        }
        for one in &mut shown {
            if let AccessedValue::Thread(word, value) = one {
                *value = self.relative(*word, *value);
            }
        }
        self.history.push(StepEvent::Access(Access { at, kind, shown }));
    }
}

impl RemoteMemory for Turn<'_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        read_one(self, address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        let parts: Vec<_> = segments.iter().map(|segment| (segment.address, segment.buffer.len())).collect();
        let kind = self.rig.map.read_kind(&parts);
        let at = kind.map(|_| self.arrive());
        let mut filled = Ok(segments.len());
        for (done, segment) in segments.iter_mut().enumerate() {
            let get = |word: u16| self.state.words.get(usize::from(word)).copied().unwrap_or(0);
            if let Err(error) = self.rig.interpreter.map.read(segment.address, segment.buffer, get) {
                filled = if done == 0 { Err(error) } else { Ok(done) };
                break;
            }
        }
        if let Some(kind) = kind {
            let count = filled.as_ref().copied().unwrap_or(0);
            let read: Vec<(Address, &[u8])> =
                segments.iter().take(count).map(|segment| (segment.address, &*segment.buffer)).collect();
            self.did(at, kind, &read);
        }
        filled
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let refused = MemoryError::Unmapped { action: "write", address, length: bytes.len() };
        let Some(kind) = self.rig.map.write_kind((address, bytes.len())) else { return Err(refused) };
        let at = self.arrive();
        let word = self.rig.interpreter.map.written(address, bytes.len()).ok_or(refused)?;
        if let (Some(there), Some(&value)) = (self.state.words.get_mut(usize::from(word)), bytes.first_chunk()) {
            *there = u64::from_le_bytes(value);
        }
        self.did(Some(at), kind, &[(address, bytes)]);
        Ok(())
    }
}
