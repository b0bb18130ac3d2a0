//! What both interpreters tell of a run, in the same words.
//!
//! # What differs for a reason
//! - **Lines.** A line of the Python text stands for the simulated line of the same operation.
//! - **The line of the leaf before the first step.** The rig read the chain when it changed last, perhaps before `main`
//!   went on to its gate.
//! - **CPython's own words.** Its unwinder does not say why it missed or what it rejected, what it reads besides is of no
//!   account, and it decodes each frame before it goes on to the next: what it rejects, it may have walked less of.
//! - **Files.** Folders are those of the run.

use std::collections::BTreeMap;
use std::sync::Arc;

use framewalk::frame::Frame;
use framewalk::memory::Address;
use framewalk::miss::MissReason;
use framewalk::sample::{Lookup, ThreadSample, WalkerKind};
use model::schedule::event::{Access, Event, Shown, Standing, ThreadWord};
use model::schedule::{AccessKind, Point};
use sim::program::FunctionId;

/// A function and its line: none if it is on a line that no operation has.
pub(super) type Named = (Arc<str>, Option<i32>);

/// The value of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Frame(Address),
    Number(u64),
}

/// What an access read or wrote.
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

/// What a walker returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The stack, leaf first, or the name of the rejection.
    pub(super) outcome: Result<Vec<Named>, &'static str>,
    pub(super) lookup: Lookup,
    pub(super) from_cache: usize,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Sample(u32),
    Access(Point, AccessKind, Vec<Part>),
    Stored(ThreadWord, Value),
    Chain(Vec<Link>),
    Answer(Answer),
}

/// Who tells.
pub(super) enum Speaker<'a> {
    /// The real interpreter, with what each line of its program stands for.
    Real(&'a BTreeMap<u32, (FunctionId, u8)>),
    Simulated,
}

/// Tells a history.
pub(super) struct Teller<'a> {
    pub(super) speaker: Speaker<'a>,
    /// Who walks in the real run.
    pub(super) walker: WalkerKind,
}

/// The rejection of a walker that does not say why.
const REJECTED: &str = "rejected";

impl Teller<'_> {
    fn is_cpython(&self) -> bool {
        matches!(self.walker, WalkerKind::CpythonCached | WalkerKind::CpythonUncached)
    }

    /// Its history.
    pub(super) fn tell(&self, history: &[Event]) -> Vec<Told> {
        let mut told: Vec<Told> = history.iter().filter_map(|event| self.event(event)).collect();
        if let Some(Told::Chain(links)) = told.first_mut()
            && let Some(Link { named: Some((_, line)), .. }) = links.first_mut()
        {
            *line = None;
        }
        told
    }

    fn event(&self, event: &Event) -> Option<Told> {
        let value = |word: ThreadWord, value: u64| match word {
            ThreadWord::CurrentFrame | ThreadWord::Anchor => Value::Frame(value),
            ThreadWord::Sequence => Value::Number(value),
        };
        Some(match event {
            Event::Sample(number) => Told::Sample(*number),
            // What has no number is a matter of what the walker remembers of code objects.
            Event::Access(Access { at, kind, shown }) => {
                let part = |one: &Shown| match *one {
                    Shown::Thread(word, number) => Some(Part::Thread(word, value(word, number))),
                    Shown::Frame(frame) => Some(Part::Frame(frame)),
                    Shown::Previous(frame, previous) => Some(Part::Previous(frame, previous)),
                    Shown::Chunk(start, end) => Some(Part::Chunk(start, end.wrapping_sub(start))),
                    Shown::Other(_) if self.is_cpython() => None,
                    Shown::Other(_) => Some(Part::Other),
                };
                Told::Access((*at)?, *kind, shown.iter().filter_map(part).collect())
            }
            Event::Step(word, number) => Told::Stored(*word, value(*word, *number)),
            Event::Truth(chain) => {
                let link = |Standing { address, frame }: &Standing| Link {
                    address: *address,
                    named: frame.as_ref().map(|frame| self.named(frame)),
                };
                Told::Chain(chain.iter().map(link).collect())
            }
            Event::Result(_, sample) => Told::Answer(self.answer(sample)),
            // Loads are no steps here, and there is one actor.
            Event::AnchorLoaded(_) | Event::Happened(..) | Event::NextIs(_) => return None,
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

/// Leaves out what an own walker still read of a walk that CPython's rejected at once.
pub(super) fn shorten_rejected(real: &[Told], mut simulated: Vec<Told>) -> Vec<Told> {
    let answers = |told: &[Told]| -> Vec<usize> {
        (0..told.len()).filter(|&index| matches!(told.get(index), Some(Told::Answer(_)))).collect()
    };
    for (number, at) in answers(real).into_iter().enumerate() {
        let Some(&end) = answers(&simulated).get(number) else { break };
        if matches!(real.get(at), Some(Told::Answer(Answer { outcome: Err(_), .. })))
            && at < end
            && simulated.get(at..end).is_some_and(|more| more.iter().all(|told| matches!(told, Told::Access(..))))
        {
            simulated.drain(at..end);
        }
    }
    simulated
}
