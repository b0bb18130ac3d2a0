//! The states of a search, each with a numeric id and with its steps computed only once.
//!
//! A search closes millions of sets over the same few thousand states. With ids this is work on arrays: no state is
//! hashed, followed or looked up in the graph twice.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::map::Word;
use crate::prove::element::{Branch, Element, Id, Member};
use crate::prove::graph::{Config, Far, Graph, GraphError};
use crate::prove::scratch::Scratch;
use crate::prove::trace::ProofEvent;

/// A step from a state.
#[derive(Clone, Copy, Debug)]
pub struct SpaceStep {
    /// The state that it leads to.
    pub to: Id,
    /// That state's [`Config::node`].
    pub node: u32,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// The edge with that index.
    Edge(u8),
    /// Another profiler anchored the current frame of this thread.
    OtherProfiler(u8),
}

/// When another profiler may anchor a thread's current frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchors {
    /// At any time, even inside an operation.
    AtAnyTime,
    /// Only while the interpreter is at rest: see [`Graph::is_at_rest`].
    AtRest,
}

/// The states of a search. Each worker has its own space.
pub struct Space<'a> {
    graph: &'a Graph,
    watched: Vec<usize>,
    other_profiler: Option<Anchors>,
    ids: FxHashMap<Config, Id>,
    configs: Vec<Config>,
    /// The stacks of the watched threads in each state, as a bit set.
    stacks: Vec<u128>,
    /// The range of each state's steps; `None` until requested.
    ranges: Vec<Option<(u32, u32)>>,
    steps: Vec<SpaceStep>,
    /// Working memory for closing sets.
    pub(super) scratch: Scratch,
    /// Used branches whose allocations are reused: millions of branches are made.
    spare: Vec<Branch<Member>>,
}

impl<'a> Space<'a> {
    /// A space that records the stacks of the `watched` threads. If given, `other_profiler` defines when another
    /// profiler may anchor a thread's current frame.
    #[must_use]
    pub fn new(graph: &'a Graph, watched: &[usize], other_profiler: Option<Anchors>) -> Self {
        Self {
            graph,
            watched: watched.to_vec(),
            other_profiler,
            ids: FxHashMap::default(),
            configs: Vec::new(),
            stacks: Vec::new(),
            ranges: Vec::new(),
            steps: Vec::new(),
            scratch: Scratch::default(),
            spare: Vec::new(),
        }
    }

    /// The states of the program, and the steps between them.
    #[must_use]
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// How many states have an id.
    #[must_use]
    pub fn len(&self) -> usize {
        self.configs.len()
    }

    /// Whether there are no states.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.configs.is_empty()
    }

    /// The id of a state. A new state gets the next one.
    pub fn id(&mut self, config: Config) -> Id {
        // Unreachable: that many states would not fit into memory.
        let next = Id::try_from(self.configs.len()).unwrap_or(Id::MAX);
        let id = *self.ids.entry(config).or_insert(next);
        if id == next {
            self.configs.push(config);
            self.stacks.push(self.graph.stacks_of(&config, &self.watched));
            self.ranges.push(None);
        }
        id
    }

    /// The state with that id.
    #[must_use]
    pub fn config(&self, id: Id) -> &Config {
        &self.configs[id as usize]
    }

    /// The stacks of the watched threads in a state, as a bit set.
    #[must_use]
    pub fn stacks(&self, id: Id) -> u128 {
        self.stacks[id as usize]
    }

    /// The steps that can be taken from a state, as indices for [`Space::step`].
    ///
    /// # Errors
    /// [`GraphError::SequenceTooFar`] if a sequence runs too far away.
    pub fn steps(&mut self, id: Id) -> Result<Range<u32>, GraphError> {
        if let Some((start, end)) = self.ranges[id as usize] {
            return Ok(start..end);
        }
        let (graph, config) = (self.graph, self.configs[id as usize]);
        let start = self.steps.len() as u32;
        let far = if self.other_profiler == Some(Anchors::AtRest) { Far::Kept } else { Far::Refused };
        for (index, edge) in (0..).zip(graph.edges(&config)) {
            let after = graph.follow(&config, edge, far)?;
            self.push(after, How::Edge(index));
        }
        let anchors = match self.other_profiler {
            None => false,
            Some(Anchors::AtAnyTime) => true,
            Some(Anchors::AtRest) => graph.is_at_rest(config.node),
        };
        if anchors {
            for (index, thread) in (0..).zip(0..graph.interpreter.map.threads()) {
                if let Some(after) = graph.anchored(&config, thread) {
                    self.push(after, How::OtherProfiler(index));
                }
            }
        }
        let end = self.steps.len() as u32;
        self.ranges[id as usize] = Some((start, end));
        Ok(start..end)
    }

    fn push(&mut self, after: Config, how: How) {
        let to = self.id(after);
        self.steps.push(SpaceStep { to, node: after.node, how });
    }

    /// The step with an index from [`Space::steps`].
    #[must_use]
    pub fn step(&self, index: u32) -> SpaceStep {
        self.steps[index as usize]
    }

    /// The event of a step from the state `before`.
    #[must_use]
    pub fn event(&self, before: Id, step: SpaceStep) -> ProofEvent {
        match step.how {
            How::Edge(edge) => ProofEvent::Step { before: *self.config(before), edge },
            How::OtherProfiler(thread) => ProofEvent::OtherProfiler { thread: thread.into() },
        }
    }

    /// The value of a word in a member's state.
    #[must_use]
    pub fn word(&self, member: &Member, word: Word) -> u64 {
        self.graph.word(self.config(member.id), word)
    }

    /// A branch without states, with the values of `script` followed by `value`.
    pub fn branch(&mut self, script: &[u64], value: u64, closed: bool) -> Branch<Member> {
        let mut branch = self.spare.pop().unwrap_or_else(|| Branch { script: Vec::new(), set: Vec::new(), closed });
        branch.script.clear();
        branch.script.extend_from_slice(script);
        branch.script.push(value);
        branch.set.clear();
        branch.closed = closed;
        branch
    }

    /// Takes back a used branch to reuse its allocations.
    pub fn reuse(&mut self, branch: Branch<Member>) {
        self.spare.push(branch);
    }

    /// The member of an element: its state as an id in this space.
    pub fn member(&mut self, element: &Element) -> Member {
        let Element { config, seen, cost, trace } = *element;
        Member { id: self.id(config), node: config.node, seen, cost, trace }
    }

    /// The element of a member: its state without an id, for another space.
    #[must_use]
    pub fn element(&self, member: &Member) -> Element {
        let Member { id, seen, cost, trace, .. } = *member;
        Element { config: *self.config(id), seen, cost, trace }
    }
}
