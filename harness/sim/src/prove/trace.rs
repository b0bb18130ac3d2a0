//! How a state was reached. The events form a tree, which is kept while the shortest counterexample is searched.

use crate::map::Word;
use crate::prove::graph::Config;

/// The last event that led to a state.
pub type TraceId = u32;

/// No event yet, or events are not kept.
pub const NO_TRACE: TraceId = TraceId::MAX;

/// An event of a search: an access, or the beginning or end of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofEvent {
    /// The search began in this state of the interpreter.
    Begin {
        /// The state in which the search began.
        config: Config,
    },
    /// The interpreter performed one access.
    Step {
        /// The state before the access.
        before: Config,
        /// Index of the edge that was taken.
        edge: u8,
    },
    /// Another profiler anchored a thread's current frame.
    OtherProfiler {
        /// Index of the thread.
        thread: usize,
    },
    /// The walker began a sample.
    Sample {
        /// Index of the sampled thread; `None` for all threads.
        thread: Option<usize>,
    },
    /// The walker read a word.
    Read {
        /// The word that is accessed.
        word: Word,
        /// The value that the walker read.
        value: u64,
    },
    /// The walker wrote a word.
    Write {
        /// The word that is accessed.
        word: Word,
        /// The value that the walker wrote.
        value: u64,
        /// How many of the thread's next comparisons had loaded the anchor before.
        loaded_before: u8,
    },
    /// The walker ended its sample.
    Result {
        /// Index into the search's results.
        index: u32,
    },
}

/// A tree of events, or nothing if events are not kept.
#[derive(Debug, Default)]
pub struct ProofTrace {
    events: Option<Vec<(TraceId, ProofEvent)>>,
}

impl ProofTrace {
    /// An empty tree that keeps events.
    #[must_use]
    pub fn kept() -> Self {
        Self { events: Some(Vec::new()) }
    }

    /// Whether events are kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.events.is_some()
    }

    /// Adds an event after the event `after`. Returns its id.
    pub fn push(&mut self, after: TraceId, event: ProofEvent) -> TraceId {
        let Some(events) = &mut self.events else { return NO_TRACE };
        let id = TraceId::try_from(events.len()).unwrap_or(NO_TRACE);
        events.push((after, event));
        id
    }

    /// How many events are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.as_ref().map_or(0, Vec::len)
    }

    /// Whether there are no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All events up to and including `last`, in order.
    #[must_use]
    pub fn path(&self, mut last: TraceId) -> Vec<ProofEvent> {
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
