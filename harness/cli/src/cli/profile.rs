//! `profile`: judges what comes out of CPython's shipped profiler.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lanes::profile::{ProfilePlan, profile};
use model::run::event::{Consumer, Event};
use model::run::item::Item;
use model::run::verdict::Verdict;
use model::workload::Family;
use process::build::BuildVariant;
use process::deadline::BoundedRun;
use process::guard::RunGuard;
use process::profiling::ProfilingError;
use process::python_run::PythonRunError;
use process::run_folder::RunFolder;

use crate::cli::exit::Ending;
use crate::cli::output::Failure;
use crate::cli::profile_arguments::ProfileArguments;
use crate::cli::reports::Reporting;
use crate::cli::rows;

/// Profiles a program of each family on each build.
pub(super) fn profile_builds(
    arguments: &ProfileArguments,
    interrupted: &'static AtomicBool,
) -> Result<Ending, Failure> {
    let rows = rows::with_cache(&arguments.source, arguments.jit, interrupted)?;
    let folder = RunFolder::after_cleaning()?;
    // The profiler starts its target, which would outlive a profiler that is killed.
    let _guard = RunGuard::start(folder.path())?;
    let deadline = Instant::now() + arguments.budget;
    let _bound = BoundedRun::new(arguments.budget);
    let stopped = || interrupted.load(Ordering::Relaxed);
    let mut events = Reporting::of_items("profile", &arguments.reports, Some(arguments.format))?;
    let all: Vec<(&BuildVariant, Family)> =
        rows.iter().flat_map(|row| arguments.family.iter().map(move |&family| (row, family))).collect();
    for (done, &(row, family)) in all.iter().enumerate() {
        let begun = Instant::now();
        let (verdict, short, text) = if begun < deadline {
            let mut doing = |what: &str| {
                let doing = format!("{}, {family}, {what}", row.name);
                events.event(&Event::Working { done: done as u64, of: all.len() as u64, doing });
            };
            one(arguments, row, family, folder.path(), &mut doing)?
        } else {
            (Verdict::Inconclusive, "the budget is spent; give a longer --budget".to_owned(), String::new())
        };
        let text = format!("{}, {family}, seed {}: {verdict}: {short}\n{text}", row.name, arguments.seed);
        let (name, of, seconds) = (family.to_string(), row.name.clone(), begun.elapsed().as_secs_f64());
        let item = Item { name, of, verdict, seconds, short, text, history: Vec::new() };
        events.event(&Event::ItemFinished(Box::new(item)));
        if stopped() {
            break;
        }
    }
    events.finish_items(None, stopped())
}

/// The verdict, in one line and in whole.
fn one(
    arguments: &ProfileArguments,
    row: &BuildVariant,
    family: Family,
    folder: &Path,
    doing: &mut dyn FnMut(&str),
) -> Result<(Verdict, String, String), Failure> {
    let inside = tempfile::tempdir_in(folder)?;
    let plan = ProfilePlan {
        variant: row,
        family,
        seed: arguments.seed,
        overrides: arguments.size.overrides(),
        seconds: arguments.seconds,
        folder: inside.path(),
    };
    match profile(&plan, doing) {
        Ok(outcome) => Ok((outcome.verdict(), outcome.short(), outcome.text())),
        Err(ProfilingError::Python(why @ (PythonRunError::Hangs { .. } | PythonRunError::CalledOff(_)))) => {
            Ok((Verdict::Inconclusive, why.to_string(), String::new()))
        }
        Err(
            why @ (ProfilingError::Python(PythonRunError::Start { .. })
            | ProfilingError::File { .. }
            | ProfilingError::Refused { .. }),
        ) => Err(format!("{}: {why}", row.name).into()),
    }
}
