//! The states that a search meets, by number, with what the interpreter can do from each worked out once.
//!
//! A search closes millions of sets over the same few thousand states. With numbers for them that is work on arrays:
//! no state is hashed, followed or looked up in the graph twice.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::map::Word;
use crate::prove::graph::{Config, Far, Graph, GraphError};
use crate::prove::set::{Element, Member, Scratch};
use crate::prove::trace::Event;
use crate::prove::walk::Branch;

/// The number of a state in one [`Space`].
pub type Id = u32;

/// One step from a state.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Where it leads.
    pub to: Id,
    /// That state's [`Config::node`].
    pub node: u32,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// The edge of that index.
    Edge(u8),
    /// Another profiler anchored the thread's current frame.
    OtherProfiler(u8),
}

/// When another profiler may anchor a thread's current frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchors {
    /// Also inside an operation.
    AtAnyTime,
    /// Where the interpreter is at rest: see [`Graph::is_at_rest`].
    AtRest,
}

/// See the module. Each worker has its own.
pub struct Space<'a> {
    graph: &'a Graph,
    watched: Vec<usize>,
    other_profiler: Option<Anchors>,
    ids: FxHashMap<Config, Id>,
    configs: Vec<Config>,
    /// The watched threads' stacks in each state.
    stacks: Vec<u128>,
    /// Where each state's steps are; none before they were asked for.
    ranges: Vec<Option<(u32, u32)>>,
    steps: Vec<Step>,
    /// What closing sets works on.
    pub(super) scratch: Scratch,
    /// Branches that were walked, to be filled again: millions are made.
    spare: Vec<Branch<Member>>,
}

impl<'a> Space<'a> {
    /// A space in which the stacks of the `watched` threads are noted, and in which another profiler, if there is one,
    /// may anchor a thread's current frame.
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

    /// What the interpreter can do.
    #[must_use]
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// How many states have a number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.configs.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.configs.is_empty()
    }

    /// The number of a state.
    pub fn id(&mut self, config: Config) -> Id {
        // So many would not fit into memory.
        let next = Id::try_from(self.configs.len()).unwrap_or(Id::MAX);
        let id = *self.ids.entry(config).or_insert(next);
        if id == next {
            self.configs.push(config);
            self.stacks.push(self.graph.stacks_of(&config, &self.watched));
            self.ranges.push(None);
        }
        id
    }

    /// The state of a number.
    #[must_use]
    pub fn config(&self, id: Id) -> &Config {
        &self.configs[id as usize]
    }

    /// The watched threads' stacks in a state.
    #[must_use]
    pub fn stacks(&self, id: Id) -> u128 {
        self.stacks[id as usize]
    }

    /// What can happen in a state: indices for [`Space::step`].
    ///
    /// # Errors
    /// [`GraphError::SequenceTooFar`].
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
        self.steps.push(Step { to, node: after.node, how });
    }

    /// One of [`Space::steps`].
    #[must_use]
    pub fn step(&self, index: u32) -> Step {
        self.steps[index as usize]
    }

    /// The step as an event.
    #[must_use]
    pub fn event(&self, before: Id, step: Step) -> Event {
        match step.how {
            How::Edge(edge) => Event::Step { before: *self.config(before), edge },
            How::OtherProfiler(thread) => Event::OtherProfiler { thread: thread.into() },
        }
    }

    /// A word in a member's state.
    #[must_use]
    pub fn word(&self, member: &Member, word: Word) -> u64 {
        self.graph.word(self.config(member.id), word)
    }

    /// A branch without states that follows `script` and then `value`.
    pub fn branch(&mut self, script: &[u64], value: u64, closed: bool) -> Branch<Member> {
        let mut branch = self.spare.pop().unwrap_or_else(|| Branch { script: Vec::new(), set: Vec::new(), closed });
        branch.script.clear();
        branch.script.extend_from_slice(script);
        branch.script.push(value);
        branch.set.clear();
        branch.closed = closed;
        branch
    }

    /// Takes back a branch that is no longer needed.
    pub fn reuse(&mut self, branch: Branch<Member>) {
        self.spare.push(branch);
    }

    /// An element by number.
    pub fn member(&mut self, element: &Element) -> Member {
        let Element { config, seen, cost, trace } = *element;
        Member { id: self.id(config), node: config.node, seen, cost, trace }
    }

    /// A member without number, for another space.
    #[must_use]
    pub fn element(&self, member: &Member) -> Element {
        let Member { id, seen, cost, trace, .. } = *member;
        Element { config: *self.config(id), seen, cost, trace }
    }
}
