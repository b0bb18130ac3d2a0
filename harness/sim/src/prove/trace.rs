//! How a state came about, kept as a tree of events while the shortest counterexample is looked for.

use crate::map::Word;
use crate::prove::graph::Config;

/// The last event that led to a state.
pub type TraceId = u32;

/// Nothing happened yet, or nothing is kept.
pub const NO_TRACE: TraceId = TraceId::MAX;

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The search began in this state of the interpreter.
    Begin {
        /// Which one.
        config: Config,
    },
    /// The interpreter did one access.
    Step {
        /// In this state.
        before: Config,
        /// Which of the edges it took.
        edge: u8,
    },
    /// Another profiler anchored a thread's current frame.
    OtherProfiler {
        /// Whose.
        thread: usize,
    },
    /// The walker began a sample.
    Sample {
        /// Of which thread; none for all of them.
        thread: Option<usize>,
    },
    /// The walker read a word.
    Read {
        /// Which one.
        word: Word,
        /// What it read.
        value: u64,
    },
    /// The walker wrote a word.
    Write {
        /// Which one.
        word: Word,
        /// What it wrote.
        value: u64,
    },
    /// The walker ended its sample.
    Result {
        /// Index into the search's results.
        index: u32,
    },
}

/// Keeps events, or drops them.
#[derive(Debug, Default)]
pub struct Trace {
    events: Option<Vec<(TraceId, Event)>>,
}

impl Trace {
    /// One that keeps events.
    #[must_use]
    pub fn kept() -> Self {
        Self { events: Some(Vec::new()) }
    }

    /// Whether events are kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.events.is_some()
    }

    /// Adds an event after another.
    pub fn push(&mut self, after: TraceId, event: Event) -> TraceId {
        let Some(events) = &mut self.events else { return NO_TRACE };
        let id = TraceId::try_from(events.len()).unwrap_or(NO_TRACE);
        events.push((after, event));
        id
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.as_ref().map_or(0, Vec::len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All events up to one, in order.
    #[must_use]
    pub fn path(&self, mut last: TraceId) -> Vec<Event> {
        let mut path = Vec::new();
        while let Some(&(before, event)) =
            self.events.as_ref().and_then(|events| events.get(usize::try_from(last).ok()?))
        {
            path.push(event);
            last = before;
        }
        path.reverse();
        path
    }
}
