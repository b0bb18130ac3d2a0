//! `explore`: searches schedules on real processes.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lanes::explore::against_base::SMALL;
use lanes::explore::canonical::canonical;
use lanes::explore::failures::{Failing, FailureKind};
use lanes::explore::parallel::{Order, ParallelResult, ParallelSearch, Watch, run};
use lanes::explore::place::{identity, movement};
use lanes::explore::scope::Scope;
use lanes::explore::search::{SearchStop, Until};
use lanes::stepped::{Movement, Rig, RigPlan};
use model::jit_mode::JitMode;
use model::run::configuration::Configuration;
use model::run::event::{Consumer, Event};
use model::run::known::{KnownFailure, KnownFailures};
use model::run::verdict::Verdict;
use model::schedule::AccessKind;
use model::schedule::exhaustive::ExhaustiveBounds;
use model::workload::{Family, Mode, Workload, generate};
use process::build::{BuildVariant, Terminal, cache_folder, select};
use process::deadline::BoundedRun;
use process::run_folder::RunFolder;
use sim::case::file::SteppedFile;
use sim::case::stepped::{BuildIdentity, SteppedCase, WorkloadIdentity};

use crate::cli::exit::Ending;
use crate::cli::output::{Failure, tell};
use crate::cli::reports::Reporting;
use crate::cli::shared_arguments::{BuildSource, Jit, known_failures};
use crate::cli::stepped_arguments::{Explore, SearchOrder, Step};
use crate::cli::values::explore_jobs_by_default;
use crate::cli::{bundles, folder};
use crate::report::saved::Content;
use crate::report::searches::{Search, SearchDocument, SearchEnd, SearchFailure, SearchLeaf, per_second};

/// The default limit: with more steps in a move, an exhaustive search of two moves takes too long.
const MOST_STEPS: u32 = 24;
const WIDTH: u16 = 100;
/// How often the progress of a search is reported.
const PROGRESS: Duration = Duration::from_millis(250);

/// Searches the schedules of each family.
pub(super) fn explore(arguments: &Explore, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    if let Some(weakening) = arguments.weaken.iter().find(|weakening| !weakening.applies_to(arguments.walker)) {
        return Err(format!("`{weakening}` does not apply to {}", arguments.walker).into());
    }
    let mut known = known_failures(arguments.known.as_deref())?;
    if !arguments.weaken.is_empty() {
        // The failures of a weakened walker come from its weakening.
        known = KnownFailures::default();
    }
    for folder in arguments.output.iter().chain(&arguments.bundles) {
        folder::for_results(folder)?;
    }
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let selection = select(&arguments.source.python, &arguments.source.options(), &cache, &mut Terminal::new(stopped))?;
    for note in &selection.notes {
        tell(&format!("note: {note}"));
    }
    let wanted =
        |row: &&BuildVariant| (row.jit == JitMode::On) == (arguments.jit == Jit::On) && row.build.layout.is_ok();
    let row = selection.rows.iter().find(wanted).ok_or("no build can run with this --jit")?;
    let folder = RunFolder::after_cleaning()?;
    let deadline = arguments.budget.map(|budget| Instant::now() + budget);
    let events = Mutex::new(Reporting::of_items("explore", &arguments.reports, Some(arguments.format))?);
    let mut searches = Vec::new();
    for &family in &arguments.family {
        let explored = one(arguments, row, family, folder.path(), deadline, interrupted, &events)?;
        let search = reported(arguments, &explored, &known)?;
        locked(&events).event(&Event::ItemFinished(Box::new(search.item(WIDTH))));
        if let Some(folder) = &arguments.bundles {
            for kind in explored.outcome.searched.failures.kinds() {
                let file = case(arguments, &explored.build, &explored.workload, kind);
                let source = BuildSource { python: vec![row.build.python.clone()], ..arguments.source.clone() };
                let bundle = bundles::of_stepped(&file, row, &source, interrupted)?;
                tell(&format!("bundle: {}", bundle.save(folder)?.display()));
            }
        }
        searches.push(search);
        if stopped() {
            break;
        }
    }
    let content = Content::Searches(Box::new(SearchDocument::new(searches)));
    let events = events.into_inner().unwrap_or_else(PoisonError::into_inner);
    events.finish_items(Some(content), stopped())
}

fn locked(events: &Mutex<Reporting>) -> MutexGuard<'_, Reporting> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A search and its result.
struct Explored {
    build: BuildIdentity,
    workload: Workload,
    bounds: ExhaustiveBounds,
    /// Number of steps in the longest round of the target.
    round: u32,
    outcome: ParallelResult,
    /// Number of distinct kinds of failure before shrinking.
    shapes: usize,
    time: Duration,
}

fn one(
    arguments: &Explore,
    row: &BuildVariant,
    family: Family,
    folder: &Path,
    deadline: Option<Instant>,
    interrupted: &AtomicBool,
    events: &Mutex<Reporting>,
) -> Result<Explored, Failure> {
    let mode = if arguments.step == Step::Gate { Mode::GatedRounds } else { Mode::Rounds };
    let parameters = SMALL.within_bounds(family).overridden(family, arguments.size.overrides());
    let workload = generate(family, mode, &parameters, arguments.seed);
    let plan = RigPlan {
        jit: row.jit.switch(),
        cast: arguments.scenario.clone(),
        weakenings: arguments.weaken.iter().copied().collect(),
        movement: if arguments.step == Step::Load { Movement::Loads } else { movement(mode) },
        tearing: arguments.tear,
        still: if arguments.at_rest { AccessKind::ALL.into() } else { arguments.still.iter().copied().collect() },
        folder: folder.to_owned(),
        ..RigPlan::new(&row.build, arguments.walker)
    };
    let bound = deadline.map(|deadline| BoundedRun::new(deadline.saturating_duration_since(Instant::now())));
    let round = steps_of_a_round(&plan, &workload)?;
    // With the steps of a whole round, one move can take the target from any point of the round to any other.
    let steps = arguments.steps.unwrap_or(round.min(MOST_STEPS));
    let bounds = ExhaustiveBounds { samples: arguments.samples, moves: arguments.moves, steps };
    let (schedules, seed) = (arguments.schedules, arguments.seed);
    let order = match arguments.order {
        SearchOrder::Exhaustive => Order::Exhaustive(arguments.shard),
        SearchOrder::Random => Order::Random { schedules, seed },
        SearchOrder::Pct => Order::Pct { schedules, seed },
    };
    let jobs = arguments.jobs.or(NonZeroUsize::new(explore_jobs_by_default())).unwrap_or(NonZeroUsize::MIN);
    let search = ParallelSearch { plan, workload, bounds, order, jobs };
    let begun = Instant::now();
    let stopped = || interrupted.load(Ordering::Relaxed);
    let until = Until { deadline, interrupted: &stopped, first: arguments.first };
    let watch = Watch::default();
    let mut outcome = watched(&watch, family, events, || run(&search, until, &watch))?;
    // What was found is worth the time that its report takes.
    drop(bound);
    let time = begun.elapsed();
    let shapes = outcome.searched.failures.kinds().len();
    if shapes > 0 {
        let mut rig = Rig::launch(search.plan.clone(), search.workload.clone())?;
        outcome.searched.failures = canonical(&mut rig, &outcome.searched.failures)?;
    }
    Ok(Explored { build: identity(row), workload: search.workload, bounds, round, outcome, shapes, time })
}

fn steps_of_a_round(plan: &RigPlan, workload: &Workload) -> Result<u32, Failure> {
    let rig = Rig::launch(plan.clone(), workload.clone())?;
    Ok(u32::try_from(rig.steps_of_rounds().iter().copied().max().unwrap_or(1).max(1))?)
}

/// Runs `work`, and sends an event with its progress several times a second.
fn watched<R>(watch: &Watch, family: Family, events: &Mutex<Reporting>, work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let [done, of, failed] =
                    [&watch.done, &watch.known, &watch.failed].map(|count| count.load(Ordering::Relaxed));
                let doing = format!("{family}, {}/s, {failed} failed", per_second(done, begun.elapsed()));
                locked(events).event(&Event::Working { done, of, doing });
                thread::park_timeout(PROGRESS);
            }
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        watching.thread().unpark();
        let _ = watching.join();
        result
    })
}

/// The search as it is reported.
fn reported(arguments: &Explore, explored: &Explored, known: &KnownFailures) -> Result<Search, Failure> {
    let Explored { build, workload, bounds, round, outcome, shapes, time } = explored;
    let (searched, progress) = (&outcome.searched, &outcome.progress);
    let tally = &searched.tally;
    let mut failures = Vec::new();
    let mut unknown = false;
    let kinds = searched.failures.kinds();
    let entries: Vec<Option<&KnownFailure>> = kinds
        .iter()
        .map(|kind| known.find_stepped(&kind.simplest.fingerprint, &build.version, workload.family))
        .map(|known| known.map(|known| known.entry))
        .collect();
    for (kind, entry) in kinds.iter().zip(&entries) {
        let file = case(arguments, build, workload, kind);
        // The limit of a known failure applies to all kinds of failure that it matches, taken together.
        let alike = kinds.iter().zip(&entries).filter(|(_, other)| *other == entry);
        let failed = alike.map(|(kind, _)| kind.count).sum();
        let (matching, beyond) = match entry {
            Some(entry) if entry.exceeded_by(failed, tally.schedules).is_some() => {
                (None, Some((entry.id.clone(), entry.most.unwrap_or(0))))
            }
            entry => (*entry, None),
        };
        unknown |= matching.is_none() || arguments.strict;
        let saved = arguments.output.as_deref().map(|folder| file.save(folder)).transpose()?;
        failures.push(SearchFailure {
            fingerprint: kind.simplest.fingerprint.to_string(),
            schedules: kind.count,
            samples: kind.simplest.samples,
            schedule: kind.simplest.schedule.to_string(),
            case: file.case.to_string(),
            saved: saved.map(|path| path.display().to_string()),
            known: matching.map(|known| known.id.clone()),
            beyond,
        });
    }
    let mut doubts = Vec::new();
    if arguments.walker.is_cpythons() && !arguments.tear {
        for (leaf, leaves) in &tally.leaves {
            // At rest, every rejection is a failure, except for threads between C and Python.
            if known.rejected_beyond(*leaf, leaves.rejected, leaves.samples).is_some() {
                unknown = true;
                doubts.push(format!(
                    "{} of {} samples with a {leaf} leaf were rejected: no released build rejects so many",
                    leaves.rejected, leaves.samples
                ));
            }
        }
    }
    let scope = Scope { samples: bounds.samples, moves: bounds.moves, steps: bounds.steps };
    let all_that_was_asked = searched.ended == SearchStop::Everything && arguments.is_large(tally.schedules);
    for answer in scope.owed(arguments.walker, &arguments.scenario, (*round).min(MOST_STEPS)) {
        if all_that_was_asked && tally.answers.get(&answer).is_none_or(|count| *count == 0) {
            doubts.push(format!("vacuous: no sample was a {}, and the search has room for it", answer.name()));
        }
    }
    let complete = searched.ended == SearchStop::Everything && progress.never_came == 0 && tally.schedules > 0;
    let gave_a_stack = tally.answers.values().sum::<u64>() > 0;
    let verdict = match (searched.ended, unknown) {
        (_, true) => Verdict::Fail,
        (_, false) if !doubts.is_empty() => Verdict::Inconclusive,
        // A random search is complete after the drawn schedules. With --first, stopping early is what was requested.
        (SearchStop::First, false) => Verdict::Pass,
        (_, false) if complete && gave_a_stack => Verdict::Pass,
        _ => Verdict::Inconclusive,
    };
    let walker = arguments.walker;
    let search = Search {
        build: build.to_string(),
        walker: walker.to_string(),
        scenario: arguments.scenario.to_string(),
        at_rest: arguments.at_rest,
        still: arguments.still.iter().collect::<BTreeSet<_>>().into_iter().map(ToString::to_string).collect(),
        weakenings: arguments.weaken.iter().collect::<BTreeSet<_>>().into_iter().map(ToString::to_string).collect(),
        family: workload.family.to_string(),
        seed: workload.seed,
        samples: bounds.samples,
        moves: bounds.moves,
        steps: bounds.steps,
        schedules: tally.schedules,
        known_schedules: if arguments.order == SearchOrder::Exhaustive { progress.known } else { arguments.schedules },
        told: tally.told,
        seconds: time.as_secs_f64(),
        ended: match searched.ended {
            SearchStop::Everything => SearchEnd::Everything,
            SearchStop::First => SearchEnd::First,
            SearchStop::Deadline => SearchEnd::Deadline,
            SearchStop::Interrupted => SearchEnd::Interrupted,
        },
        failed: searched.failures.count(),
        shapes: *shapes,
        never_came: progress.never_came,
        leaves: tally
            .leaves
            .iter()
            .map(|(leaf, leaves)| SearchLeaf {
                leaf: leaf.to_string(),
                samples: leaves.samples,
                rejected: leaves.rejected,
            })
            .collect(),
        rejected: tally.rejected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        answers: tally.answers.iter().map(|(answer, count)| (answer.name().to_owned(), *count)).collect(),
        failures,
        doubts,
        verdict,
    };
    Ok(search)
}

fn case(arguments: &Explore, build: &BuildIdentity, workload: &Workload, kind: &FailureKind) -> SteppedFile {
    let Failing { fingerprint, schedule, samples } = kind.simplest.clone();
    let case = SteppedCase {
        build: build.clone(),
        workload: WorkloadIdentity::of(workload),
        walker: arguments.walker,
        weakenings: arguments.weaken.iter().copied().collect(),
        configuration: Configuration::default(),
        cast: arguments.scenario.clone(),
        samples,
        tearing: arguments.tear,
        loads: arguments.step == Step::Load,
        schedule,
        fingerprint,
    };
    SteppedFile { note: String::new(), case }
}
