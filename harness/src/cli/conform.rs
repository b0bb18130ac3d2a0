//! The verb that holds the simulated interpreter against real ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::cli::arguments::Jit;
use crate::cli::stepped_arguments::Conform;
use crate::cli::verbs::{Failure, print, tell};
use crate::cli::{exit, folder};
use crate::conform::family::ProgramFamily;
use crate::conform::{Compared, Trial};
use crate::explore::place::jit;
use crate::lane::stepped::RigPlan;
use crate::sample::WalkerKind;
use crate::schedule::random::Bounds;
use crate::target::build::{JitMode, Row, Terminal, cache_folder, select};

/// Samples of a schedule, and its moves.
const SAMPLES: u32 = 3;
const BOUNDS: Bounds = Bounds { moves: 4, steps: 40 };

/// Compares on each build, up to the first disagreement.
pub(super) fn conform(arguments: &Conform, interrupted: &'static AtomicBool) -> Result<u8, Failure> {
    let families = match arguments.family.as_slice() {
        [] => ProgramFamily::ALL.to_vec(),
        names => names.iter().map(|name| name.parse()).collect::<Result<Vec<_>, String>>()?,
    };
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let selection = select(&arguments.source.python, &cache, &mut Terminal::new(stopped))?;
    for note in &selection.notes {
        tell(&format!("note: {note}"));
    }
    let wanted = |row: &&Row| {
        let has_cache = row.build.layout.as_ref().is_ok_and(|layout| layout.thread.cache.is_some());
        has_cache && arguments.jit.is_none_or(|wanted| (row.jit == JitMode::On) == (wanted == Jit::On))
    };
    let rows: Vec<&Row> = selection.rows.iter().filter(wanted).collect();
    if rows.is_empty() {
        return Err("no build with the frame cache has the run mode that --jit asks for".into());
    }
    // It finds the chunks by a page of the thread state that it has read before: how long before depends on its heap.
    let unmodelled = |row: &&&Row| arguments.walker == WalkerKind::CpythonUncached && row.build.debug;
    if let Some(row) = rows.iter().find(unmodelled) {
        let walker = arguments.walker;
        return Err(format!(
            "{}: what {walker} of a debug build reads is not modelled; use another build or walker",
            row.name
        )
        .into());
    }
    let folder = folder::for_run(&std::env::temp_dir())?;
    let deadline = arguments.budget.map(|budget| Instant::now() + budget);
    for row in rows {
        let layout = row.build.layout.as_ref().map_err(Clone::clone)?;
        let mut compared = Compared::default();
        for seed in (arguments.seed..).take(usize::try_from(arguments.programs)?) {
            for &family in &families {
                if stopped() {
                    return Ok(exit::INTERRUPTED);
                }
                if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                    print(&format!("{}: inconclusive, the budget is spent: {compared}\n", row.name))?;
                    return Ok(exit::INCONCLUSIVE);
                }
                let schedules = arguments.schedules;
                let variations = <_>::default();
                let trial = Trial { family, seed, schedules, samples: SAMPLES, bounds: BOUNDS, variations };
                let plan = RigPlan {
                    jit: jit(row.jit),
                    folder: folder.path().to_owned(),
                    ..RigPlan::new(&row.build.python, arguments.walker)
                };
                let conformance = trial.run(plan, layout)?;
                compared.add(&conformance.compared);
                if let Some(disagreement) = conformance.disagreement {
                    let again = format!("--family {family} --seed {seed} --programs 1 --walker {}", arguments.walker);
                    print(&format!("{}: they disagree: {again}\n{disagreement}\n", row.name))?;
                    return Ok(exit::VIOLATION);
                }
            }
        }
        print(&format!("{}: {compared}\n", row.name))?;
    }
    Ok(exit::PASS)
}
