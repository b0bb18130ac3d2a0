//! Everything that a program can do, as a graph without anchors and sequences.
//!
//! The interpreter's next step depends on the anchor only where it is compared with a frame that leaves the stack. So
//! all states are enumerated once without anchors and sequences. A [`Config`] adds these, and is small enough to keep
//! millions of them.

use std::collections::VecDeque;

use framewalk::memory::Address;
use framewalk::walker::Unsupported;
use rustc_hash::FxHashMap;
use thiserror::Error;

use crate::interpreter::{Interpreter, State};
use crate::map::{FrameSlot, Map, Role, SHIM_COUNT, THREAD_COUNT, Word};
use crate::program::SimProgram;
use crate::store::SimStore;
use crate::truth::{TrueChain, chain};
use crate::variation::Variations;

/// Most states of one program. A larger one could not be searched.
const NODE_LIMIT: usize = 1 << 22;
/// The initial sequence of a thread and of an entry. It makes partial hits two frames further down wrap around.
pub const FIRST_SEQUENCE: u64 = u64::MAX - 1;
/// In a bit set of stacks: no hit is promised. The numbers of stacks are smaller than this bit's. (A set with fewer
/// bits allows more to go wrong.)
pub const NO_PROMISE: u128 = 1 << 127;
/// No limit on how many times another profiler anchors.
pub const ANY_NUMBER: u8 = u8::MAX;
/// Most comparisons of a thread that can have loaded the anchor before they are due.
pub const LOADS_AHEAD: usize = 2;
/// A comparison has not loaded the anchor yet.
const NOT_LOADED: u8 = u8::MAX;
/// The thread has no stack.
const NOTHING: u8 = u8::MAX;

/// A state of the interpreter, with anchors and sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Config {
    /// Index of the state in the graph.
    pub node: u32,
    /// Index of each thread's anchor in [`Graph::addresses`].
    pub anchors: [u8; THREAD_COUNT],
    /// Each thread's sequence, relative to [`FIRST_SEQUENCE`].
    pub sequences: [i8; THREAD_COUNT],
    /// How many times another profiler may still anchor. [`ANY_NUMBER`] does not decrease.
    pub anchorings: u8,
    /// What each thread's next comparisons have loaded already, as indices in [`Graph::addresses`], the next one first:
    /// see [`Graph::loaded_before`].
    pub(crate) loaded: [[u8; LOADS_AHEAD]; THREAD_COUNT],
}

/// A step that the interpreter can take.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Index of the thread that takes it.
    pub thread: usize,
    /// The store or load that is done.
    pub store: SimStore,
    /// The choices between threads that could move and between the ways at branches, where there was a choice.
    pub decisions: Vec<u8>,
    /// The state after the step. For a comparison, the state after finding another frame.
    to: u32,
    /// The state after a comparison that found the frame.
    equal: u32,
    /// Index of the compared or stored address.
    address: u8,
}

/// What happens to a sequence that is more than 127 above the one that it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Far {
    /// It keeps that value: no entry has enough frames to match it again. But a walker that reads it twice within a
    /// sample cannot see it change, so the interpreter must be at rest during samples.
    Kept,
    /// The search ends with an error.
    Refused,
}

/// Why a program cannot be searched.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GraphError {
    /// The program has too many states.
    #[error("the program has more than {NODE_LIMIT} states; a smaller one is needed")]
    TooManyStates,
    /// The program has too many stacks to give each a bit.
    #[error("the program has more than 127 different stacks; a smaller one is needed")]
    TooManyStacks,
    /// The walker cannot be made.
    #[error(transparent)]
    Walker(#[from] Unsupported),
    /// A sequence left the range of a byte.
    #[error("a sequence ran more than 127 away from the one it is compared with")]
    SequenceTooFar,
}

/// The graph of a program.
pub struct Graph {
    /// The interpreter that runs the program.
    pub interpreter: Interpreter,
    /// Addresses of frames. The first is NULL.
    pub addresses: Vec<Address>,
    edges: Vec<Vec<Edge>>,
    /// Values by word, then by state. A read of one word in many states then touches one piece of memory.
    words: Vec<Vec<u64>>,
    /// The values of the words that are the same in all states.
    constants: Vec<Option<u64>>,
    roles: Vec<Role>,
    stacks: Vec<(u64, TrueChain)>,
    stack_of: Vec<[u8; THREAD_COUNT]>,
    at_rest: Vec<bool>,
}

impl Graph {
    /// Enumerates the states of a program.
    ///
    /// # Errors
    /// The program has too many states or stacks.
    pub fn build(program: SimProgram, variations: Variations) -> Result<Self, GraphError> {
        let (interpreter, start) = Interpreter::start(program, variations);
        let map = &interpreter.map;
        let roles = (0..start.words.len()).filter_map(|word| map.role(Word::try_from(word).ok()?)).collect();
        let addresses = addresses(map);
        let index_of: FxHashMap<Address, u8> = addresses.iter().copied().zip(0..).collect();
        let mut graph = Self {
            addresses,
            edges: Vec::new(),
            words: vec![Vec::new(); start.words.len()],
            constants: Vec::new(),
            roles,
            stacks: Vec::new(),
            stack_of: Vec::new(),
            at_rest: Vec::new(),
            interpreter,
        };
        let mut known: FxHashMap<State, u32> = FxHashMap::default();
        let mut queue = VecDeque::new();
        let mut stacks: FxHashMap<(u64, TrueChain), u8> = FxHashMap::default();
        graph.node(start, &mut known, &mut queue, &mut stacks)?;
        while let Some(state) = queue.pop_front() {
            let mut edges = Vec::new();
            let threads: Vec<usize> = graph.interpreter.movable(&state).collect();
            for (position, &thread) in (0_u8..).zip(&threads) {
                for (prepared, store, ways) in ways(&graph.interpreter, &state, thread) {
                    let mut decisions = Vec::new();
                    if threads.len() > 1 {
                        decisions.push(position);
                    }
                    decisions.extend(ways);
                    let mut after = |equal| {
                        let mut next = prepared.clone();
                        graph.interpreter.perform(&mut next, thread, store, equal);
                        graph.node(next, &mut known, &mut queue, &mut stacks)
                    };
                    let (to, equal, address) = match store {
                        SimStore::CompareAnchor { frame, .. } => (after(false)?, after(true)?, frame),
                        SimStore::Anchor { value, .. } => (after(true)?, 0, value),
                        _ => (after(true)?, 0, 0),
                    };
                    let address = index_of.get(&address).copied().unwrap_or(0);
                    edges.push(Edge { thread, store, decisions, to, equal, address });
                }
            }
            graph.edges.push(edges);
        }
        graph.constants = graph.words.iter().zip(&graph.roles).map(|(values, role)| constant(values, *role)).collect();
        Ok(graph)
    }

    fn node(
        &mut self,
        state: State,
        known: &mut FxHashMap<State, u32>,
        queue: &mut VecDeque<State>,
        stacks: &mut FxHashMap<(u64, TrueChain), u8>,
    ) -> Result<u32, GraphError> {
        if let Some(&node) = known.get(&state) {
            return Ok(node);
        }
        let node = known.len();
        if node >= NODE_LIMIT {
            return Err(GraphError::TooManyStates);
        }
        let mut ids = [NOTHING; THREAD_COUNT];
        let mut frames = TrueChain::new();
        for (thread, id) in ids.iter_mut().enumerate().take(self.interpreter.map.threads()) {
            let get = |word: Word| state.words[usize::from(word)];
            let live = self.interpreter.threads(&state).contains(&thread);
            if live && chain(&self.interpreter.map, thread, get, &mut frames).is_some() {
                let native_thread_id = self.interpreter.program.threads[thread].native_thread_id;
                let next = u8::try_from(stacks.len()).unwrap_or(NOTHING);
                *id = *stacks.entry((native_thread_id, frames.clone())).or_insert(next);
                if *id >= NOTHING / 2 {
                    return Err(GraphError::TooManyStacks);
                }
                if usize::from(*id) == self.stacks.len() {
                    self.stacks.push((native_thread_id, frames.clone()));
                }
            }
        }
        self.stack_of.push(ids);
        self.at_rest.push(self.interpreter.is_at_rest(&state));
        for (values, &word) in self.words.iter_mut().zip(&state.words) {
            values.push(word);
        }
        let node = u32::try_from(node).map_err(|_| GraphError::TooManyStates)?;
        known.insert(state.clone(), node);
        queue.push_back(state);
        Ok(node)
    }

    /// Number of states without anchors and sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there are no states. Always false: there is an initial state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// The initial state, with no anchor set.
    #[must_use]
    pub fn start(&self) -> Config {
        Config {
            node: 0,
            anchors: [0; THREAD_COUNT],
            sequences: [0; THREAD_COUNT],
            anchorings: 0,
            loaded: [[NOT_LOADED; LOADS_AHEAD]; THREAD_COUNT],
        }
    }

    /// The value of a word in a state.
    #[must_use]
    pub fn word(&self, config: &Config, word: Word) -> u64 {
        match self.roles[usize::from(word)] {
            Role::Anchor(thread) => self.addresses[usize::from(config.anchors[thread])],
            Role::Sequence(thread) => sequence(config.sequences[thread]),
            _ => self.words[usize::from(word)][config.node as usize],
        }
    }

    /// The value of a word that is the same in all states.
    #[must_use]
    pub fn constant(&self, word: Word) -> Option<u64> {
        self.constants[usize::from(word)]
    }

    /// The values of a word by state. `None` if anchors or sequences determine it.
    #[must_use]
    pub fn by_node(&self, word: Word) -> Option<&[u64]> {
        match self.roles[usize::from(word)] {
            Role::Anchor(_) | Role::Sequence(_) => None,
            _ => Some(&self.words[usize::from(word)]),
        }
    }

    /// The steps that the interpreter can take from a state.
    #[must_use]
    pub fn edges(&self, config: &Config) -> &[Edge] {
        &self.edges[config.node as usize]
    }

    /// The state after a step.
    ///
    /// # Errors
    /// [`GraphError::SequenceTooFar`] if a sequence leaves the range of a byte and `far` does not allow it.
    pub fn follow(&self, config: &Config, edge: &Edge, far: Far) -> Result<Config, GraphError> {
        let mut next = Config { node: edge.to, ..*config };
        match edge.store {
            SimStore::Word { .. } => {}
            SimStore::CompareAnchor { thread, .. } => {
                let loaded = match config.loaded[thread][0] {
                    NOT_LOADED => config.anchors[thread],
                    early => early,
                };
                next.loaded[thread].copy_within(1.., 0);
                next.loaded[thread][LOADS_AHEAD - 1] = NOT_LOADED;
                if loaded == edge.address {
                    next.node = edge.equal;
                }
            }
            SimStore::IncrementSequence { thread } => {
                next.sequences[thread] = match (next.sequences[thread].checked_add(1), far) {
                    (Some(sequence), _) => sequence,
                    (None, Far::Kept) => i8::MAX,
                    (None, Far::Refused) => return Err(GraphError::SequenceTooFar),
                };
            }
            SimStore::ResetSequence { thread } => next.sequences[thread] = 0,
            SimStore::Anchor { thread, .. } => {
                next.anchors[thread] = edge.address;
                // A core sees its own stores at once. So a comparison after this store has loaded the stored value.
                for early in next.loaded[thread].iter_mut().filter(|early| **early != NOT_LOADED) {
                    *early = edge.address;
                }
            }
        }
        Ok(next)
    }

    /// The states in which comparisons had loaded the anchor before a write changed it from its value in `before`:
    /// `after` with one such comparison more, then two, as far as [`LOADS_AHEAD`] allows.
    ///
    /// A store waits in its core's store buffer before it is visible, and loads do not wait for it. So a comparison can
    /// load the anchor while the stores before it, such as that of the current frame, are not visible yet. That makes a
    /// difference only if the anchor is written in between.
    pub fn loaded_before(before: &Config, after: Config, thread: usize) -> impl Iterator<Item = Config> {
        let old = before.anchors[thread];
        let first = after.loaded[thread].iter().position(|&early| early == NOT_LOADED).unwrap_or(LOADS_AHEAD);
        let slots = if after.anchors[thread] == old { LOADS_AHEAD..LOADS_AHEAD } else { first..LOADS_AHEAD };
        slots.scan(after, move |after, slot| {
            after.loaded[thread][slot] = old;
            Some(*after)
        })
    }

    /// The state after another profiler has atomically anchored the thread's current frame. `None` if it may not.
    #[must_use]
    pub fn anchored(&self, config: &Config, thread: usize) -> Option<Config> {
        if config.anchorings == 0 {
            return None;
        }
        let map = &self.interpreter.map;
        let current = self.word(config, map.thread_words(thread).current_frame);
        let Some(FrameSlot::Slot(..)) = map.place(current) else { return None };
        let index = self.addresses.iter().position(|&address| address == current)?;
        let mut next = *config;
        next.anchors[thread] = u8::try_from(index).ok()?;
        if next == *config {
            return None;
        }
        if next.anchorings != ANY_NUMBER {
            next.anchorings -= 1;
        }
        Some(next)
    }

    /// The stacks of `threads` in a state, as a bit set of their numbers.
    #[must_use]
    pub fn stacks_of(&self, config: &Config, threads: &[usize]) -> u128 {
        let ids = &self.stack_of[config.node as usize];
        threads.iter().map(|&thread| ids[thread]).filter(|&id| id != NOTHING).fold(0, |set, id| set | 1 << id)
    }

    /// Whether the interpreter is at rest in the state with that index.
    #[must_use]
    pub fn is_at_rest(&self, node: u32) -> bool {
        self.at_rest[node as usize]
    }

    /// All stacks by number, each with its thread's native id.
    #[must_use]
    pub fn stacks(&self) -> &[(u64, TrueChain)] {
        &self.stacks
    }
}

/// The sequence with this offset from [`FIRST_SEQUENCE`].
#[must_use]
pub fn sequence(relative: i8) -> u64 {
    FIRST_SEQUENCE.wrapping_add_signed(relative.into())
}

fn constant(values: &[u64], role: Role) -> Option<u64> {
    let (&first, rest) = values.split_first()?;
    let decided_elsewhere = matches!(role, Role::Anchor(_) | Role::Sequence(_));
    (!decided_elsewhere && rest.iter().all(|value| *value == first)).then_some(first)
}

/// Every way in which a thread can continue, with the choices at branches that lead there.
fn ways(interpreter: &Interpreter, state: &State, thread: usize) -> Vec<(State, SimStore, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(choices) = open.pop() {
        let mut prepared = state.clone();
        let mut asked: Vec<u8> = Vec::new();
        let store = interpreter.prepare(&mut prepared, thread, &mut || {
            let choice = choices.get(asked.len()).copied().unwrap_or(0);
            asked.push(choice);
            choice == 1
        });
        for known in choices.len()..asked.len() {
            let mut other = asked[..known].to_vec();
            other.push(1);
            open.push(other);
        }
        if let Some(store) = store {
            found.push((prepared, store, asked));
        }
    }
    found
}

/// The addresses of everything that can be an anchor.
fn addresses(map: &Map) -> Vec<Address> {
    let mut addresses = vec![0];
    for thread in 0..map.threads() {
        addresses.push(map.address(FrameSlot::Base(thread)));
        addresses.extend((0..SHIM_COUNT).map(|depth| map.address(FrameSlot::Shim(thread, depth))));
    }
    for place in (0..map.len()).filter_map(|word| match map.role(word) {
        Some(Role::Code(place)) => Some(place),
        _ => None,
    }) {
        addresses.push(map.address(place));
    }
    addresses
}
