//! Runs the cells of a plan in parallel, each for its share of the budget.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use framewalk::weakening::Weakening;
use model::digest;
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::oracle::statistics::Demand;
use model::run::bounds::RowPool;
use model::run::cell::{CellId, CellOutcome, NotRun, Row as ReportedRow};
use model::run::event::{Consumer, Event};
use model::run::finding::Finding;
use model::run::known::KnownFailures;
use model::run::part::{Part, plan_digest};
use model::schedule::shard::Shard;
use model::workload::{Family, Overrides};
use process::build::BuildVariant;

use crate::cell::{Cell, Sought};
use crate::check::plan::{PlanRequest, PlanStep, dealt, plan, required_families};
#[cfg(target_arch = "x86_64")]
use crate::check::stepped;
use crate::drivers::UnwinderPool;
use crate::recorder::CellRecorder;
use crate::{live, stopped};

/// The minimum time of a cell, however long the cells before it took to start.
const SHORTEST: Duration = Duration::from_millis(100);
/// How far these minimum times may overrun the budget, as a fraction of it. Cells that have not started by then do not
/// run.
const OVERRUN: f64 = 0.15;
/// How much longer a started cell may take. A target that is still not ready, or does not answer, is given up.
/// Including the time to end every process, a run finishes within two seconds after its overrun.
const GRACE: Duration = Duration::from_millis(1750);
/// Seconds per unit of weight in one round. A larger budget is split into several rounds with different programs.
const ROUND: f64 = 1.5;

/// Returns the command that replays a failure of a walker in a cell.
pub type ReplayCommand<'a> = dyn Fn(&ReportedRow, &CellId, &Finding) -> String + Sync + 'a;

/// Everything that determines a run.
pub struct CheckOptions<'a> {
    /// The families, lanes and walkers that the user selected.
    pub wishes: PlanRequest,
    /// The workload parameters that the user overrode.
    pub overrides: Overrides,
    /// The seed of the first round. Each further round uses the next seed.
    pub seed: u64,
    /// Whether one round gets the whole budget, so that only programs of this seed run.
    pub one_round: bool,
    /// The part of the cells to run. Other machines run the others.
    pub shard: Shard,
    /// The time for the whole run.
    pub budget: Duration,
    /// How often to stop each target of the stopped lane for each cached walker. If set, the budget is only a limit.
    pub stops: Option<u32>,
    /// How many schedules of the stepped lane to run for each program. If set, the budget is only a limit.
    pub schedules: Option<u32>,
    /// The time for the live lane alone, once the other lanes are done. Without it, all lanes share the budget.
    pub live: Option<Duration>,
    /// The number of jobs. It determines how many cells of a lane run at once.
    pub jobs: usize,
    /// Whether the live lane compares profiles with the truth.
    pub profiles: bool,
    /// The confidence over all comparisons of the run.
    pub confidence: f64,
    /// Known failures of the released builds.
    pub known: &'a KnownFailures,
    /// The folder for the targets' files.
    pub folder: PathBuf,
    /// Set when the user stops the run.
    pub interrupted: &'a AtomicBool,
    /// The failure whose appearance ends the run, if one is sought.
    pub sought: Option<&'a Sought>,
    /// Returns the command that replays a failure of a walker in a cell.
    pub replay: &'a ReplayCommand<'a>,
}

/// The row as reports describe it.
#[must_use]
pub fn reported(row: &BuildVariant) -> ReportedRow {
    ReportedRow {
        name: row.name.clone(),
        python: row.build.python.clone(),
        version: row.build.full_version(),
        flavour: row.build.kind(),
        jit: row.jit == JitMode::On,
        arguments: row.build.arguments.clone(),
        frame_cache: row.build.frame_cache().to_string(),
        layout: row.build.proof(),
    }
}

/// Runs everything and sends events to `consumer`, on the calling thread.
pub fn run(options: &CheckOptions<'_>, rows: &[BuildVariant], consumer: &mut dyn Consumer) {
    let rounds = rounds(options, rows);
    let required = required(options, rows);
    // Only the first round has required cells.
    let of_round = |round: u64| if round == 0 { required } else { 0 };
    let whole: Vec<Vec<PlanStep>> = (0..rounds)
        .map(|round| plan(rows, &options.wishes, options.seed.wrapping_add(round), of_round(round)))
        .collect();
    let part = part(options, rows, &whole);
    // All shards share the confidence, so the comparisons of the whole run count here.
    let comparisons = whole.iter().flatten().filter(|step| step.planned.cell.lane == Lane::Live).count() * 2;
    let steps = dealt(whole, options.shard);
    let reported: Vec<ReportedRow> = rows.iter().map(reported).collect();
    consumer.event(&Event::RunStarted {
        rows: reported.clone(),
        plan: steps.iter().flatten().map(|step| step.planned.clone()).collect(),
        seed: options.seed,
        budget: options.budget,
        stops: options.stops,
        schedules: options.schedules,
        part: Some(part),
    });
    let demand = Demand::new(options.confidence, comparisons as u64);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let send = move |event| {
                // The consumer disappears only if it panicked, and then the run ends with it.
                let _ = sender.send(event);
            };
            let end = Instant::now() + options.budget;
            let limit = end + grace(options.budget);
            let (drivers, live) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
            let live_cells = Mutex::new(LiveCells::of(&steps));
            for (index, steps) in (0..).zip(&steps) {
                let rounds_left = u32::try_from(rounds - index).unwrap_or(u32::MAX);
                let left = end.saturating_duration_since(Instant::now()) / rounds_left.max(1);
                Round {
                    options,
                    rows,
                    reported: &reported,
                    demand,
                    live: &live,
                    live_cells: &live_cells,
                    drivers: &drivers,
                    limit,
                    send: &send,
                }
                .run(steps, left);
            }
        });
        for event in receiver {
            consumer.event(&event);
        }
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
    });
    consumer.event(&Event::RunFinished { interrupted: options.interrupted.load(Ordering::Relaxed) });
}

/// How many families of each lane and row are required: all of them if the user set a number of stops or schedules.
fn required(options: &CheckOptions<'_>, rows: &[BuildVariant]) -> usize {
    if options.stops.is_some() || options.schedules.is_some() {
        return Family::ALL.len();
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    required_families(rows.len(), &options.wishes, options.budget, cores)
}

/// How long after its budget a run gives up on anything that has not answered yet.
#[must_use]
pub fn grace(budget: Duration) -> Duration {
    budget.mul_f64(OVERRUN) + GRACE
}

fn part(options: &CheckOptions<'_>, rows: &[BuildVariant], whole: &[Vec<PlanStep>]) -> Part {
    let planned = || whole.iter().flatten().map(|step| &step.planned);
    // An image that cannot be read can hardly run. The report then omits its digest.
    let digest = |row: &BuildVariant| digest::of_file(&row.build.image).ok();
    Part {
        shards: vec![options.shard.index()],
        of: options.shard.count(),
        cells: planned().count() as u64,
        plan: plan_digest(planned(), options.overrides),
        interpreters: rows.iter().filter_map(|row| Some((row.name.clone(), digest(row)?))).collect(),
        weakenings: options.wishes.weakenings.iter().copied().collect(),
        confidence: options.confidence,
    }
}

/// How many cells of a lane run at once. A live cell keeps its target and its walkers running at the same time, so it
/// costs about as much as three stopped cells.
fn jobs(all: usize, lane: Lane) -> usize {
    match lane {
        // A rig takes turns on one core and keeps it busy. There are three jobs for every two cores.
        Lane::Stepped => (all * 2 / 3).max(1),
        Lane::Stopped => all.max(1),
        Lane::Live => (all / 3).max(1),
    }
}

/// The time that a lane needs for one unit of weight: the sum over its steps, divided among its jobs.
fn need(all: usize, steps: &[PlanStep], lane: Lane) -> f64 {
    let weights = steps.iter().filter(|step| step.planned.cell.lane == lane && step.not_run.is_none());
    let jobs = u32::try_from(jobs(all, lane)).unwrap_or(u32::MAX);
    weights.map(|step| step.weight).sum::<f64>() / f64::from(jobs)
}

/// The fraction of the budget that `lane` gets in a run of all lanes on one row with this many `jobs`.
#[must_use]
pub fn part_of_budget(row: &BuildVariant, lane: Lane, jobs: usize) -> f64 {
    let steps = plan(std::slice::from_ref(row), &PlanRequest::default(), 0, 0);
    let all: f64 = Lane::ALL.into_iter().map(|lane| need(jobs, &steps, lane)).sum();
    need(jobs, &steps, lane) / all.max(f64::MIN_POSITIVE)
}

fn rounds(options: &CheckOptions<'_>, rows: &[BuildVariant]) -> u64 {
    // A user's program is the same in every round.
    if options.one_round || options.wishes.program.is_some() {
        return 1;
    }
    let steps = plan(rows, &options.wishes, options.seed, 0);
    let need: f64 = Lane::ALL.into_iter().map(|lane| need(options.jobs, &steps, lane)).sum();
    let rounds = options.budget.as_secs_f64() / (need * ROUND).max(1e-3);
    (1..=1000_u32).take_while(|&round| f64::from(round) <= rounds).last().map_or(1, u64::from)
}

struct Round<'a> {
    options: &'a CheckOptions<'a>,
    rows: &'a [BuildVariant],
    reported: &'a [ReportedRow],
    demand: Demand,
    /// The counts of the live lane so far, by row.
    live: &'a Mutex<BTreeMap<String, RowPool>>,
    live_cells: &'a Mutex<LiveCells<'a>>,
    drivers: &'a Mutex<Vec<UnwinderPool>>,
    /// When all waiting ends.
    limit: Instant,
    send: &'a (dyn Fn(Event) + Sync),
}

/// The live cells of all rounds, by row.
#[derive(Default)]
struct LiveCells<'a>(BTreeMap<usize, OfRow<'a>>);

/// The live cells of one row.
#[derive(Default)]
struct OfRow<'a> {
    /// How many are not done.
    left: usize,
    /// The last one that ran.
    ran: Option<&'a PlanStep>,
}

impl<'a> LiveCells<'a> {
    fn of(steps: &[Vec<PlanStep>]) -> Self {
        let mut cells = Self::default();
        for step in steps.iter().flatten().filter(|step| step.planned.cell.lane == Lane::Live) {
            cells.0.entry(step.row).or_default().left += 1;
        }
        cells
    }

    /// A live cell is done, or does not run. If it was the last one of its row, returns the last one that ran.
    fn done(&mut self, step: &'a PlanStep, ran: bool) -> Option<&'a PlanStep> {
        let of_row = self.0.entry(step.row).or_default();
        of_row.left = of_row.left.saturating_sub(1);
        if ran {
            of_row.ran = Some(step);
        }
        of_row.ran.filter(|_| of_row.left == 0)
    }
}

/// The total weight of the cells that have not started.
struct Left {
    weight: f64,
}

impl<'a> Round<'a> {
    fn run(&self, steps: &'a [PlanStep], budget: Duration) {
        let start = Instant::now();
        let total: f64 = Lane::ALL.into_iter().map(|lane| need(self.options.jobs, steps, lane)).sum();
        let mut used = 0.0;
        for lane in Lane::ALL {
            let steps: Vec<&'a PlanStep> = steps.iter().filter(|step| step.planned.cell.lane == lane).collect();
            let need = need(self.options.jobs, &steps.iter().map(|&step| step.clone()).collect::<Vec<_>>(), lane);
            used += need;
            // If a number of stops or schedules bounds the lane, the budget is only a limit, and one for all lanes.
            let part = if self.by_number(lane) { 1.0 } else { used / total.max(f64::MIN_POSITIVE) };
            let end = match self.options.live.filter(|_| lane == Lane::Live) {
                Some(time) => (Instant::now() + time).min(start + budget),
                None => start + budget.mul_f64(part.clamp(0.0, 1.0)),
            };
            self.run_lane(&steps, jobs(self.options.jobs, lane), end);
        }
    }

    fn run_lane(&self, steps: &[&'a PlanStep], jobs: usize, end: Instant) {
        let left = Mutex::new(Left {
            weight: steps.iter().filter(|step| step.not_run.is_none()).map(|step| step.weight).sum(),
        });
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(jobs).thread_name(|index| format!("cell-{index}")).build();
        match pool {
            // FIFO keeps the order of the plan.
            Ok(pool) => pool.scope_fifo(|scope| {
                for step in steps {
                    let left = &left;
                    scope.spawn_fifo(move |_| self.run_step(step, left, jobs, end));
                }
            }),
            Err(_) => steps.iter().for_each(|step| self.run_step(step, &left, 1, end)),
        }
    }

    fn run_step(&self, step: &'a PlanStep, left: &Mutex<Left>, jobs: usize, end: Instant) {
        let id = &step.planned.cell;
        let outcome = match &step.not_run {
            Some(why) => CellOutcome::NotRun(why.clone()),
            None => {
                let deadline = {
                    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                    let share = step.weight / left.weight.max(step.weight);
                    left.weight -= step.weight;
                    let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
                    let now = Instant::now();
                    let time = end.saturating_duration_since(now);
                    let fair = (time * jobs).mul_f64(share).min(time);
                    now + if self.by_number(id.lane) { time } else { fair }.max(SHORTEST)
                };
                if self.options.interrupted.load(Ordering::Relaxed) {
                    CellOutcome::NotRun(NotRun::Interrupted)
                } else if self.options.sought.is_some_and(Sought::is_seen) {
                    CellOutcome::NotRun(NotRun::NotApplicable(
                        "the failure named by --until was seen before its turn".into(),
                    ))
                } else if !step.required && Instant::now() >= end {
                    CellOutcome::NotRun(NotRun::LeftOut)
                } else if Instant::now() > self.limit.min(end + self.options.budget.mul_f64(OVERRUN)) {
                    CellOutcome::NotRun(NotRun::BudgetSpent)
                } else {
                    self.run_cell(step, deadline)
                }
            }
        };
        if id.lane == Lane::Live {
            let ran = !matches!(outcome, CellOutcome::NotRun(_));
            let last = self.live_cells.lock().unwrap_or_else(PoisonError::into_inner).done(step, ran);
            last.into_iter().for_each(|last| self.judge_row(last));
        }
        (self.send)(Event::CellFinished { cell: id.clone(), outcome });
    }

    /// Judges a row when all its live cells are done, as part of the last one that ran.
    fn judge_row(&self, step: &PlanStep) {
        if !self.options.interrupted.load(Ordering::Relaxed) {
            self.with_cell(step, self.limit, live::judge_row);
        }
    }

    /// Whether a number of stops or schedules, rather than time, decides how much a cell of this lane tests.
    fn by_number(&self, lane: Lane) -> bool {
        self.stops(lane).is_some() || self.schedules(lane).is_some()
    }

    /// The number of schedules for each program of this lane, if the user set one.
    fn schedules(&self, lane: Lane) -> Option<u32> {
        self.options.schedules.filter(|_| lane == Lane::Stepped)
    }

    /// The number of stops for each target of this lane, if the user set one.
    fn stops(&self, lane: Lane) -> Option<u32> {
        self.options.stops.filter(|_| lane == Lane::Stopped)
    }

    fn run_cell(&self, step: &PlanStep, deadline: Instant) -> CellOutcome {
        let id = &step.planned.cell;
        (self.send)(Event::CellStarted { cell: id.clone() });
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let outcome = self.with_cell(step, deadline, |cell, recorder| match id.lane {
            #[cfg(target_arch = "x86_64")]
            Lane::Stepped => stepped::run(cell, recorder),
            #[cfg(not(target_arch = "x86_64"))]
            Lane::Stepped => CellOutcome::NotRun(NotRun::Unaccounted),
            Lane::Stopped => stopped::run(cell, recorder, &mut drivers),
            Lane::Live => live::run(cell, recorder, &mut drivers),
        });
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner).push(drivers);
        outcome.unwrap_or(CellOutcome::NotRun(NotRun::Unaccounted))
    }

    /// Calls `action` with the cell of a step and a recorder for it. Returns `None` if the step has no row.
    fn with_cell<T>(
        &self,
        step: &PlanStep,
        deadline: Instant,
        action: impl FnOnce(&Cell<'_>, &mut CellRecorder<'_>) -> T,
    ) -> Option<T> {
        let id = &step.planned.cell;
        let (row, reported) = (self.rows.get(step.row)?, self.reported.get(step.row)?);
        let weakenings: &BTreeSet<Weakening> = &self.options.wishes.weakenings;
        let cell = Cell {
            id,
            row,
            family: step.family,
            program: self.options.wishes.program.as_deref(),
            overrides: self.options.overrides,
            weakenings,
            demand: self.demand,
            known: self.options.known,
            rows: self.live,
            profiles: self.options.profiles,
            deadline,
            limit: self.limit,
            stops: self.stops(id.lane),
            schedules: self.schedules(id.lane),
            is_first: id.seed == self.options.seed,
            interrupted: self.options.interrupted,
            sought: self.options.sought,
            folder: &self.options.folder,
        };
        let replay = |finding: &Finding| (self.options.replay)(reported, id, finding);
        Some(action(&cell, &mut CellRecorder::new(&cell, self.send, &replay)))
    }
}

#[cfg(test)]
mod tests {
    use model::run::cell::{Expected, PlannedCell};
    use model::run::configuration::Configuration;

    use super::*;

    fn step(row: usize, lane: Lane, seed: u64) -> PlanStep {
        let cell = CellId {
            row: row.to_string(),
            lane,
            family: "deep".into(),
            walkers: vec![],
            seed,
            configuration: Configuration::default(),
        };
        PlanStep {
            planned: PlannedCell::new(cell, Expected::NONE),
            row,
            family: Family::Deep,
            required: false,
            weight: 1.0,
            not_run: None,
        }
    }

    #[test]
    fn a_row_is_judged_once_when_all_its_live_cells_are_done() {
        let live = |row, seed| step(row, Lane::Live, seed);
        let rounds =
            [vec![live(0, 1), live(1, 1), step(0, Lane::Stopped, 1)], vec![live(0, 2), live(1, 2), live(2, 2)]];
        let mut cells = LiveCells::of(&rounds);
        let mut done = |row, round: usize, ran| {
            let step = rounds[round].iter().find(|step| step.row == row && step.planned.cell.lane == Lane::Live);
            cells.done(step.unwrap(), ran).map(|last| (last.row, last.planned.cell.seed))
        };
        assert_eq!(done(0, 0, true), None);
        assert_eq!(done(1, 0, true), None);
        assert_eq!(done(1, 1, true), Some((1, 2)));
        // The budget is spent before the last cells. The row is judged all the same.
        assert_eq!(done(0, 1, false), Some((0, 1)));
        assert_eq!(done(2, 1, false), None, "none of its cells ran");
    }
}
