//! What a run of `check` needs: its builds, its program, and the cells on them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lanes::cell::Sought;
use lanes::check::plan::{PROGRAM_LANES, PlanRequest};
use lanes::check::run::{CheckOptions, run};
use model::jit_mode::JitMode;
use model::run::event::Consumer;
use model::run::known::KnownFailures;
use model::workload::user_program::UserProgram;
use process::build::{BuildOptions, BuildVariant, Terminal, cache_folder, select, without_unwinder};
use process::guard::RunGuard;
use process::run_folder::RunFolder;

use crate::cli::check_arguments::Check;
use crate::cli::interrupt::{INTERRUPTED, interrupted};
use crate::cli::output::{Failure, tell};
use crate::cli::replay_command;
use crate::cli::shared_arguments::Jit;
use crate::cli::values::{Configurations, check_jobs_by_default, random_seed};

/// The user's own program that `check` should run, if any.
pub(super) fn user_program(arguments: &Check) -> Result<Option<UserProgram>, Failure> {
    let Some(file) = &arguments.program else { return Ok(None) };
    if let Some(lane) = arguments.selection.lane.iter().find(|lane| !PROGRAM_LANES.contains(lane)) {
        let why = "its schedules name the steps of a generated program";
        return Err(
            format!("--program runs only in the lanes stopped and live, but --lane selects {lane}: {why}").into()
        );
    }
    Ok(Some(UserProgram::load(file, arguments.arguments.clone())?))
}

/// The builds to test, in the run modes that the user selected.
pub(super) fn rows(
    arguments: &Check,
    pythons: &[PathBuf],
    options: &BuildOptions,
) -> Result<Vec<BuildVariant>, Failure> {
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    let selection = select(pythons, options, &cache, &mut Terminal::new(interrupted))?;
    for note in &selection.notes {
        tell(&format!("note: {note}"));
    }
    let is_selected = |row: &BuildVariant| match arguments.jit {
        None => true,
        Some(Jit::On) => row.jit == JitMode::On,
        Some(Jit::Off) => row.jit != JitMode::On,
    };
    let rows: Vec<BuildVariant> = selection.rows.into_iter().filter(is_selected).collect();
    if rows.is_empty() {
        return Err("no build has the run mode that --jit selects".into());
    }
    Ok(rows)
}

/// How long a run may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// The time for the whole run.
    pub(super) budget: Duration,
    /// The time for the live lane, if the other lanes do not share it.
    pub(super) live: Option<Duration>,
}

/// Runs the selected cells on these builds.
pub(super) fn run_on(
    arguments: &Check,
    rows: &[BuildVariant],
    extent: Extent,
    known: &KnownFailures,
    consumer: &mut dyn Consumer,
) -> Result<(), Failure> {
    let selected = &arguments.selection;
    let folder = RunFolder::after_cleaning()?;
    let program = user_program(arguments)?.map(Arc::new);
    let _guard = program.as_ref().map(|_| RunGuard::start(folder.path())).transpose()?;
    let sought = arguments.until.clone().map(Sought::new);
    let replay = |row: &_, cell: &_, failure: &_| replay_command::command(arguments, row, cell, failure);
    let options = CheckOptions {
        wishes: PlanRequest {
            families: selected.family.clone(),
            program,
            lanes: selected.lane.clone(),
            walkers: selected.walker.clone(),
            configurations: Configurations::named(&selected.configuration),
            weakenings: selected.weaken.iter().copied().collect(),
            without_unwinder: without_unwinder(rows),
        },
        overrides: arguments.size.overrides(),
        seed: selected.seed.unwrap_or_else(random_seed),
        one_round: selected.seed.is_some() || arguments.stops.is_some() || arguments.schedules.is_some(),
        shard: selected.shard,
        budget: extent.budget,
        stops: arguments.stops,
        schedules: arguments.schedules,
        live: extent.live,
        jobs: arguments.jobs.map_or_else(check_jobs_by_default, std::num::NonZero::get),
        profiles: arguments.profiles,
        known,
        confidence: arguments.judging.confidence,
        folder: folder.path().to_owned(),
        interrupted: &INTERRUPTED,
        sought: sought.as_ref(),
        replay: &replay,
    };
    run(&options, rows, consumer);
    Ok(())
}
