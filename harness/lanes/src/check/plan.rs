//! The cells of a run, and the share of the budget that each one gets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use framewalk::layout::CacheFields;
use framewalk::sample::WalkerKind;
use framewalk::weakening::Weakening;
use model::lane::Lane;
use model::run::cell::{CellId, Expected, NotRun, PlannedCell};
use model::run::configuration::{AskedThreads, Configuration};
use model::schedule::shard::Shard;
use model::workload::Family;
use model::workload::family::FamilyThreads;
use model::workload::user_program::UserProgram;
use process::build::{BuildVariant, WithoutUnwinder};
use sim::case::kept::KeptSchedules;

use crate::check::configurations::Shares;

/// What the user selected. An empty list selects everything.
#[derive(Clone, Debug, Default)]
pub struct PlanRequest {
    /// The families of workloads.
    pub families: Vec<Family>,
    /// The user's program, which runs instead of generated ones, in the lanes of [`PROGRAM_LANES`].
    pub program: Option<Arc<UserProgram>>,
    /// The lanes to run.
    pub lanes: Vec<Lane>,
    /// The walkers under test, without those they are compared with.
    pub walkers: Vec<WalkerKind>,
    /// The configurations of CPython's unwinders. Each cell runs with every one of them.
    pub configurations: Vec<Configuration>,
    /// Faults put into our own cached walker.
    pub weakenings: BTreeSet<Weakening>,
    /// The rows whose build cannot start CPython's unwinder, by name, and the reason.
    pub without_unwinder: BTreeMap<String, WithoutUnwinder>,
}

/// A cell of the plan.
#[derive(Clone, Debug)]
pub struct PlanStep {
    /// The cell as reports describe it.
    pub planned: PlannedCell,
    /// The index of its row.
    pub row: usize,
    /// The family of its workload.
    pub family: Family,
    /// Whether the verdict needs this cell. Other cells run if time permits.
    pub required: bool,
    /// Its share of the budget, relative to the other cells.
    pub weight: f64,
    /// Why the cell cannot run, if it cannot.
    pub not_run: Option<NotRun>,
}

/// The lanes that run a user's program. The stepped lane does not: its schedules name the stores of a round, so it needs
/// a program whose rounds are the same each time.
pub const PROGRAM_LANES: [Lane; 2] = [Lane::Stopped, Lane::Live];

/// The family name of a cell that covers all families.
const EVERY_FAMILY: &str = "all";
/// The family of a cell that runs a user's program. It has no meaning there.
const PLACEHOLDER: Family = Family::Alternating;
/// The weight of a stopped cell, which has a gated and a free target for each cached walker.
const STOPPED: f64 = 2.0;
/// The weight of a stepped cell. Its target first runs until it is compiled, and then executes hundreds of schedules.
const STEPPED: f64 = 4.0;
/// The weight of the stopped cell with a configuration that leaves out threads, or does not count.
const SELECTIVE: f64 = 0.5;

/// The minimum time for a cell on a core that it shares with four others, including the start of its targets.
const LEAST: Duration = Duration::from_millis(2500);

/// How many families of each lane and row a run with this budget is sure to reach, however loaded the machine is. Which
/// cells the verdict needs may depend on the budget and the number of cores, but not on how fast they happen to be.
#[must_use]
pub fn required_families(rows: usize, wishes: &PlanRequest, budget: Duration, cores: usize) -> usize {
    let lanes = or_all(&wishes.lanes, &Lane::ALL).len();
    let cells = budget.as_secs_f64() * cores as f64 / LEAST.as_secs_f64();
    let families = cells / (rows * lanes).max(1) as f64;
    (1..=Family::ALL.len()).take_while(|&count| count as f64 <= families).last().unwrap_or(1)
}

/// The cells of one round, all with workloads of `seed`. In each lane and row, the first `required` families that can
/// run are needed for the verdict.
#[must_use]
pub fn plan(rows: &[BuildVariant], wishes: &PlanRequest, seed: u64, required: usize) -> Vec<PlanStep> {
    if let Some(program) = &wishes.program {
        return of_program(rows, program, wishes, seed);
    }
    let mut families = or_all(&wishes.families, &Family::ALL);
    // A run that has no time for all families has the only one with collections.
    families.sort_by_key(|family| !family.spec().collects);
    let lanes = or_all(&wishes.lanes, &Lane::ALL);
    let shares = Shares::new();
    let mut steps = Vec::new();
    for lane in lanes {
        let mut needed = vec![required; rows.len()];
        for &family in &families {
            for ((index, row), needed) in rows.iter().enumerate().zip(&mut needed) {
                // The stepped lane drives nothing but CPython's unwinder.
                if lane == Lane::Stepped && wishes.without_unwinder.contains_key(&row.name) {
                    continue;
                }
                let chosen = shares.of(lane, family, seed);
                let mut step = step(index, row, lane, family, wishes, seed, chosen);
                if step.not_run.is_none() {
                    step.required = *needed > 0;
                    *needed = needed.saturating_sub(1);
                }
                steps.extend(of_configurations(row, step, wishes));
            }
        }
        if lane == Lane::Stopped && wishes.families.is_empty() {
            let cells = rows.iter().enumerate();
            steps.extend(cells.filter_map(|(index, row)| selective(index, row, &shares, wishes, seed)));
        }
        steps.extend(
            rows.iter().enumerate().filter_map(|(index, row)| missing(index, row, lane, &families, wishes, seed)),
        );
    }
    steps
}

/// The cells of a user's program on every row, in the stopped lane if none is selected. The program need not exercise
/// the cache; the lane decides how much it must show.
fn of_program(rows: &[BuildVariant], program: &UserProgram, wishes: &PlanRequest, seed: u64) -> Vec<PlanStep> {
    let lanes = if wishes.lanes.is_empty() { vec![Lane::Stopped] } else { or_all(&wishes.lanes, &PROGRAM_LANES) };
    let mut steps = Vec::new();
    for lane in lanes {
        for (index, row) in rows.iter().enumerate() {
            // Nothing is known about its threads.
            let all = Configuration { threads: AskedThreads::All, ..Configuration::SAMPLING };
            let mut step = step(index, row, lane, PLACEHOLDER, wishes, seed, all);
            step.planned.cell.family = program.name();
            step.planned.expected.clear();
            step.weight = STOPPED;
            let walkers = &mut step.planned.cell.walkers;
            if lane == Lane::Live && !walkers.contains(&WalkerKind::OwnReference) && step.not_run.is_none() {
                // The others are judged by what it verifies.
                walkers.push(WalkerKind::OwnReference);
                walkers.sort_unstable();
            }
            steps.extend(of_configurations(row, step, wishes));
            steps.extend(missing(index, row, lane, &[PLACEHOLDER], wishes, seed));
        }
    }
    steps
}

/// The cell that reports what a broken build keeps from running: CPython's walkers, in all families of a lane.
fn missing(
    index: usize,
    row: &BuildVariant,
    lane: Lane,
    families: &[Family],
    wishes: &PlanRequest,
    seed: u64,
) -> Option<PlanStep> {
    let why = wishes.without_unwinder.get(&row.name)?;
    let has_cache = row.build.frame_cache() == CacheFields::AnchorAndSequence;
    let family =
        *families.first().filter(|_| walkers(lane, has_cache, wishes).into_iter().any(WalkerKind::is_cpythons))?;
    let mut walkers = walkers(lane, has_cache, wishes);
    walkers.retain(|walker| walker.is_cpythons());
    let configuration = Configuration::default();
    let id = CellId { row: row.name.clone(), lane, family: EVERY_FAMILY.to_owned(), walkers, seed, configuration };
    let not_run = Some(match why {
        WithoutUnwinder::Broken(why) => NotRun::SetUp(why.clone()),
        WithoutUnwinder::OfOtherVersion(why) => NotRun::NotApplicable(why.clone()),
    });
    Some(PlanStep {
        planned: PlannedCell::new(id, Expected::NONE),
        row: index,
        family,
        required: true,
        weight: 0.0,
        not_run,
    })
}

/// The cells of one shard. The cells of all rounds are dealt out one by one, so each cell belongs to exactly one shard.
#[must_use]
pub fn dealt(rounds: Vec<Vec<PlanStep>>, shard: Shard) -> Vec<Vec<PlanStep>> {
    let mut number = 0;
    let mut held = |_: &PlanStep| {
        number += 1;
        shard.holds(number - 1)
    };
    rounds.into_iter().map(|steps| steps.into_iter().filter(|step| held(step)).collect()).collect()
}

fn or_all<T: Copy + PartialEq>(wished: &[T], all: &[T]) -> Vec<T> {
    all.iter().copied().filter(|item| wished.is_empty() || wished.contains(item)).collect()
}

/// A cell with each configuration that the user named, or with its own. Only CPython's walkers have one.
fn of_configurations(row: &BuildVariant, step: PlanStep, wishes: &PlanRequest) -> Vec<PlanStep> {
    if wishes.configurations.is_empty() || step.not_run.is_some() {
        return vec![step];
    }
    let is_stepped = step.planned.cell.lane == Lane::Stepped;
    let with = |(number, &configuration): (usize, &Configuration)| {
        let mut step = step.clone();
        let why_not = if is_stepped && !configuration.shows_hits() {
            Some("the stepped lane needs a sample of its thread, and the counters, at every schedule")
        } else if !configuration.is_default() && !shows_what_runs(row) {
            Some(
                "where a collection runs and which thread is active is not known: the proof of the layout does not reach that",
            )
        } else {
            None
        };
        step.not_run = why_not.map(|why| NotRun::NotApplicable(why.to_owned()));
        if number > 0 {
            for_cpythons_walkers(&mut step)?;
        }
        configure(&mut step, configuration);
        Some(step)
    };
    wishes.configurations.iter().enumerate().filter_map(with).collect()
}

/// The cell with a configuration of the array that leaves out threads, or does not count.
fn selective(index: usize, row: &BuildVariant, shares: &Shares, wishes: &PlanRequest, seed: u64) -> Option<PlanStep> {
    let may = wishes.configurations.is_empty() && shows_what_runs(row);
    let (family, configuration) = shares.selective(seed).filter(|_| may)?;
    let mut step = step(index, row, Lane::Stopped, family, wishes, seed, configuration);
    for_cpythons_walkers(&mut step)?;
    // The family's own cell shows the rest.
    step.required = false;
    step.weight = SELECTIVE;
    Some(step)
}

/// Leaves out the walkers of a cell that have no configuration. `None` if no others are left.
fn for_cpythons_walkers(step: &mut PlanStep) -> Option<()> {
    let is_one = |walker: WalkerKind| walker.is_cpythons() || walker == WalkerKind::OwnUncached;
    let walkers = &mut step.planned.cell.walkers;
    walkers.retain(|&walker| is_one(walker));
    step.planned.expected.retain(|&walker, _| is_one(walker));
    walkers.iter().any(|walker| walker.is_cpythons()).then_some(())
}

/// Whether the layout has the words that show a collection and the GIL. Without them there is no truth for markers of
/// collections, nor for which threads are active.
fn shows_what_runs(row: &BuildVariant) -> bool {
    row.build.layout.as_ref().is_ok_and(|proved| proved.layout.interpreter.running.is_some())
}

/// Sets the configuration of a cell, which decides what the cell must show.
fn configure(step: &mut PlanStep, configuration: Configuration) {
    step.planned.cell.configuration = configuration;
    if !configuration.shows_hits() {
        step.planned.expected.insert(WalkerKind::CpythonCached, Expected::NONE);
    }
}

fn step(
    index: usize,
    row: &BuildVariant,
    lane: Lane,
    family: Family,
    wishes: &PlanRequest,
    seed: u64,
    configuration: Configuration,
) -> PlanStep {
    let has_cache = row.build.frame_cache() == CacheFields::AnchorAndSequence;
    let mut walkers = walkers(lane, has_cache, wishes);
    if wishes.without_unwinder.contains_key(&row.name) {
        walkers.retain(|walker| !walker.is_cpythons());
    }
    let not_run = (lane == Lane::Live && !has_cache).then(|| {
        NotRun::NotApplicable(
            "the live lane compares cached with uncached walkers, and this build has no frame cache".into(),
        )
    });
    let not_run = not_run.or_else(|| {
        let why = (lane == Lane::Live).then(|| family.spec().not_live()).flatten();
        why.map(|why| NotRun::NotApplicable(why.to_owned()))
    });
    let not_run = not_run.or_else(|| (lane == Lane::Stepped).then(|| not_stepped(family, has_cache))?);
    let not_run = not_run.or_else(|| {
        let (since, why) = family.spec().linked_since?;
        (row.build.version.minor() < since).then(|| NotRun::NotApplicable(why.to_owned()))
    });
    let not_run = not_run.or_else(|| {
        walkers
            .is_empty()
            .then(|| NotRun::NotApplicable(format!("none of the selected walkers runs this family in the {lane} lane")))
    });
    let (weight, expected) = match lane {
        // The kept schedules reach every outcome of the cache.
        Lane::Stepped => (STEPPED, Expected::ALL),
        // So do the gates of every family.
        Lane::Stopped => (STOPPED, Expected::ALL),
        // The bounds judge how many there are. Full hits occur on any moving target.
        Lane::Live => (family.spec().live_weight, Expected { full_hits: true, ..Expected::NONE }),
    };
    let is_judged = shows_what_runs(row) && walkers.iter().any(|walker| walker.is_cpythons());
    let configuration = if is_judged { configuration } else { Configuration::default() };
    let family_name = family.name().to_owned();
    let id = CellId { row: row.name.clone(), lane, family: family_name, walkers, seed, configuration };
    let mut planned = PlannedCell::new(id, expected);
    if family.spec().threads == FamilyThreads::Running && lane != Lane::Live {
        // Several threads share the counters of RemoteUnwinder, so a lookup cannot be assigned to a thread.
        planned.expected.insert(WalkerKind::CpythonCached, Expected::NONE);
    }
    let mut step = PlanStep { planned, row: index, family, required: true, weight, not_run };
    if has_cache {
        configure(&mut step, configuration);
    }
    step
}

/// Why the stepped lane does not run a family, if it does not.
fn not_stepped(family: Family, has_cache: bool) -> Option<NotRun> {
    let why = if !has_cache {
        "the stepped lane drives CPython's cached unwinder, and this build has no frame cache".to_owned()
    } else if !cfg!(target_arch = "x86_64") {
        "the stepped lane needs an x86-64 machine".to_owned()
    } else if KeptSchedules::kept().is_ok_and(|kept| kept.program(family).is_none()) {
        "no schedules are kept for these families; search them with `framediff explore --family NAME`".to_owned()
    } else {
        return None;
    };
    Some(NotRun::NotApplicable(why))
}

/// The walkers of a cell: the selected ones, and those they are compared with.
fn walkers(lane: Lane, has_cache: bool, wishes: &PlanRequest) -> Vec<WalkerKind> {
    // Before 3.15, RemoteUnwinder stops at shim frames and decodes only ASCII text, so its stacks are not comparable.
    if !has_cache {
        return vec![WalkerKind::OwnUncached];
    }
    let wished: Vec<WalkerKind> = if !wishes.walkers.is_empty() {
        wishes.walkers.clone()
    } else if wishes.weakenings.is_empty() {
        WalkerKind::ALL.to_vec()
    } else {
        vec![WalkerKind::OwnCached]
    };
    let mut walkers: BTreeSet<WalkerKind> = wished.into_iter().collect();
    match lane {
        // The kept schedules are for CPython's cached unwinder; `explore` drives the other walkers.
        Lane::Stepped => walkers.retain(|&walker| walker == WalkerKind::CpythonCached),
        Lane::Stopped => {
            walkers.insert(WalkerKind::OwnUncached);
        }
        Lane::Live => {
            let compared = walkers.clone().into_iter().filter(|&walker| !lane.has_zero_tolerance(walker));
            walkers.extend(compared.filter_map(WalkerKind::uncached));
        }
    }
    walkers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use framewalk::layout::{LayoutError, VersionHex};
    use model::jit_mode::JitMode;
    use process::build::Build;

    use super::*;

    fn row(version: u32) -> BuildVariant {
        let build = Build {
            python: "/py".into(),
            executable: "/py".into(),
            image: "/py".into(),
            version: VersionHex(version),
            is_development: false,
            layout_header: None,
            arguments: Vec::new(),
            debug: false,
            free_threaded: false,
            jit_available: false,
            sanitizers: BTreeSet::new(),
            layout: Err(LayoutError::NoCookie.into()),
        };
        BuildVariant { build: Arc::new(build), jit: JitMode::Unavailable, name: "row".to_owned() }
    }

    #[test]
    fn delegates_run_where_generators_that_throw_are_linked() {
        for (version, runs) in [(0x030d_00f0, false), (0x030e_00f0, true), (0x030f_02f0, true)] {
            let wishes = PlanRequest {
                families: vec![Family::Delegates, Family::Generators],
                lanes: vec![Lane::Stopped],
                ..PlanRequest::default()
            };
            let planned = plan(&[row(version)], &wishes, 0, 1);
            let left_out: Vec<bool> = planned.iter().map(|step| step.not_run.is_some()).collect();
            assert_eq!(left_out, [false, !runs], "{version:#x}");
        }
    }

    #[test]
    fn a_program_runs_in_the_stopped_lane_unless_another_is_selected() {
        let program = UserProgram { file: "/p.py".into(), source: Vec::new(), arguments: Vec::new() };
        let cells = |lanes: &[Lane], walkers: &[WalkerKind]| {
            let program = Some(Arc::new(program.clone()));
            let (lanes, walkers) = (lanes.to_vec(), walkers.to_vec());
            let wishes = PlanRequest { program, lanes, walkers, ..PlanRequest::default() };
            let steps = plan(&[row(0x030f_02f0)], &wishes, 0, 1).into_iter();
            steps.map(|step| (step.planned.cell.lane, step.planned.cell.walkers)).collect::<Vec<_>>()
        };
        let lanes = |lanes: &[Lane]| cells(lanes, &[]).into_iter().map(|(lane, _)| lane).collect::<Vec<_>>();
        assert_eq!(lanes(&[]), [Lane::Stopped]);
        assert_eq!(lanes(&[Lane::Live, Lane::Stopped]), [Lane::Stopped, Lane::Live]);
        // The reference walker teaches what the program can show.
        let of_cached = cells(&[Lane::Live], &[WalkerKind::OwnCached]);
        let walkers = vec![WalkerKind::OwnUncached, WalkerKind::OwnCached, WalkerKind::OwnReference];
        assert_eq!(of_cached, [(Lane::Live, walkers)]);
    }
}
