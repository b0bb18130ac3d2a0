//! `check`: tests the frame cache of the builds under test.

use std::sync::Arc;

use framewalk::sample::WalkerKind;
use lanes::cell::Sought;
use lanes::check::plan::{PROGRAM_LANES, PlanRequest};
use lanes::check::run::{CheckOptions, run};
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::run::summary::Summary;
use model::workload::user_program::UserProgram;
use process::build::{BuildVariant, Terminal, cache_folder, select, without_unwinder};

use crate::cli::arguments::Check;
use crate::cli::exit::Ending;
use crate::cli::interrupt::{INTERRUPTED, interrupted};
use crate::cli::output::{Failure, tell};
use crate::cli::reports::Reporting;
use crate::cli::shared_arguments::Jit;
use crate::cli::values::{check_jobs_by_default, random_seed};
use crate::cli::{bundles, folder, replay_command};

pub(super) fn check(arguments: &Check) -> Result<Ending, Failure> {
    Ok(run_check(arguments)?.ending)
}

/// The result of a run of `check`.
pub(super) struct Checked {
    pub(super) ending: Ending,
    /// The folded events of the run.
    pub(super) summary: Summary,
}

/// The user's own program that `check` should run, if any.
fn user_program(arguments: &Check) -> Result<Option<UserProgram>, Failure> {
    let Some(file) = &arguments.program else { return Ok(None) };
    if let Some(lane) = arguments.selection.lane.iter().find(|lane| !PROGRAM_LANES.contains(lane)) {
        let why = "its schedules name the steps of a generated program";
        return Err(
            format!("--program runs only in the lanes stopped and live, but --lane selects {lane}: {why}").into()
        );
    }
    Ok(Some(UserProgram::load(file, arguments.arguments.clone())?))
}

/// Runs `check` and writes its reports.
pub(super) fn run_check(arguments: &Check) -> Result<Checked, Failure> {
    if let Some(folder) = &arguments.bundles {
        folder::for_results(folder)?;
    }
    let program = user_program(arguments)?.map(Arc::new);
    let mut rules = arguments.judging.rules()?;
    rules.sought.clone_from(&arguments.until);
    if !arguments.selection.weaken.is_empty() {
        // The failures of a weakened walker come from its weakening, even if the protocol has known failures.
        rules.known.forget_walker(WalkerKind::OwnCached, Lane::Live);
    }
    let known = rules.known.clone();
    let mut reporting = Reporting::open(&arguments.reports.reports, Some(arguments.format), rules)?;
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    let selection =
        select(&arguments.source.python, &arguments.source.options(), &cache, &mut Terminal::new(interrupted))?;
    for note in &selection.notes {
        tell(&format!("note: {note}"));
    }
    let rows: Vec<BuildVariant> = selection
        .rows
        .into_iter()
        .filter(|row| match arguments.jit {
            None => true,
            Some(Jit::On) => row.jit == JitMode::On,
            Some(Jit::Off) => row.jit != JitMode::On,
        })
        .collect();
    if rows.is_empty() {
        return Err("no build has the run mode that --jit selects".into());
    }
    let selected = &arguments.selection;
    let folder = folder::for_run(&std::env::temp_dir())?;
    let sought = arguments.until.clone().map(Sought::new);
    let replay = |row: &_, cell: &_, failure: &_| replay_command::command(arguments, row, cell, failure);
    let options = CheckOptions {
        wishes: PlanRequest {
            families: selected.family.clone(),
            program: program.clone(),
            lanes: selected.lane.clone(),
            walkers: selected.walker.clone(),
            weakenings: selected.weaken.iter().copied().collect(),
            without_unwinder: without_unwinder(&rows),
        },
        overrides: arguments.size.overrides(),
        seed: selected.seed.unwrap_or_else(random_seed),
        one_round: selected.seed.is_some() || arguments.stops.is_some() || arguments.schedules.is_some(),
        shard: selected.shard,
        budget: arguments.budget,
        stops: arguments.stops,
        schedules: arguments.schedules,
        jobs: arguments.jobs.map_or_else(check_jobs_by_default, std::num::NonZero::get),
        profiles: arguments.profiles,
        known: &known,
        confidence: arguments.judging.confidence,
        folder: folder.path().to_owned(),
        interrupted: &INTERRUPTED,
        sought: sought.as_ref(),
        replay: &replay,
    };
    run(&options, &rows, &mut reporting);
    if let Some(folder) = &arguments.bundles {
        bundles::of_check(folder, arguments, program.as_deref(), &rows, reporting.summary(), &INTERRUPTED)?;
    }
    let summary = reporting.summary().clone();
    Ok(Checked { ending: reporting.finish()?, summary })
}
