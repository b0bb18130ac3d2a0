//! Runs one walker on one program under one schedule, judges its samples, and records a history on request.
//!
//! A sample is correct if its thread had the returned stack at some moment between the sample's first access and its
//! last.

mod target;

use std::collections::BTreeSet;

use framewalk::cache::{FrameCache, Limits};
use framewalk::layout::release_3_15_2::LAYOUT;
use framewalk::sample::ThreadSample;
use framewalk::spec::WalkerSpec;
use framewalk::walker::{CachingWalker, Site, Unsupported};
use model::invariants::SampleFault;
use serde::{Deserialize, Serialize};
use target::Target;

use crate::history::Note;
use crate::interpreter::Interpreter;
use crate::map::RUNTIME;
use crate::program::SimProgram;
use crate::truth::TrueChain;
use crate::variation::Variations;

/// Makes a walker for the simulated interpreter. It tries each thread once per sample: a second try is another sample.
pub(crate) fn single_attempt(walker: &WalkerSpec) -> Result<Box<dyn CachingWalker>, Unsupported> {
    let mut walker = walker.build_caching(Site { layout: LAYOUT, runtime: RUNTIME })?;
    walker.set_attempts(1);
    Ok(walker)
}

/// One step of a schedule: how long to wait for the walker, and what happens then, in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// Where `accesses` starts counting.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: From,
    /// Waits for this number of the walker's accesses to words that change.
    pub accesses: u16,
    /// The interpreter runs until the current frame has changed this number of times.
    #[serde(default, skip_serializing_if = "is_default")]
    pub frames: u8,
    /// The interpreter performs this number of accesses.
    pub stores: u16,
    /// The interpreter runs until each thread's current frame is the one from the beginning of the sample.
    #[serde(default, skip_serializing_if = "is_default")]
    pub back: bool,
    /// Another profiler anchors this thread's current frame, atomically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_profiler: Option<u8>,
    /// With [`Setting::AtRest`]: the next leg belongs to the same sample.
    #[serde(default, skip_serializing_if = "is_default")]
    pub joined: bool,
}

/// Where counting the accesses of a leg starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// At the end of the previous leg.
    #[default]
    LastLeg,
    /// At the walker's next write.
    NextWrite,
    /// At the beginning of the next sample.
    NextSample,
    /// At the end of the sample.
    SampleEnd,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// When the target moves, and what its samples must satisfy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// The target moves between any two words that the walker reads.
    #[default]
    Moving,
    /// The target moves only between samples and stops between operations. Each sample uses one leg and those joined to
    /// it. Another profiler also writes only where the target has stopped.
    AtRest,
    /// The target moves between the walker's reads, never inside one, and the requirements are weaker: a stack must end
    /// at the thread's first frame. Callers and callees must fit together if none came from the cache and all are in
    /// one data-stack chunk, which is one read.
    Coarse,
}

/// A program, a walker and a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The program that the interpreter runs.
    pub program: SimProgram,
    /// How the interpreter differs from CPython.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub variations: Variations,
    /// The walker that takes the samples.
    pub walker: WalkerSpec,
    /// Most threads in the walker's cache: see [`Limits::threads`].
    pub threads_cached: u8,
    /// Most addresses per entry: see [`Limits::addresses`].
    pub addresses_cached: u16,
    /// The initial sequence of every thread.
    pub first_sequence: u64,
    /// The samples: each of one thread, or of all threads in the interpreter's list.
    pub samples: Vec<Option<u8>>,
    /// Index of the sample before which the target's first thread forks. From then on the child is walked, by a walker
    /// with an empty cache. It finds anchors that others have left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forks_before: Option<u8>,
    /// When the target moves, and what its samples must satisfy.
    #[serde(default)]
    pub setting: Setting,
    /// For each write of the walker, how many of the thread's next comparisons had loaded the anchor before it. None for
    /// the writes that follow. This is what a store buffer allows: see
    /// [`Graph::loaded_before`](crate::prove::graph::Graph::loaded_before).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaded_before_writes: Vec<u8>,
    /// The schedule. After its last leg the interpreter stands still.
    pub legs: Vec<Leg>,
    /// The choices between threads that can move and between the ways at branches. When they are used up, the first one
    /// is taken.
    pub decisions: Vec<u8>,
}

/// A judged sample of one thread.
#[derive(Clone, Debug)]
pub struct JudgedSample {
    /// What the walker returned.
    pub sample: ThreadSample,
    /// The stacks that the thread had during the sample.
    pub possible: Vec<TrueChain>,
    /// How the sample is wrong.
    pub broken: Option<SampleFault>,
}

/// The result of a scenario.
pub struct RanScenario {
    /// All samples in order, up to the first wrong one.
    pub samples: Vec<JudgedSample>,
    /// What is wrong, in the last sample or before it.
    pub broken: Option<SampleFault>,
    /// The history, if it was requested.
    pub notes: Vec<Note>,
    /// The interpreter, to look up the names of frames.
    pub interpreter: Interpreter,
}

impl Scenario {
    /// Runs the scenario. `noted` requests the history.
    ///
    /// # Errors
    /// The walker cannot be made.
    pub fn run(&self, noted: bool) -> Result<RanScenario, Unsupported> {
        let (interpreter, mut state) = Interpreter::start(self.program.clone(), self.variations.clone());
        for thread in 0..interpreter.map.threads() {
            let word = interpreter.map.thread_words(thread).sequence;
            state.words[usize::from(word)] = self.first_sequence;
        }
        let mut walker = single_attempt(&self.walker)?;
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
        let broken = samples.last().and_then(|last: &JudgedSample| last.broken);
        let broken = broken.or(target.anchor_not_moved.then_some(SampleFault::AnchorNotMoved));
        let notes = target.notes.unwrap_or_default();
        Ok(RanScenario { samples, broken, notes, interpreter })
    }
}
