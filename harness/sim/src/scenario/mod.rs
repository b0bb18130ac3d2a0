//! One program, one walker, one schedule: run, judged, and noted down if somebody wants to read it.
//!
//! A right sample is a stack that its thread had at some moment between the sample's first access and its last.

mod target;

use std::collections::BTreeSet;

use framewalk::cache::{FrameCache, Limits};
use framewalk::cached::CachedWalker;
use framewalk::layout::LayoutError;
use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::reference::ReferenceWalker;
use framewalk::sample::{ThreadSample, WalkerKind};
use framewalk::walker::{CachingWalker, Site, Unsupported};
use framewalk::weakening::Weakening;
use serde::{Deserialize, Serialize};
use target::Target;
use thiserror::Error;

use crate::history::Note;
use crate::interpreter::Interpreter;
use crate::map::RUNTIME;
use crate::program::Program;
use crate::truth::Chain;
use crate::variation::Variations;

/// Which walker, and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    /// `own-cached` or `own-reference`.
    pub kind: WalkerKind,
    /// The checks that it leaves out.
    pub weakenings: BTreeSet<Weakening>,
}

/// A scenario asks for a walker that has no cache of its own.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ContenderError {
    /// Another kind of walker.
    #[error("{0} is no cached walker of this project: it is own-reference or own-cached")]
    NotCached(WalkerKind),
    /// The layout cannot be walked.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The layout cannot be walked.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl std::fmt::Display for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.kind)?;
        self.weakenings.iter().try_for_each(|weakening| write!(f, " with {weakening}"))
    }
}

impl Contender {
    /// The walker. It tries each thread once per sample: a second try is another sample.
    ///
    /// # Errors
    /// It is none of the cached ones.
    pub fn walker(&self, site: Site) -> Result<Box<dyn CachingWalker>, ContenderError> {
        match self.kind {
            WalkerKind::OwnReference => {
                Ok(Box::new(ReferenceWalker::new(site)?.weakened(self.weakenings.clone()).attempting(1)))
            }
            WalkerKind::OwnCached => Ok(Box::new(CachedWalker::new(site, self.weakenings.clone())?)),
            other @ (WalkerKind::OwnUncached | WalkerKind::CpythonUncached | WalkerKind::CpythonCached) => {
                Err(ContenderError::NotCached(other))
            }
        }
    }
}

/// How long the walker goes on, and what the interpreter does then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// From here on
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: From,
    /// so many accesses of the walker to words that change; then:
    pub accesses: u16,
    /// the interpreter goes on until the current frame has changed so often; then:
    #[serde(default, skip_serializing_if = "is_default")]
    pub frames: u8,
    /// so many accesses of the interpreter; then:
    pub stores: u16,
    /// as many more as it takes until each thread's current frame stands where it stood when the sample began; then:
    #[serde(default, skip_serializing_if = "is_default")]
    pub back: bool,
    /// another profiler anchors this thread's current frame, in no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_profiler: Option<u8>,
    /// Where the target is at rest during samples: the next leg belongs to the same sample.
    #[serde(default, skip_serializing_if = "is_default")]
    pub joined: bool,
}

/// Where the accesses of a leg are counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// The end of the leg before.
    #[default]
    LastLeg,
    /// The walker's next write.
    NextWrite,
    /// The next sample's beginning.
    NextSample,
    /// The sample's end.
    SampleEnd,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What is asked of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// The target moves between any two words that the walker reads.
    #[default]
    Moving,
    /// It stands still during samples, between operations: each sample takes one leg, and those that are joined to it.
    /// Another profiler, too, comes where it stands still.
    AtRest,
    /// It moves between the walker's reads, never inside one, and less is asked: that a stack ends at the thread's first
    /// frame; and that callers and callees belong together, if none came from the cache and all of them stand in one
    /// data-stack chunk, which is one read.
    Coarse,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the interpreter runs.
    pub program: Program,
    /// How it differs from CPython.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub variations: Variations,
    /// Who walks it.
    pub walker: Contender,
    /// What the walker's cache holds.
    pub threads_cached: u8,
    /// See [`Limits::addresses`].
    pub addresses_cached: u16,
    /// With what every thread's sequence begins.
    pub first_sequence: u64,
    /// The samples: of one thread, or of all that the interpreter's list has.
    pub samples: Vec<Option<u8>>,
    /// Before which sample the target's first thread forks. From then on the child is walked, by a walker with an empty
    /// cache that finds what others left in the anchors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forks_before: Option<u8>,
    /// When the target moves, and what is asked.
    #[serde(default)]
    pub setting: Setting,
    /// The schedule; after it the interpreter stands still.
    pub legs: Vec<Leg>,
    /// Which thread moves, and which way at a branch, wherever there is a choice; after them always the first.
    pub decisions: Vec<u8>,
}

/// The clause that broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// The thread did not have the stack that was returned at any moment of the sample.
    #[error("the thread did not have this stack at any moment of the sample")]
    NotThere,
    /// The stack does not end at the first frame of its thread.
    #[error("the stack does not end at the first frame of its thread")]
    CutShort,
    /// A frame of the stack has a caller that never calls it, and none of them came from the cache.
    #[error("a frame of the stack has a caller that never calls it")]
    Mixed,
    /// A frame left the stack while it was the anchor, and the interpreter did not move the anchor.
    #[error("a frame left the stack while it was the anchor, and the anchor was not moved")]
    AnchorNotMoved,
    /// Something else than a thread's anchor was written.
    #[error("something else than an anchor was written")]
    WroteOutside,
    /// The target was at rest and the anchor's frame is on the stack and in the entry, yet nothing came from the cache.
    #[error("the anchor's frame is on the stack and in the entry, but the sample was no hit")]
    HitMissed,
}

impl Broken {
    /// The name in tables and in saved cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotThere => "not-there",
            Self::CutShort => "cut-short",
            Self::Mixed => "mixed",
            Self::AnchorNotMoved => "anchor-not-moved",
            Self::WroteOutside => "wrote-outside",
            Self::HitMissed => "hit-missed",
        }
    }
}

/// One thread's sample, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What the walker returned.
    pub sample: ThreadSample,
    /// The stacks that were there meanwhile.
    pub possible: Vec<Chain>,
    /// What is wrong with it.
    pub broken: Option<Broken>,
}

/// A scenario that was run.
pub struct Ran {
    /// All samples in order, up to the first wrong one.
    pub samples: Vec<Judged>,
    /// The clause that broke, in the last sample or before it.
    pub broken: Option<Broken>,
    /// What happened, if it was to be noted.
    pub notes: Vec<Note>,
    /// Where names of frames are looked up.
    pub interpreter: Interpreter,
}

impl Scenario {
    /// Runs it; `noted` says whether the history is wanted.
    ///
    /// # Errors
    /// The walker is none.
    pub fn run(&self, noted: bool) -> Result<Ran, ContenderError> {
        let (interpreter, mut state) = Interpreter::start(self.program.clone(), self.variations.clone());
        for thread in 0..interpreter.map.threads() {
            let word = interpreter.map.thread_words(thread).sequence;
            state.words[usize::from(word)] = self.first_sequence;
        }
        let mut walker = self.walker.walker(Site { layout: LAYOUT, runtime: RUNTIME })?;
        let limits = Limits { threads: self.threads_cached.into(), addresses: self.addresses_cached.into() };
        walker.set_cache(FrameCache::new(limits));
        let mut target = Target::new(self, &interpreter, state, noted);
        let mut samples = Vec::new();
        for (number, &thread) in (0..).zip(&self.samples) {
            if self.forks_before == Some(number) {
                target.rest();
                target.state = interpreter.fork(&target.state, 0);
                walker.set_cache(FrameCache::new(limits));
            }
            if target.sample(walker.as_mut(), thread, &mut samples) || target.anchor_not_moved {
                break;
            }
        }
        let broken = samples.last().and_then(|last: &Judged| last.broken);
        let broken = broken.or(target.anchor_not_moved.then_some(Broken::AnchorNotMoved));
        let notes = target.notes.unwrap_or_default();
        Ok(Ran { samples, broken, notes, interpreter })
    }
}
