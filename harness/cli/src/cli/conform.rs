//! `conform`: compares the simulated interpreter with real ones.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use framewalk::sample::WalkerKind;
use lanes::conform::family::ProgramFamily;
use lanes::conform::{Compared, Trial};
use lanes::stepped::RigPlan;
use model::run::event::{Consumer, Event};
use model::run::item::Item;
use model::run::verdict::Verdict;
use model::schedule::random::RandomBounds;
use process::build::BuildVariant;
use process::deadline::BoundedRun;
use process::run_folder::RunFolder;

use crate::cli::exit::Ending;
use crate::cli::output::Failure;
use crate::cli::reports::Reporting;
use crate::cli::rows;
use crate::cli::stepped_arguments::Conform;

/// The number of samples in a schedule, and the bounds of its moves.
const SAMPLES: u32 = 3;
const BOUNDS: RandomBounds = RandomBounds { moves: 4, steps: 40 };

/// Compares on each build, until the first disagreement.
pub(super) fn conform(arguments: &Conform, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let families = match arguments.family.as_slice() {
        [] => ProgramFamily::ALL.to_vec(),
        names => names.iter().map(|name| name.parse()).collect::<Result<Vec<_>, String>>()?,
    };
    let stopped = || interrupted.load(Ordering::Relaxed);
    let rows = rows::with_cache(&arguments.source, arguments.jit, interrupted)?;
    // This walker finds the chunks through a thread-state page that it read before. How long ago depends on its heap.
    let unmodelled = |row: &&BuildVariant| arguments.walker == WalkerKind::CpythonUncached && row.build.debug;
    if let Some(row) = rows.iter().find(unmodelled) {
        let walker = arguments.walker;
        return Err(format!(
            "{}: what {walker} of a debug build reads is not modelled; use another build or walker",
            row.name
        )
        .into());
    }
    let folder = RunFolder::after_cleaning()?;
    let deadline = arguments.budget.map(|budget| Instant::now() + budget);
    let _bound = arguments.budget.map(BoundedRun::new);
    let mut events = Reporting::of_items("conform", &arguments.reports, Some(arguments.format))?;
    for row in &rows {
        let begun = Instant::now();
        let (verdict, text) = one(arguments, row, &families, folder.path(), deadline, &stopped, &mut events)?;
        let name = arguments.walker.to_string();
        let short = text.lines().next().unwrap_or_default().to_owned();
        let (of, seconds) = (row.name.clone(), begun.elapsed().as_secs_f64());
        events.event(&Event::ItemFinished(Box::new(Item {
            name,
            of,
            verdict,
            seconds,
            short,
            text,
            history: Vec::new(),
        })));
        if verdict != Verdict::Pass {
            break;
        }
    }
    events.finish_items(None, stopped())
}

/// Compares on one build, until the first disagreement. Returns the verdict and the text.
fn one(
    arguments: &Conform,
    row: &BuildVariant,
    families: &[ProgramFamily],
    folder: &Path,
    deadline: Option<Instant>,
    stopped: &dyn Fn() -> bool,
    events: &mut dyn Consumer,
) -> Result<(Verdict, String), Failure> {
    let layout = row.build.usable()?;
    let mut compared = Compared::default();
    let of = arguments.programs * families.len() as u64;
    let mut done = 0;
    for seed in (arguments.seed..).take(usize::try_from(arguments.programs)?) {
        for &family in families {
            if stopped() {
                return Ok((Verdict::Inconclusive, format!("{}: interrupted: {compared}\n", row.name)));
            }
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                let text = format!("{}: inconclusive, the budget is spent: {compared}\n", row.name);
                return Ok((Verdict::Inconclusive, text));
            }
            events.event(&Event::Working { done, of, doing: format!("{}, {family} {seed}", row.name) });
            done += 1;
            let trial = Trial {
                family,
                seed,
                schedules: arguments.schedules,
                samples: SAMPLES,
                bounds: BOUNDS,
                variations: BTreeSet::new(),
                weakenings: BTreeSet::new(),
            };
            let plan = RigPlan {
                jit: row.jit.switch(),
                folder: folder.to_owned(),
                ..RigPlan::new(&row.build, arguments.walker)
            };
            let conformance = trial.run(plan, layout)?;
            compared.add(&conformance.compared);
            if let Some(disagreement) = conformance.disagreement {
                let again = format!("--family {family} --seed {seed} --programs 1 --walker {}", arguments.walker);
                let text = format!("{}: they disagree: {again}\n{disagreement}\n", row.name);
                return Ok((Verdict::Fail, text));
            }
        }
    }
    Ok((Verdict::Pass, format!("{}: {compared}\n", row.name)))
}
