//! Builds histories for tests.

use framewalk::frame::{Frame, Location};
use framewalk::miss::MissReason;
use framewalk::sample::{Lookup, Provenance, ThreadSample};
use framewalk::stack::Stack;

use super::cast::ProfilerScript;
use super::event::{Access, AccessedValue, ChainFrame, StepEvent, ThreadWord};
use super::{AccessKind, Point};

/// The stack of a splice: the leaf of one branch with the callers of the other.
pub const B_UNDER_A: &[&str] = &["b_leaf", "a", "main"];

/// A history under construction. The root frame is at 0x1000, the frame that it calls at 0x1040, and so on.
pub struct Story {
    events: Vec<StepEvent>,
    sample: u32,
    access: u32,
    begun: bool,
}

impl Story {
    pub fn new() -> Self {
        Self { events: Vec::new(), sample: 0, access: 0, begun: false }
    }

    /// Two samples: the first one writes its anchor too late, and the second one is spliced.
    pub fn late_anchor() -> Vec<StepEvent> {
        let first = Self::new().sample(&[0, 1], "a_leaf a main").go("a main").go("main").go("b main");
        let first = first.go("b_leaf b main").write().end(&["a_leaf", "a", "main"], 0);
        first.sample(&[0], "b_leaf b main").end(B_UNDER_A, 2).events()
    }

    pub fn events(self) -> Vec<StepEvent> {
        self.events
    }

    /// The target does a step, after which it has this stack (leaf first).
    pub fn go(mut self, stack: &str) -> Self {
        let chain = chain(stack);
        let leaf = chain.first().map_or(0, |standing| standing.address);
        self.events.extend([StepEvent::Step(ThreadWord::CurrentFrame, leaf), StepEvent::Truth(chain)]);
        self
    }

    /// Adds what happens before the next sample, and the actor that takes it.
    pub fn turn(mut self, cast: &ProfilerScript) -> Self {
        let turn = cast.turn(self.sample);
        self.events.extend(turn.before.into_iter().map(|one| StepEvent::Happened(one, 0)));
        self.events.push(StepEvent::NextIs(turn.by));
        self
    }

    /// Begins a sample while the target has this stack. It reads the thread state (0), a chunk (1), a frame (2).
    pub fn sample(mut self, reads: &[u32], stack: &str) -> Self {
        if !self.begun {
            self.events.push(StepEvent::Truth(chain(stack)));
            self.begun = true;
        }
        self.access = 0;
        self.events.push(StepEvent::Sample(self.sample));
        for &read in reads {
            self = match read {
                0 => self.read_thread_state(chain(stack).first().map_or(0, |standing| standing.address)),
                1 => self.access(AccessKind::ReadChunk, vec![AccessedValue::Chunk(0x1000, 0x2000)]),
                _ => self.read_frame(1),
            };
        }
        self
    }

    fn read_thread_state(self, leaf: u64) -> Self {
        let words = [(ThreadWord::CurrentFrame, leaf), (ThreadWord::Anchor, 0), (ThreadWord::Sequence, 0)];
        let shown = words.map(|(word, value)| AccessedValue::Thread(word, value)).to_vec();
        self.access(AccessKind::ReadThreadState, shown)
    }

    /// The sample reads the frame at this depth.
    pub fn read_frame(self, depth: u64) -> Self {
        self.access(AccessKind::ReadFrame, vec![AccessedValue::Frame(0x1000 + 0x40 * depth)])
    }

    /// The sample writes the anchor for the current frame that it read.
    pub fn write(self) -> Self {
        let current = self.events.iter().rev().find_map(|event| match event {
            StepEvent::Access(Access { shown, .. }) => shown.iter().find_map(|shown| match shown {
                AccessedValue::Thread(ThreadWord::CurrentFrame, value) => Some(*value),
                _ => None,
            }),
            _ => None,
        });
        let shown = vec![AccessedValue::Thread(ThreadWord::Anchor, current.unwrap_or(0))];
        self.access(AccessKind::WriteAnchor, shown)
    }

    fn access(mut self, kind: AccessKind, shown: Vec<AccessedValue>) -> Self {
        let at = Some(Point { sample: self.sample, access: self.access, word: 0 });
        self.access += 1;
        self.events.push(StepEvent::Access(Access { at, kind, shown }));
        self
    }

    /// Ends the sample with this stack, of which `from_cache` frames come from the cache.
    pub fn end(mut self, stack: &[&str], from_cache: usize) -> Self {
        let lookup = if from_cache > 0 { Lookup::FullHit } else { Lookup::Miss(MissReason::AnchorNull) };
        let result = ThreadSample {
            native_thread_id: 1,
            outcome: Ok(stack.iter().map(|name| frame(name)).collect()),
            provenance: Provenance { lookup, from_cache },
        };
        self.events.push(StepEvent::Result(self.sample, result));
        self.sample += 1;
        self
    }
}

/// A stack from its function names, leaf first.
pub fn stack(names: &str) -> Stack {
    names.split_whitespace().map(frame).collect()
}

/// The function names of a stack.
pub fn names(stack: &[Frame]) -> String {
    stack.iter().map(|frame| &*frame.function).collect::<Vec<_>>().join(" ")
}

fn frame(name: &str) -> Frame {
    Frame { function: name.into(), file: "workload.py".into(), location: Location { line: Some(1), ..<_>::default() } }
}

fn chain(names: &str) -> Vec<ChainFrame> {
    let frames: Vec<&str> = names.split_whitespace().collect();
    let address = |index: usize| 0x1000 + 0x40 * (frames.len() - 1 - index) as u64;
    let standing = |(index, name): (usize, &&str)| ChainFrame { address: address(index), frame: Some(frame(name)) };
    frames.iter().enumerate().map(standing).chain([ChainFrame { address: 0x800, frame: None }]).collect()
}
