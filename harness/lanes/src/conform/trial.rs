//! One program on both interpreters.

use std::collections::BTreeSet;
use std::fmt;

use framewalk::layout::Layout;
use framewalk::sample::{Lookup, WalkerKind};
use framewalk::walker::Unsupported;
use framewalk::weakening::Weakening;
use model::schedule::Scheduler;
use model::schedule::event::{StepEvent, ThreadWord};
use model::schedule::random::{Random, RandomBounds};
use sim::variation::Variations;
use thiserror::Error;

use super::draw::{draw, operations};
use super::family::{ConformOperation, ProgramFamily};
use super::given::Order;
use super::pairing::Pairing;
use super::python::translate;
use super::show::side_by_side;
use super::simulated::Simulated;
use super::story::{Speaker, Teller, shorten_rejected};
use crate::stepped::{RecordOptions, Rig, RigError, RigPlan, SteppedRun, SteppedSample};

/// The random program and schedules to compare.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The family of the program.
    pub family: ProgramFamily,
    /// The seed of the program and the schedules.
    pub seed: u64,
    /// The number of schedules.
    pub schedules: u64,
    /// The number of samples in each schedule.
    pub samples: u32,
    /// The bounds of the moves in a schedule.
    pub bounds: RandomBounds,
    /// How the simulated interpreter deviates from the source: the build's own order of stores, or faults.
    pub variations: Variations,
    /// What the walker of the simulated interpreter omits.
    pub weakenings: BTreeSet<Weakening>,
}

/// Why a comparison could not be made. This proves nothing, for or against.
#[derive(Debug, Error)]
pub enum ConformError {
    /// The rig of the real interpreter failed.
    #[error(transparent)]
    Rig(#[from] RigError),
    /// The walker cannot be created.
    #[error(transparent)]
    Walker(#[from] Unsupported),
    /// The generated program has no rounds in the simulated interpreter.
    #[error("the program of family {0} and seed {1} runs no rounds in the simulated interpreter")]
    NoRounds(ProgramFamily, u64),
}

/// A difference between the two interpreters.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The schedule, or a description of what else was compared.
    pub what: String,
    /// The source of the Python program.
    pub source: String,
    /// Both histories up to the first difference, and a little further.
    pub histories: String,
}

/// Counts of what was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// The number of schedules.
    pub schedules: u64,
    /// Stores to current frame, anchor and sequence.
    pub stores: u64,
    /// The number of samples.
    pub samples: u64,
    /// Schedules that were compared only up to the point where the walker read the memory of a shim frame or generator
    /// that was gone, or where CPython's unwinder followed a loop.
    pub beyond: u64,
    /// Stores of the target to the anchor.
    pub updates: u64,
    /// Samples that were full hits.
    pub full_hits: u64,
    /// Samples that were partial hits.
    pub partial_hits: u64,
    /// Samples of cached walkers that were misses.
    pub misses: u64,
    /// Samples that were rejected.
    pub rejected: u64,
}

/// The result of a trial.
#[derive(Clone, Debug)]
pub struct Conformance {
    /// What was compared before the trial ended.
    pub compared: Compared,
    /// The operations that the program performs.
    pub operations: BTreeSet<ConformOperation>,
    /// The disagreement that ended the trial, if there was one.
    pub disagreement: Option<Disagreement>,
}

impl Trial {
    /// Compares the two interpreters. `layout` is that of the build in `plan`, and the walker of `plan` samples.
    ///
    /// # Errors
    /// See [`ConformError`].
    pub fn run(&self, plan: RigPlan, layout: &Layout) -> Result<Conformance, ConformError> {
        let program = draw(self.family, self.seed);
        let translated = translate(&program, &layout.frame, self.seed);
        let plan = RigPlan { keeping: RecordOptions { history: true, digests: false }, ..plan };
        let mut order = Order::of(&plan);
        let walker = plan.walker;
        let mut simulated = Simulated::new(&program, &self.variations, &self.weakenings)
            .ok_or(ConformError::NoRounds(self.family, self.seed))?;
        let mut rig = Rig::launch(plan, translated.workload.clone())?;
        let mut conformance =
            Conformance { compared: Compared::default(), operations: operations(&program), disagreement: None };
        let steps = BTreeSet::from_iter(rig.steps_of_rounds().iter().copied());
        if steps != BTreeSet::from([simulated.steps_of_a_round()]) {
            conformance.disagreement = Some(Disagreement {
                what: format!(
                    "the real interpreter needs {steps:?} steps for a round, but the simulated one {}",
                    simulated.steps_of_a_round()
                ),
                source: translated.workload.source,
                histories: String::new(),
            });
            return Ok(conformance);
        }
        let mut scheduler = Random::new(self.seed, self.schedules, self.bounds);
        while scheduler.begin() {
            let run = rig.run(self.samples, &mut scheduler)?;
            let given = order.learn(&run);
            let ran = simulated.run(walker, self.samples, &run.ran.schedule, given)?;
            let mut real = Teller { speaker: Speaker::Real(&translated.lines), walker }.lines(&run.history);
            let teller = Teller { speaker: Speaker::Simulated, walker };
            let mut story = teller.lines(&ran.history);
            if let Some(beyond) = ran.beyond {
                // Each event of the simulated run has exactly one entry.
                story.truncate(beyond);
                conformance.compared.beyond += 1;
            }
            let story = match walker {
                WalkerKind::CpythonCached | WalkerKind::CpythonUncached => shorten_rejected(&real, story),
                WalkerKind::OwnUncached | WalkerKind::OwnCached | WalkerKind::OwnReference => story,
            };
            if ran.beyond.is_some() {
                real.truncate(story.len());
            }
            let mut pairing = Pairing::default();
            conformance.compared.run(&run);
            let length = real.len().max(story.len());
            let parting = (0..length).find(|&index| match (real.get(index), story.get(index)) {
                (Some(real), Some(story)) => !pairing.same(real, story),
                _ => true,
            });
            if let Some(parting) = parting {
                conformance.disagreement = Some(Disagreement {
                    what: format!("schedule {}", run.ran.schedule),
                    source: translated.workload.source,
                    histories: side_by_side(&real, &story, parting),
                });
                break;
            }
        }
        Ok(conformance)
    }
}

impl Compared {
    fn run(&mut self, run: &SteppedRun) {
        self.schedules += 1;
        self.samples += run.samples.len() as u64;
        self.stores += run.ran.schedule.total_steps();
        let anchors = run.history.iter().filter(|event| matches!(event, StepEvent::Step(ThreadWord::Anchor, _)));
        self.updates += anchors.count() as u64;
        for SteppedSample { sample, .. } in &run.samples {
            let count = match (&sample.outcome, sample.provenance.lookup) {
                (Err(_), _) => &mut self.rejected,
                (Ok(_), Lookup::FullHit) => &mut self.full_hits,
                (Ok(_), Lookup::PartialHit) => &mut self.partial_hits,
                (Ok(_), Lookup::Miss(_)) => &mut self.misses,
                (Ok(_), Lookup::Uncached | Lookup::Unknown) => continue,
            };
            *count += 1;
        }
    }

    /// Adds the counts of another comparison.
    pub fn add(&mut self, other: &Self) {
        self.schedules += other.schedules;
        self.stores += other.stores;
        self.samples += other.samples;
        self.beyond += other.beyond;
        self.updates += other.updates;
        self.full_hits += other.full_hits;
        self.partial_hits += other.partial_hits;
        self.misses += other.misses;
        self.rejected += other.rejected;
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} schedules, {} stores ({} of an anchor), {} samples ({} full hits, {} partial hits, {} misses, {} \
             rejected); {} schedules only partly compared",
            self.schedules,
            self.stores,
            self.updates,
            self.samples,
            self.full_hits,
            self.partial_hits,
            self.misses,
            self.rejected,
            self.beyond
        )
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", self.source, self.what, self.histories)
    }
}
