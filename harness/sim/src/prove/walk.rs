//! The memory that a walker reads during a search: each of its accesses can come at any time.
//!
//! A word is read at once from all states that the interpreter can have reached meanwhile. If they disagree, the search
//! continues with one value and keeps the others for later. The walker is then run again from the start of its sample.
//! It gets the same values up to that point, and then another one. So the search runs the walker itself, not a model of
//! it, and its next action depends only on its cache and the values that it has read.

use framewalk::cache::FrameCache;
use framewalk::memory::{Address, MemoryError, RemoteMemory};
use framewalk::sample::WalkerKind;

use crate::map::{Role, Word};
use crate::promise::promises_hit;
use crate::prove::element::{Branch, Member};
use crate::prove::graph::{Graph, GraphError, NO_PROMISE};
use crate::prove::options::{MemoryOrder, Reads};
use crate::prove::set::close;
use crate::prove::space::Space;
use crate::prove::trace::{ProofEvent, ProofTrace};

/// The sample that must be a hit if one is promised.
#[derive(Clone, Copy)]
pub struct Promise<'a> {
    /// Index of the sampled thread.
    pub thread: usize,
    /// The walker's cache before the sample.
    pub cache: &'a FrameCache,
    /// Kind of the walker.
    pub kind: WalkerKind,
}

/// One run of a walker during a search.
pub struct Walk<'a, 'g> {
    graph: &'g Graph,
    space: &'a mut Space<'g>,
    limit: Option<u32>,
    trace: &'a mut ProofTrace,
    open: &'a mut Vec<Branch<Member>>,
    script: Vec<u64>,
    /// Whether the sample's first access has been made.
    begun: bool,
    position: usize,
    set: Vec<Member>,
    closed: bool,
    reads: Reads,
    memory: MemoryOrder,
    promise: Option<Promise<'a>>,
    /// Number of states: states of the interpreter, each combined with what the walker has read.
    pub states: u64,
    /// The error that ends the search.
    pub error: Option<GraphError>,
    /// Whether something other than an anchor was written, or something other than a frame to it.
    pub wrote_outside: bool,
}

impl<'a, 'g> Walk<'a, 'g> {
    /// Continues from `branch`. Alternatives left for later are added to `open`. `limit` is the highest cost, if costs
    /// are counted.
    pub fn new(
        space: &'a mut Space<'g>,
        limit: Option<u32>,
        (reads, memory, promise): (Reads, MemoryOrder, Option<Promise<'a>>),
        trace: &'a mut ProofTrace,
        open: &'a mut Vec<Branch<Member>>,
        branch: Branch<Member>,
    ) -> Self {
        Self {
            graph: space.graph(),
            space,
            limit,
            trace,
            open,
            begun: !branch.script.is_empty(),
            script: branch.script,
            position: 0,
            set: branch.set,
            closed: branch.closed,
            reads,
            memory,
            promise,
            states: 0,
            error: None,
            wrote_outside: false,
        }
    }

    /// The walker's accesses, and the states after the last one.
    #[must_use]
    pub fn into_branch(self) -> Branch<Member> {
        Branch { script: self.script, set: self.set, closed: self.closed }
    }

    /// Lets the interpreter move. The sample's first access discards the stacks recorded before it.
    fn wait(&mut self) {
        if self.closed {
            return;
        }
        if let Err(error) = close(&mut self.set, self.space, self.begun, self.limit, self.trace) {
            self.error = Some(error);
        }
        if !self.begun {
            self.begun = true;
            if self.reads == Reads::Samples {
                let graph = self.graph;
                self.set.retain(|member| graph.is_at_rest(member.node));
            }
            for member in &mut self.set {
                member.seen = self.space.stacks(member.id);
                let promised = self.promise.is_some_and(|promise| {
                    let get = |word| self.space.word(member, word);
                    promises_hit(&self.graph.interpreter.map, promise.thread, get, promise.cache, promise.kind)
                });
                if !promised {
                    member.seen |= NO_PROMISE;
                }
            }
        }
        self.states += self.set.len() as u64;
        self.closed = true;
    }

    fn access(&mut self, word: Word) -> u64 {
        if let Some(value) = self.graph.constant(word) {
            if self.position == self.script.len() {
                self.wait();
                note(self.trace, &mut self.set, ProofEvent::Read { word, value });
            }
            return value;
        }
        if let Some(&value) = self.script.get(self.position) {
            self.position += 1;
            return value;
        }
        self.wait();
        let value = match self.graph.by_node(word) {
            Some(values) => self.choose(word, |_, member| values[member.node as usize]),
            None => self.choose(word, |space, member| space.word(member, word)),
        };
        let Some(value) = value else { return 0 };
        note(self.trace, &mut self.set, ProofEvent::Read { word, value });
        self.script.push(value);
        self.position += 1;
        value
    }

    /// Keeps the states that have the same value as the first one, and leaves the others for later.
    fn choose(&mut self, word: Word, value_of: impl Fn(&Space<'g>, &Member) -> u64) -> Option<u64> {
        let value = value_of(self.space, self.set.first()?);
        let Some(first) = self.set.iter().position(|member| value_of(self.space, member) != value) else {
            return Some(value);
        };
        self.closed = self.reads != Reads::Words;
        let others = self.open.len();
        let mut same = first;
        for index in first..self.set.len() {
            let member = self.set[index];
            let other = value_of(self.space, &member);
            if other == value {
                self.set[same] = member;
                same += 1;
                continue;
            }
            let of_value = |branch: &&mut Branch<Member>| branch.script.last() == Some(&other);
            match self.open[others..].iter_mut().find(of_value) {
                Some(branch) => branch.set.push(member),
                None => {
                    let mut branch = self.space.branch(&self.script, other, self.closed);
                    branch.set.push(member);
                    self.open.push(branch);
                }
            }
        }
        self.set.truncate(same);
        for branch in &mut self.open[others..] {
            let value = branch.script.last().copied().unwrap_or_default();
            note(self.trace, &mut branch.set, ProofEvent::Read { word, value });
        }
        Some(value)
    }

    fn write_anchor(&mut self, thread: usize, word: Word, value: u64) {
        if self.position < self.script.len() {
            self.position += 1;
            return;
        }
        self.wait();
        let Some(index) = self.graph.addresses.iter().position(|&address| address == value) else {
            self.wrote_outside = true;
            return;
        };
        let index = u8::try_from(index).unwrap_or(0);
        let loads_early = self.memory == MemoryOrder::Tso && self.reads != Reads::Samples;
        let mut after: Vec<Member> = Vec::with_capacity(self.set.len());
        for member in self.set.drain(..) {
            let before = *self.space.config(member.id);
            let mut written = before;
            written.anchors[thread] = index;
            let early = loads_early.then(|| Graph::loaded_before(&before, written, thread)).into_iter().flatten();
            for (config, loaded_before) in std::iter::once(written).chain(early).zip(0..) {
                let event = ProofEvent::Write { word, value, loaded_before };
                let trace = self.trace.push(member.trace, event);
                after.push(Member { id: self.space.id(config), trace, ..member });
            }
        }
        self.set = after;
        self.closed = self.reads == Reads::Samples;
        self.script.push(value);
        self.position += 1;
    }
}

fn note(trace: &mut ProofTrace, set: &mut [Member], event: ProofEvent) {
    if trace.is_kept() {
        for member in set {
            member.trace = trace.push(member.trace, event);
        }
    }
}

impl RemoteMemory for Walk<'_, '_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        if self.reads == Reads::Segments && self.position == self.script.len() {
            self.closed = false;
        }
        let graph = self.graph;
        graph.interpreter.map.read(address, buffer, |word| self.access(word))
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let map = &self.graph.interpreter.map;
        let word = map.written(address, bytes.len());
        match (word, word.and_then(|word| map.role(word)), bytes.first_chunk()) {
            (Some(word), Some(Role::Anchor(thread)), Some(value)) => {
                self.write_anchor(thread, word, u64::from_le_bytes(*value));
                Ok(())
            }
            _ => {
                self.wrote_outside = true;
                Err(MemoryError::Unmapped { action: "write", address, length: bytes.len() })
            }
        }
    }
}
