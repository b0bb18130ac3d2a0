//! The rig of the stepped lane: a real target and a sampler that take turns, store by store and access by access.
//!
//! Hardware watchpoints stop the target's sampled thread after each of its stores to `current_frame`, anchor and
//! sequence. The sampler stops before each of its accesses to the target's memory. At each of these points, a
//! [`Scheduler`] decides how many stores the target does next. Between two schedules, the target runs on to the gate at
//! the start of its next round, and the walker forgets what it knows. So a schedule takes a millisecond, not the start
//! of a process.
//!
//! The truth is known: the chain of the stopped target is read after every store to `current_frame`. A sample is right
//! if it is one of the stacks that existed between its first access and its last.
//!
//! Several samplers can watch one target: a [`ProfilerScript`] says who takes each sample, and what happens to the others
//! meanwhile.
//!
//! A [`Rig`] lives on one thread of the harness. When it is dropped, nothing is left stopped, traced or running.
//!
//! # What a step does not show
//! Stores to frames, to generators and to the data stack's chunks happen between two steps, and a walker never sees the
//! states between them. A test of the command line (`stepped/store_order.rs`) records the order in which they come.

pub(crate) mod access;
pub mod accesses;
mod actors;
mod conductor;
mod cpython;
mod error;
pub mod exits;
mod memory;
mod own;
mod place;
mod possible;
mod target;
mod truth;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use framewalk::code::Lines;
use framewalk::rejection::Rejection;
use framewalk::sample::{Counters, ThreadSample, WalkerKind};
use framewalk::weakening::Weakening;
use model::invariants::{WrongStack, judge};
use model::oracle::rejections::is_documented_leaf;
use model::run::configuration::Configuration;
use model::schedule::cast::{ProfilerId, ProfilerScript};
use model::schedule::cost::{Answered, Cost};
use model::schedule::event::StepEvent;
use model::schedule::fingerprint::{LeafKind, SteppedFingerprint};
use model::schedule::shape::Shape;
use model::schedule::{AccessKind, RanSchedule, Scheduler};
use model::workload::{Mode, ROUND, Workload};
use process::build::Build;
use process::confined::has_fixed_addresses;
use process::deadline::Deadline;
use process::target::Target;

use self::actors::Actors;
use self::conductor::Conductor;
pub use self::conductor::RecordOptions;
pub use self::error::RigError;
use self::place::RunKey;
use self::possible::PossibleMoments;
pub use self::target::Movement;
use self::target::SteppedTarget;
pub use self::truth::Moment;

/// Rounds after which the interpreter has specialised, and compiled, all that it will. It compiles a loop after some
/// 4000 iterations (`JUMP_BACKWARD_INITIAL_VALUE`).
const WARM_UP: usize = 6000;
/// The same if nothing is compiled.
pub const WARM_UP_WITHOUT_JIT: usize = 300;

/// How to set up a rig.
#[derive(Clone, Debug)]
pub struct RigPlan {
    /// The interpreter of the target and of its sampler.
    pub build: Arc<Build>,
    /// The target's run mode; `None` leaves it to the build.
    pub jit: Option<bool>,
    /// The kind of walker that samples.
    pub walker: WalkerKind,
    /// How many samplers there are, and who takes which sample.
    pub cast: ProfilerScript,
    /// Faults put into our own cached walkers.
    pub weakenings: BTreeSet<Weakening>,
    /// The options of CPython's unwinders.
    pub configuration: Configuration,
    /// The meaning of one step of the target.
    pub movement: Movement,
    /// Whether the target may move between two words of a read.
    pub tearing: bool,
    /// The kinds of access before and during which the target does not move, except at the start of a sample. A failure
    /// that goes away when a kind is added here needs a move there.
    pub still: BTreeSet<AccessKind>,
    /// What to keep of each run.
    pub keeping: RecordOptions,
    /// Rounds that the target runs before the first schedule. After them, specialised and compiled code no longer
    /// changes.
    pub warm_up: usize,
    /// Whether a seccomp filter stops CPython's unwinder at its accesses, if the kernel allows it. Otherwise the
    /// unwinder stops at all of its system calls.
    pub filter: bool,
    /// How long the target may run without a store, or wait in a system call.
    pub patience: Duration,
    /// When processes must have started, however slow they are. If `None`, only `patience` limits the start.
    pub limit: Option<Instant>,
    /// The folder for the target's file.
    pub folder: PathBuf,
}

impl RigPlan {
    /// The deadline for a process that starts now.
    fn deadline(&self) -> Deadline {
        let hangs = Deadline::interruptible(self.patience);
        self.limit.map_or(hangs, |limit| hangs.within(limit))
    }

    /// A plan for `walker` on `build` that keeps nothing and tears nothing.
    #[must_use]
    pub fn new(build: &Build, walker: WalkerKind) -> Self {
        Self {
            build: Arc::new(build.clone()),
            jit: None,
            walker,
            cast: ProfilerScript::default(),
            weakenings: BTreeSet::new(),
            configuration: Configuration::default(),
            movement: Movement::Stores,
            tearing: false,
            still: BTreeSet::new(),
            keeping: RecordOptions { history: false, digests: false },
            warm_up: WARM_UP,
            filter: true,
            patience: Duration::from_secs(20),
            limit: None,
            folder: process::run_folder::temporary(),
        }
    }
}

/// A sample with its verdict.
#[derive(Clone, Debug)]
pub struct SteppedSample {
    /// The actor that took it.
    pub by: ProfilerId,
    /// What the walker returned for the sampled thread.
    pub sample: ThreadSample,
    /// The counters of CPython's unwinder. `None` for our own walkers.
    pub counters: Option<Counters>,
    /// What is wrong with the sample: a stack that the target did not have, or no stack although one was owed.
    pub wrong: Option<WrongStack>,
    /// The accesses of CPython's unwinder. Empty for our own walkers.
    pub cost: Cost,
    /// Whether it is the first sample of its unwinder.
    pub is_first: bool,
    /// Whether the target stood still from the first access to the last.
    pub at_rest: bool,
    /// The stacks that existed between the first access and the last, in order.
    pub moments: Vec<Arc<Moment>>,
}

/// The result of one schedule.
#[derive(Clone, Debug)]
pub struct SteppedRun {
    /// The kind of walker that sampled.
    pub walker: WalkerKind,
    /// Who took which sample.
    pub cast: ProfilerScript,
    /// The samples, in order.
    pub samples: Vec<SteppedSample>,
    /// The events, in order. Empty unless the history is kept.
    pub history: Vec<StepEvent>,
    /// The moves, points and digests, as reported to the scheduler.
    pub ran: RanSchedule,
}

impl SteppedSample {
    /// Whether it is a stack that the target had between the sample's first access and its last.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.wrong.is_none() && self.sample.outcome.is_ok()
    }

    /// The facts by which its cost is judged.
    #[must_use]
    pub fn answered(&self) -> Answered<'_> {
        Answered {
            answer: self.sample.provenance.lookup.into(),
            gave_a_stack: self.sample.outcome.is_ok(),
            from_cache: self.sample.provenance.from_cache,
            is_first: self.is_first,
            at_rest: self.at_rest,
            chain: self.moments.first().map_or(&[], |moment| &moment.chain),
            cost: &self.cost,
        }
    }
}

impl SteppedRun {
    /// The first wrong sample, with its number.
    #[must_use]
    pub fn first_wrong(&self) -> Option<(usize, &WrongStack)> {
        self.samples.iter().enumerate().find_map(|(number, sample)| Some((number, sample.wrong.as_ref()?)))
    }

    /// The fingerprint of the failure in the sample with that number. `None` if that sample did not fail.
    #[must_use]
    pub fn fingerprint(&self, number: usize) -> Option<SteppedFingerprint> {
        let sample = self.samples.get(number)?;
        let wrong = sample.wrong.as_ref()?;
        Some(SteppedFingerprint {
            walker: self.walker,
            cast: self.cast.clone(),
            fault: wrong.fault,
            answer: sample.sample.provenance.lookup.into(),
            leaf: sample.moments.first().map_or(LeafKind::Function, |moment| moment.leaf),
            shape: Shape::of(&self.ran.schedule, &self.ran.points),
        })
    }
}

/// A target and its samplers; see the module.
pub struct Rig {
    actors: Actors,
    target: SteppedTarget,
    workload: Workload,
    plan: RigPlan,
    steps: Vec<usize>,
    /// Dropped after all other fields.
    place: RunKey,
}

impl Rig {
    /// Starts a target on `workload`, which must have rounds, and a sampler. The target then waits at the start of a
    /// round.
    ///
    /// # Errors
    /// See [`RigError`].
    pub fn launch(plan: RigPlan, workload: Workload) -> Result<Self, RigError> {
        if workload.threads > 1 {
            return Err(RigError::Threads(workload.family));
        }
        if !matches!(workload.mode, Mode::Rounds | Mode::GatedRounds) {
            return Err(RigError::NoRounds);
        }
        let place = RunKey::take()?;
        let deadline = plan.deadline();
        let mut target =
            Target::launch_repeatable(plan.build.interpreter(), plan.jit, &workload.source, &plan.folder, deadline)?;
        place.put(target.pid())?;
        target.start(deadline)?;
        target.next_gate(deadline)?;
        let mut gate = target.pass_gates(plan.warm_up, deadline)?;
        while gate.context != ROUND {
            target.go(deadline)?;
            gate = target.next_gate(deadline)?;
        }
        let site = plan.build.site(target.pid())?;
        let actors = Actors::start(&plan, site, &place)?;
        let mut target = SteppedTarget::new(target, gate, site, plan.movement, plan.patience)?;
        let steps = target.calibrate()?;
        Ok(Self { actors, target, workload, plan, steps, place })
    }

    /// From the next schedule on, `cast` takes the samples, and the target does not move before accesses of the kinds
    /// in `still`.
    pub fn stage(&mut self, cast: &ProfilerScript, still: BTreeSet<AccessKind>) {
        if self.plan.cast != *cast {
            self.actors.recast(cast.clone());
            self.plan.cast = cast.clone();
        }
        self.plan.still = still;
    }

    /// The pid of the target.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.target.pid()
    }

    /// The workload that the target runs.
    #[must_use]
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The plan that the rig follows.
    #[must_use]
    pub fn plan(&self) -> &RigPlan {
        &self.plan
    }

    /// The number of steps in each of the target's rounds while its anchor is NULL. After these rounds, everything is
    /// at the same addresses again. Every schedule starts with the first of them.
    #[must_use]
    pub fn steps_of_rounds(&self) -> &[usize] {
        &self.steps
    }

    /// The sampler processes that run now. Empty for our own walkers.
    #[must_use]
    pub fn sampler_pids(&self) -> Vec<i32> {
        self.actors.pids()
    }

    /// Whether the target has the same addresses in every process. A kernel or container can prevent that.
    #[must_use]
    pub fn has_fixed_addresses(&self) -> bool {
        has_fixed_addresses(self.pid())
    }

    /// Whether a seccomp filter stops CPython's unwinder only at its accesses. Without it, the unwinder stops at all of
    /// its system calls, which is slower. `None` for our own walkers.
    #[must_use]
    pub fn is_filtered(&self) -> Option<bool> {
        self.actors.is_filtered()
    }

    /// Runs one schedule, which `scheduler` has begun, with `samples` samples. Reports to the scheduler how it ran,
    /// even if it ended early.
    ///
    /// # Errors
    /// See [`RigError`]. The rig may then be unusable.
    pub fn run(&mut self, samples: u32, scheduler: &mut dyn Scheduler) -> Result<SteppedRun, RigError> {
        self.target.rewind()?;
        let mut conductor = Conductor::new(&mut self.target, &mut *scheduler, &self.plan)?;
        let taken = take(&mut self.actors, &self.place, &mut conductor, samples, &self.workload, self.plan.walker);
        let (ran, history) = conductor.finish();
        scheduler.end(&ran);
        let (walker, cast) = (self.plan.walker, self.plan.cast.clone());
        Ok(SteppedRun { walker, cast, samples: taken?, history, ran })
    }
}

/// Whether CPython's unwinder must return a stack of a target that stands still, and may not reject it with this error.
/// It rejects threads that are between C and Python (gh-157605), with the error that is documented for that, and
/// nothing else. Rejections of our own walkers are not judged here.
fn owes_a_stack(walker: WalkerKind, rejection: &Rejection, moments: &[Arc<Moment>]) -> bool {
    walker.is_cpythons() && !moments.iter().any(|moment| is_documented_leaf(rejection, moment.leaf))
}

fn take(
    actors: &mut Actors,
    place: &RunKey,
    conductor: &mut Conductor<'_>,
    samples: u32,
    workload: &Workload,
    walker: WalkerKind,
) -> Result<Vec<SteppedSample>, RigError> {
    actors.begin(place, conductor)?;
    let mut taken = Vec::new();
    for number in 0..samples {
        let by = actors.turn(number, place, conductor)?;
        conductor.begin_sample(number);
        let is_first = actors.is_fresh(by)?;
        let (sample, counters) = actors.sample(by, conductor)?;
        let (cost, at_rest) = (conductor.take_cost(), conductor.stood_still());
        let moments = conductor.end_sample(&sample);
        let possible = PossibleMoments { moments: &moments, grammar: &workload.grammar };
        let wrong = match &sample.outcome {
            Ok(stack) => judge(stack, &possible, sample.provenance).err(),
            Err(rejection) => (at_rest && owes_a_stack(walker, rejection, &moments)).then_some(WrongStack::REJECTED),
        };
        taken.push(SteppedSample { by, sample, counters, wrong, cost, is_first, at_rest, moments });
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states of a target that stands still with such a leaf.
    fn at_rest(leaf: LeafKind) -> [Arc<Moment>; 1] {
        [Arc::new(Moment { chain: Vec::new(), stack: [].into_iter().collect(), leaf_lines: Lines::default(), leaf })]
    }

    #[test]
    fn an_unwinder_may_refuse_a_thread_between_c_and_python_with_the_documented_error_only() {
        let documented = Rejection::Raised("RuntimeError: Failed to parse initial frame in chain".into());
        let others = ["MemoryError: Failed to parse initial frame in chain", "RuntimeError", "OSError: gone"];
        let others = others.map(|text| Rejection::Raised(text.into())).into_iter().chain([Rejection::Empty]);
        for walker in [WalkerKind::CpythonCached, WalkerKind::CpythonUncached] {
            assert!(!owes_a_stack(walker, &documented, &at_rest(LeafKind::Shim)));
            for other in others.clone() {
                assert!(owes_a_stack(walker, &other, &at_rest(LeafKind::Shim)), "{other:?}");
            }
            for leaf in LeafKind::ALL.into_iter().filter(|&leaf| leaf != LeafKind::Shim) {
                assert!(owes_a_stack(walker, &documented, &at_rest(leaf)), "{leaf:?}");
            }
        }
        assert!(!owes_a_stack(WalkerKind::OwnCached, &Rejection::Moved, &at_rest(LeafKind::Function)));
    }
}
