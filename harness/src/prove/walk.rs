//! The memory that a walker reads during a search: every access can come at any time.
//!
//! A word is read from all states at once that the interpreter can have come to meanwhile. If they disagree, the search
//! goes on with one value and keeps the others for later: the walker is run again from the start of its sample, is given
//! the same values up to there, and then another one. So it is the walker itself that is searched, not a model of it, and
//! what it will do next depends on nothing but its cache and the values that it read.

use crate::memory::{Address, MemoryError, RemoteMemory};
use crate::prove::graph::{Config, GraphError};
use crate::prove::search::Reads;
use crate::prove::set::{Element, Reach, close};
use crate::prove::trace::{Event, Trace};
use crate::sim::map::{Role, Word};

/// Walker accesses up to a point, and the states that agree with them.
pub struct Branch {
    /// The values read so far; for a write, what was written.
    pub script: Vec<u64>,
    /// The states, just after the last access.
    pub set: Vec<Element>,
    /// Whether the next word is read at the same moment.
    pub closed: bool,
}

/// One run of a walker.
pub struct Walk<'a> {
    reach: Reach<'a>,
    trace: &'a mut Trace,
    open: &'a mut Vec<Branch>,
    script: Vec<u64>,
    position: usize,
    set: Vec<Element>,
    closed: bool,
    reads: Reads,
    /// States met: of the interpreter, times what the walker has read.
    pub states: u64,
    /// Why the search must end.
    pub error: Option<GraphError>,
    /// Where the walker wrote though it must not.
    pub wrote_outside: Option<Address>,
}

impl<'a> Walk<'a> {
    /// Goes on where `branch` stands.
    pub fn new(
        reach: Reach<'a>,
        reads: Reads,
        trace: &'a mut Trace,
        open: &'a mut Vec<Branch>,
        branch: Branch,
    ) -> Self {
        Self {
            reach,
            trace,
            open,
            script: branch.script,
            position: 0,
            set: branch.set,
            closed: branch.closed,
            reads,
            states: 0,
            error: None,
            wrote_outside: None,
        }
    }

    /// The states after the walker's last access.
    #[must_use]
    pub fn into_set(self) -> Vec<Element> {
        self.set
    }

    /// Lets the interpreter move. At the sample's first access, what was there before is forgotten.
    fn wait(&mut self) {
        if self.closed {
            return;
        }
        let begins = self.script.is_empty();
        let reach = if begins { Reach { watched: &[], ..self.reach } } else { self.reach };
        if let Err(error) = close(&mut self.set, &reach, self.trace) {
            self.error = Some(error);
        }
        if begins {
            for element in &mut self.set {
                element.seen = self.reach.graph.stacks_of(&element.config, self.reach.watched);
            }
        }
        self.states += self.set.len() as u64;
        self.closed = true;
    }

    fn access(&mut self, word: Word) -> u64 {
        if let Some(&value) = self.script.get(self.position) {
            self.position += 1;
            return value;
        }
        self.wait();
        let graph = self.reach.graph;
        let Some(first) = self.set.first() else { return 0 };
        let value = graph.word(&first.config, word);
        if self.set.iter().any(|element| graph.word(&element.config, word) != value) {
            let mut groups: Vec<(u64, Vec<Element>)> = Vec::new();
            for element in self.set.drain(..) {
                let value = graph.word(&element.config, word);
                match groups.iter_mut().find(|(other, _)| *other == value) {
                    Some((_, group)) => group.push(element),
                    None => groups.push((value, vec![element])),
                }
            }
            let mut groups = groups.into_iter();
            self.set = groups.next().map(|(_, group)| group).unwrap_or_default();
            for (value, mut set) in groups {
                note(self.trace, &mut set, Event::Read { word, value });
                let mut script = self.script.clone();
                script.push(value);
                self.open.push(Branch { script, set, closed: self.reads == Reads::Segments });
            }
            self.closed = self.reads == Reads::Segments;
        }
        note(self.trace, &mut self.set, Event::Read { word, value });
        self.script.push(value);
        self.position += 1;
        value
    }

    fn write_anchor(&mut self, thread: usize, word: Word, value: u64) {
        if self.position < self.script.len() {
            self.position += 1;
            return;
        }
        self.wait();
        let Some(index) = self.reach.graph.addresses.iter().position(|&address| address == value) else {
            self.wrote_outside = Some(value);
            return;
        };
        let index = u8::try_from(index).unwrap_or(0);
        for element in &mut self.set {
            element.config.anchors[thread] = index;
        }
        note(self.trace, &mut self.set, Event::Write { word, value });
        self.closed = false;
        self.script.push(value);
        self.position += 1;
    }
}

fn note(trace: &mut Trace, set: &mut [Element], event: Event) {
    if trace.is_kept() {
        for element in set {
            element.trace = trace.push(element.trace, event);
        }
    }
}

impl RemoteMemory for Walk<'_> {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        let graph = self.reach.graph;
        if self.reads == Reads::Segments && self.position == self.script.len() {
            self.closed = false;
        }
        graph.interpreter.map.read(address, buffer, |word| self.access(word))
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        let map = &self.reach.graph.interpreter.map;
        let word = map.written(address, bytes.len());
        match (word, word.and_then(|word| map.role(word)), bytes.first_chunk()) {
            (Some(word), Some(Role::Anchor(thread)), Some(value)) => {
                self.write_anchor(thread, word, u64::from_le_bytes(*value));
                Ok(())
            }
            _ => {
                self.wrote_outside = Some(address);
                Err(MemoryError::Unmapped { action: "write", address, length: bytes.len() })
            }
        }
    }
}

/// A state in which nothing was seen yet.
#[must_use]
pub fn fresh(config: Config, trace: u32) -> Element {
    Element { config, seen: 0, cost: 0, trace }
}
