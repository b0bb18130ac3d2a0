//! What both interpreters report about a run, in a common form.
//!
//! # Legitimate differences
//! - **Lines.** A line of the Python text maps to the simulated line of the same operation.
//! - **The line of the leaf before the first step.** The rig read the chain when it last changed, possibly before
//!   `main` moved on to its gate.
//! - **CPython's unwinder.** It does not report why it missed or what it rejected. Its other reads do not count. It
//!   decodes each frame before it moves on to the next, so it may have walked less of a stack that it rejects.
//! - **Files.** Their folders differ from run to run.

use std::collections::BTreeMap;
use std::sync::Arc;

use framewalk::frame::Frame;
use framewalk::memory::Address;
use framewalk::miss::MissReason;
use framewalk::sample::{Lookup, ThreadSample, WalkerKind};
use model::schedule::event::{Access, AccessedValue, ChainFrame, StepEvent, ThreadWord};
use model::schedule::{AccessKind, Point};
use sim::program::SimFunctionId;

/// A function and its line. The line is `None` if no operation has it.
pub(super) type Named = (Arc<str>, Option<i32>);

/// The value of a word: a frame's address or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Frame(Address),
    Number(u64),
}

/// A part of what an access read or wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Thread(ThreadWord, Value),
    Frame(Address),
    Previous(Address, Address),
    Chunk(Address, u64),
    Other,
}

/// A frame of the chain; shim frames and the base frame have no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) address: Address,
    pub(super) named: Option<Named>,
}

/// The result of one sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The stack, leaf first, or the name of the rejection.
    pub(super) outcome: Result<Vec<Named>, &'static str>,
    pub(super) lookup: Lookup,
    pub(super) from_cache: usize,
}

/// One entry of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoryLine {
    Sample(u32),
    Access(Point, AccessKind, Vec<Part>),
    Stored(ThreadWord, Value),
    Chain(Vec<Link>),
    Answer(Answer),
}

/// The interpreter that a history comes from.
pub(super) enum Speaker<'a> {
    /// The real interpreter, with the simulated function and line for each line of its program.
    Real(&'a BTreeMap<u32, (SimFunctionId, u8)>),
    Simulated,
}

/// Converts histories into the common form.
pub(super) struct Teller<'a> {
    pub(super) speaker: Speaker<'a>,
    /// The walker of the real run.
    pub(super) walker: WalkerKind,
}

/// Replaces the reason of a rejection where CPython's unwinder reports none.
const REJECTED: &str = "rejected";

impl Teller<'_> {
    fn is_cpython(&self) -> bool {
        self.walker.is_cpythons()
    }

    /// Converts a history of the rig into lines that both interpreters can be compared by.
    pub(super) fn lines(&self, history: &[StepEvent]) -> Vec<StoryLine> {
        let mut lines: Vec<StoryLine> = history.iter().filter_map(|event| self.event(event)).collect();
        if let Some(StoryLine::Chain(links)) = lines.first_mut()
            && let Some(Link { named: Some((_, line)), .. }) = links.first_mut()
        {
            *line = None;
        }
        lines
    }

    fn event(&self, event: &StepEvent) -> Option<StoryLine> {
        let value = |word: ThreadWord, value: u64| match word {
            ThreadWord::CurrentFrame | ThreadWord::Anchor => Value::Frame(value),
            ThreadWord::Sequence => Value::Number(value),
        };
        Some(match event {
            StepEvent::Sample(number) => StoryLine::Sample(*number),
            // Accesses without a number depend on what the walker remembers of code objects, so they are left out.
            StepEvent::Access(Access { at, kind, shown }) => {
                let part = |one: &AccessedValue| match *one {
                    AccessedValue::Thread(word, number) => Some(Part::Thread(word, value(word, number))),
                    AccessedValue::Frame(frame) => Some(Part::Frame(frame)),
                    AccessedValue::Previous(frame, previous) => Some(Part::Previous(frame, previous)),
                    AccessedValue::Chunk(start, end) => Some(Part::Chunk(start, end.wrapping_sub(start))),
                    AccessedValue::Other(_) if self.is_cpython() => None,
                    AccessedValue::Other(_) => Some(Part::Other),
                };
                StoryLine::Access((*at)?, *kind, shown.iter().filter_map(part).collect())
            }
            StepEvent::Step(word, number) => StoryLine::Stored(*word, value(*word, *number)),
            StepEvent::Truth(chain) => {
                let link = |ChainFrame { address, frame }: &ChainFrame| Link {
                    address: *address,
                    named: frame.as_ref().map(|frame| self.named(frame)),
                };
                StoryLine::Chain(chain.iter().map(link).collect())
            }
            StepEvent::Result(_, sample) => StoryLine::Answer(self.answer(sample)),
            // Loads are not steps here, and there is only one actor.
            StepEvent::AnchorLoaded(_) | StepEvent::Happened(..) | StepEvent::NextIs(_) => return None,
        })
    }

    fn named(&self, frame: &Frame) -> Named {
        let line = match self.speaker {
            Speaker::Simulated => frame.location.line,
            Speaker::Real(lines) => frame
                .location
                .line
                .and_then(|line| lines.get(&u32::try_from(line).ok()?))
                .map(|&(_, line)| i32::from(line)),
        };
        (Arc::clone(&frame.function), line)
    }

    fn answer(&self, sample: &ThreadSample) -> Answer {
        let provenance = sample.provenance;
        let outcome = match &sample.outcome {
            Err(_) if self.is_cpython() => Err(REJECTED),
            Err(rejection) => Err(rejection.name()),
            Ok(stack) => Ok(stack.iter().map(|frame| self.named(frame)).collect()),
        };
        let lookup = match provenance.lookup {
            Lookup::Miss(_) if self.is_cpython() => Lookup::Miss(MissReason::Unspecified),
            lookup => lookup,
        };
        if outcome.is_err() {
            return Answer { outcome, lookup: Lookup::Unknown, from_cache: 0 };
        }
        Answer { outcome, lookup, from_cache: provenance.from_cache }
    }
}

/// Removes the accesses that our own walker made after CPython's unwinder had already rejected the walk.
pub(super) fn shorten_rejected(real: &[StoryLine], mut simulated: Vec<StoryLine>) -> Vec<StoryLine> {
    let answers = |lines: &[StoryLine]| -> Vec<usize> {
        (0..lines.len()).filter(|&index| matches!(lines.get(index), Some(StoryLine::Answer(_)))).collect()
    };
    for (number, at) in answers(real).into_iter().enumerate() {
        let Some(&end) = answers(&simulated).get(number) else { break };
        if matches!(real.get(at), Some(StoryLine::Answer(Answer { outcome: Err(_), .. })))
            && at < end
            && simulated.get(at..end).is_some_and(|more| more.iter().all(|line| matches!(line, StoryLine::Access(..))))
        {
            simulated.drain(at..end);
        }
    }
    simulated
}
