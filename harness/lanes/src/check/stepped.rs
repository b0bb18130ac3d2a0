//! The stepped lane of `check`: CPython's own cached unwinder on schedules whose outcome on released builds is known.
//!
//! Each program first runs its kept schedules, on which no released build returned a wrong stack. Then it runs randomly
//! drawn ones, within bounds in which every failure of released builds is known (see [`sim::case::kept`]). The order
//! depends on the seed alone, so the same seed runs the same schedules on every machine. How many run depends on the
//! number that the user set, or else on time.
//!
//! A kept schedule that fails is a new failure, whatever it looks like, as long as the accesses up to its last move are
//! those recorded with it. With other accesses it is a different schedule, and is judged like a drawn one. If the
//! program has other steps than on the released builds, because the run mode adds frames of its own, the kept data does
//! not apply. Then a known failure of any schedule is an excuse, and there is no limit on the accesses of a sample.
//!
//! Each sample is also judged by its accesses to the target's memory: see [`model::schedule::cost`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use framewalk::sample::WalkerKind;
use model::invariants::Violation;
use model::oracle::attribution::cause_of;
use model::run::cell::{CellOutcome, Inconclusive};
use model::run::finding::Possible;
use model::run::known::{Excess, KnownFailure, KnownMatch};
use model::run::phases::Phase;
use model::run::schedules::ScheduleId;
use model::schedule::cost::faults;
use model::schedule::random::{Random, RandomBounds};
use model::schedule::replay::ScheduleReplay;
use model::schedule::trace::Trace;
use model::schedule::{AccessKind, Scheduler};
use model::workload::{Mode, Workload, generate};
use process::trace::TraceError;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sim::case::kept::{DRAWN, Drawn, KeptProgram, KeptSchedule, KeptSchedules, still};
use sim::case::stepped::{BuildIdentity, SteppedCase, WorkloadIdentity};

use crate::cell::{Cell, CellError, PATIENCE};
use crate::explore::failures::Failing;
use crate::explore::place::{identity, movement};
use crate::explore::search::SearchTally;
use crate::recorder::{CellRecorder, Evidence};
use crate::stepped::{Rig, RigError, RigPlan, SteppedRun, SteppedSample, WARM_UP_WITHOUT_JIT};

/// The walker under test.
pub const WALKER: WalkerKind = WalkerKind::CpythonCached;
/// The minimum number of schedules, however short the time: fewer do not reach every outcome of the cache.
const FEWEST: u32 = 30;
/// After this many deaths and hangs the cell ends: more would show nothing new.
const MOST_DEATHS: u32 = 10;
/// How often a failed kept schedule runs again before it alone counts against the build.
const AGAIN: u32 = 2;

/// Runs the cell: the kept schedules of its program, if it has any, then drawn ones.
pub fn run(cell: &Cell<'_>, recorder: &mut CellRecorder<'_>) -> CellOutcome {
    match Lane::run(cell, recorder) {
        Ok(()) => cell.ended_early().unwrap_or(CellOutcome::Ran),
        Err(cut) => cut.into(),
    }
}

struct Lane<'a, 'r, 'e> {
    cell: &'a Cell<'a>,
    recorder: &'r mut CellRecorder<'e>,
    rig: Rig,
    build: BuildIdentity,
    workload: WorkloadIdentity,
    /// Whether the target's rounds have the stores for which schedules are kept.
    is_kept: bool,
    /// What released builds were seen to do. `None` if the kept data does not apply to this target.
    seen: Option<KeptProgram>,
    done: u32,
    /// How many more deaths or hangs of the unwinder are allowed.
    deaths_left: u32,
    /// The results of the drawn schedules.
    drawn: SearchTally,
    /// The known failures among the drawn schedules, by id, and how often each occurred.
    excused: BTreeMap<&'a str, (&'a KnownFailure, u64)>,
}

/// What a run of a schedule is judged by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise<'a> {
    /// With exactly these accesses, it does not fail.
    Kept(&'a Trace),
    /// It shows only known failures.
    Drawn,
}

impl<'a, 'r, 'e> Lane<'a, 'r, 'e> {
    fn run(cell: &'a Cell<'a>, recorder: &'r mut CellRecorder<'e>) -> Result<(), CellError> {
        let kept =
            KeptSchedules::kept().map_err(|error| CellError::SetUp(format!("the list of schedules: {error}")))?;
        let program = kept.program(cell.family);
        let program = program.ok_or_else(|| CellError::SetUp(format!("no schedules are kept for {}", cell.family)))?;
        let identity_of = &program.workload;
        let workload = identity_of.generate().map_err(|error| CellError::SetUp(error.to_string()))?;
        recorder.runs(&workload.source);
        let (rig, at_stores) = launch(cell, workload)?;
        recorder.end_of(Phase::Starting);
        let workload = WorkloadIdentity::of(rig.workload());
        let is_kept = rig.steps_of_rounds().iter().all(|&steps| steps == program.steps);
        // What is kept was recorded with the default options.
        let seen = (is_kept && cell.id.configuration.is_default()).then(|| program.clone());
        let mut lane = Self {
            cell,
            recorder,
            rig,
            build: identity(cell.row),
            workload,
            is_kept,
            seen,
            done: 0,
            deaths_left: MOST_DEATHS,
            drawn: SearchTally::default(),
            excused: BTreeMap::new(),
        };
        let mut order: Vec<KeptSchedule<'_>> = program.schedules().filter(|_| at_stores && cell.is_first).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(cell.id.seed));
        for one in order {
            if lane.is_over() {
                break;
            }
            lane.kept(&one)?;
        }
        lane.drawn(at_stores)?;
        let Self { done, .. } = lane;
        if !at_stores && !cell.is_over() {
            let why = format!(
                "this machine has no hardware watchpoints, so the target moved from gate to gate, and only between \
                 samples: {done} schedules ran this way, none of them a kept one, and no move inside a sample was \
                 tested"
            );
            return Err(Inconclusive::NothingCompared(why).into());
        }
        match cell.schedules {
            Some(wanted) if done < wanted && !cell.is_over() => Err(Inconclusive::Deadline(format!(
                "the budget ended after {done} of {wanted} schedules; give a longer --budget"
            ))
            .into()),
            _ => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        let enough = match self.cell.schedules {
            Some(wanted) => self.done >= wanted || Instant::now() >= self.cell.deadline,
            None => self.done >= FEWEST && Instant::now() >= self.cell.deadline,
        };
        enough || self.cell.is_over()
    }

    fn kept(&mut self, one: &KeptSchedule<'_>) -> Result<(), CellError> {
        self.rig.stage(one.cast, still(one.schedule));
        let mut replay = ScheduleReplay::new(one.schedule.clone(), 1);
        replay.begin();
        let Some(run) = self.take(one.samples, &mut replay)? else { return Ok(()) };
        let fits = self.is_kept && replay.fit().is_ok() && Trace::of(one.schedule, &run.ran.points) == *one.trace;
        self.recorder.scheduled(WALKER, !fits);
        if Failing::of(&run).is_none() {
            self.recorder.passed_schedule(WALKER, identity_of(&run, one.samples));
            return Ok(());
        }
        let mut promise = Promise::Kept(one.trace);
        for _ in 0..AGAIN {
            let mut replay = ScheduleReplay::new(one.schedule.clone(), 1);
            replay.begin();
            let again = self.take(one.samples, &mut replay)?;
            if again.is_none_or(|again| Failing::of(&again).is_none()) {
                promise = Promise::Drawn;
            }
        }
        self.judge(&run, one.samples, promise);
        Ok(())
    }

    /// Draws schedules from all bounds in turn until the cell is over.
    fn drawn(&mut self, at_stores: bool) -> Result<(), CellError> {
        // Without watchpoints, a step runs up to the next gate, and the target must not move during a sample.
        let stands = |drawn: &Drawn| if at_stores { drawn.still() } else { AccessKind::ALL.into() };
        let mut sources: Vec<(&Drawn, Random)> = DRAWN
            .iter()
            .map(|drawn| {
                let bounds = RandomBounds { moves: drawn.moves, steps: drawn.steps };
                (drawn, Random::new(self.cell.id.seed, u64::MAX, bounds))
            })
            .collect();
        while !self.is_over() {
            for (drawn, random) in &mut sources {
                if self.is_over() || !random.begin() {
                    break;
                }
                self.rig.stage(&drawn.cast(), stands(drawn));
                let Some(run) = self.take(drawn.samples, random)? else { continue };
                self.recorder.scheduled(WALKER, false);
                self.drawn.add(&run);
                self.judge(&run, drawn.samples, Promise::Drawn);
            }
        }
        self.judge_shares();
        Ok(())
    }

    /// Reports known failures and rejections that the drawn schedules showed more often than any released build did.
    fn judge_shares(&mut self) {
        let Lane { cell, drawn, excused, recorder, .. } = self;
        let failed = excused.values().map(|&(entry, failed)| {
            (format!("schedules that fail as {}", entry.id), entry.exceeded_by(failed, drawn.schedules))
        });
        let rejected = drawn.leaves.iter().map(|(&leaf, leaves)| {
            let beyond = cell.known.rejected_beyond(leaf, leaves.rejected, leaves.samples);
            (format!("rejections at a {leaf} leaf"), beyond)
        });
        for (what, excess) in failed.chain(rejected) {
            if let Some(Excess { at_least, most }) = excess {
                recorder.violation(WALKER, Violation::MoreThanReleased { what, at_least, most }, Evidence::default());
            }
        }
    }

    /// Runs a schedule. If the unwinder dies or hangs, reports that and starts a new rig for the next schedule.
    fn take(&mut self, samples: u32, scheduler: &mut dyn Scheduler) -> Result<Option<SteppedRun>, CellError> {
        let begun = Instant::now();
        self.done += 1;
        let run = match self.rig.run(samples, scheduler) {
            Ok(run) => run,
            Err(error) => {
                let Some(violation) = error.unwinder_violation() else { return Err(error.into()) };
                self.recorder.violation(WALKER, violation, Evidence::default());
                self.deaths_left = self.deaths_left.saturating_sub(1);
                if self.deaths_left == 0 {
                    return Err(error.into());
                }
                let workload = self.rig.workload().clone();
                (self.rig, _) = launch(self.cell, workload)?;
                return Ok(None);
            }
        };
        for sample in &run.samples {
            self.recorder.count(WALKER, &sample.sample);
            self.judge_cost(sample);
        }
        self.recorder.spent(WALKER, begun.elapsed());
        self.recorder.end_of(Phase::Scheduling);
        Ok(Some(run))
    }

    /// Reports accesses to the target's memory that a sample should not have made. A sample with a wrong stack is
    /// skipped.
    fn judge_cost(&mut self, sample: &SteppedSample) {
        if sample.wrong.is_some() {
            return;
        }
        let answered = sample.answered();
        for fault in faults(&answered, self.seen.as_ref().map(|program| &program.costs)) {
            let violation = Violation::Cost { answer: answered.answer, fault };
            let seen = sample.sample.outcome.as_deref().unwrap_or_default();
            self.recorder.violation(WALKER, violation, Evidence { seen, ..Evidence::default() });
        }
    }

    /// Reports the first failure of a run in this many samples, if there is one. Later failures may be its consequences.
    fn judge(&mut self, run: &SteppedRun, samples: u32, promise: Promise<'_>) {
        let id = identity_of(run, samples);
        let (Some(failing), Some((number, wrong))) = (Failing::of(run), run.first_wrong()) else {
            return self.recorder.passed_schedule(WALKER, id);
        };
        let Some(sample) = run.samples.get(number) else { return };
        let kept = match promise {
            Promise::Kept(trace) => self.seen.is_some() && Trace::of(&run.ran.schedule, &run.ran.points) == *trace,
            Promise::Drawn => false,
        };
        let cause = cause_of(sample.sample.provenance);
        self.recorder.impossible(WALKER, cause);
        let seen = self.seen.as_ref().is_none_or(|program| program.seen.contains(&failing.fingerprint));
        let nearest = wrong.difference.and_then(|difference| sample.moments.get(difference.nearest));
        let evidence = Evidence {
            cause: Some(cause),
            seen: sample.sample.outcome.as_deref().unwrap_or_default(),
            possible: nearest.map(|moment| Possible::Stack(moment.stack.to_vec())),
            before: &[],
        };
        let case = SteppedCase {
            build: self.build.clone(),
            workload: self.workload.clone(),
            walker: WALKER,
            weakenings: BTreeSet::new(),
            configuration: self.cell.id.configuration,
            cast: run.cast.clone(),
            samples: failing.samples,
            tearing: false,
            loads: false,
            schedule: failing.schedule,
            fingerprint: failing.fingerprint.clone(),
        };
        if promise == Promise::Drawn {
            let Cell { known, row, family, .. } = *self.cell;
            let entry = known.find_stepped(&failing.fingerprint, &row.build.full_version(), family);
            if let Some(KnownMatch { entry, .. }) = entry {
                self.excused.entry(&entry.id).or_insert((entry, 0)).1 += 1;
            }
        }
        let case = case.to_string();
        let violation = Violation::Existence {
            fingerprint: failing.fingerprint,
            case: case.clone(),
            index: wrong.difference.map(|difference| difference.index),
            kept,
            seen,
        };
        self.recorder.failed_schedule(WALKER, id, case, violation, evidence);
    }
}

/// The identity of the schedule of a run in this many samples.
fn identity_of(run: &SteppedRun, samples: u32) -> ScheduleId {
    ScheduleId::new(&run.cast, samples, &run.ran.schedule, &Trace::of(&run.ran.schedule, &run.ran.points))
}

/// Starts a rig on the cell's program, and returns whether its target moves store by store. Without watchpoints, it
/// moves from gate to gate.
fn launch(cell: &Cell<'_>, workload: Workload) -> Result<(Rig, bool), CellError> {
    let plan = RigPlan {
        jit: cell.jit(),
        warm_up: if cell.jit() == Some(true) {
            RigPlan::new(&cell.row.build, WALKER).warm_up
        } else {
            WARM_UP_WITHOUT_JIT
        },
        patience: PATIENCE,
        limit: Some(cell.limit),
        configuration: cell.id.configuration,
        folder: cell.folder.to_owned(),
        ..RigPlan::new(&cell.row.build, WALKER)
    };
    let gated = generate(workload.family, Mode::GatedRounds, &workload.parameters, workload.seed);
    match Rig::launch(plan.clone(), workload) {
        Ok(rig) => Ok((rig, true)),
        Err(RigError::Trace(TraceError::NoWatchpoints { .. })) => {
            let plan = RigPlan { movement: movement(Mode::GatedRounds), ..plan };
            Ok((Rig::launch(plan, gated)?, false))
        }
        Err(error) => Err(error.into()),
    }
}

impl From<RigError> for CellError {
    fn from(error: RigError) -> Self {
        let text = error.to_string();
        match error {
            RigError::Launch(error) => error.into(),
            RigError::Trace(error) => error.into(),
            RigError::Unwinder(error) => error.into(),
            RigError::Gate(error) => error.into(),
            RigError::Ended(_) => Inconclusive::TargetEnded(text).into(),
            RigError::Threads(_)
            | RigError::NoRounds
            | RigError::Site(_)
            | RigError::Unsupported(_)
            | RigError::NoActor(_)
            | RigError::System { .. } => Self::SetUp(text),
            RigError::NotRepeatable { .. }
            | RigError::NoThread(_)
            | RigError::Truth(_)
            | RigError::Memory(_)
            | RigError::Access(_) => Inconclusive::Unreadable(text).into(),
        }
    }
}
