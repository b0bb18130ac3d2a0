//! `check`: tests the frame cache of the builds under test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use framewalk::sample::WalkerKind;
use lanes::cell::Sought;
use lanes::check::plan::{PROGRAM_LANES, PlanRequest};
use lanes::check::run::{CheckOptions, run};
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::run::document::Document;
use model::run::event::Consumer;
use model::run::known::KnownFailures;
use model::run::summary::Summary;
use model::workload::user_program::UserProgram;
use process::build::{BuildOptions, BuildVariant, Terminal, cache_folder, select, without_unwinder};

use crate::cli::baseline::{Base, Tested, nothing_ran};
use crate::cli::check_arguments::Check;
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
    let mut rules = arguments.judging.rules()?;
    rules.sought.clone_from(&arguments.until);
    if !arguments.selection.weaken.is_empty() {
        // The failures of a weakened walker come from its weakening, even if the protocol has known failures.
        rules.known.forget_walker(WalkerKind::OwnCached, Lane::Live);
    }
    let base = arguments.baseline.as_deref().map(|path| Base::open(path, &rules.known)).transpose()?;
    let settled = base.as_ref().map(|base| base.settle(arguments)).transpose()?;
    let given = arguments;
    let arguments = settled.as_ref().unwrap_or(given);
    let mut reporting = Reporting::open(&arguments.reports.reports, Some(arguments.format), rules.clone())?;
    // The base comes first: its layout is proved where the change may be wrong.
    let of_base = base.as_ref().map(|base| base.rows(arguments)).transpose()?;
    let mut options = arguments.source.options();
    let layouts = of_base.iter().flatten().flatten().filter_map(|row| row.build.layout.as_ref().ok());
    options.proved.extend(layouts.map(|proved| proved.layout));
    let rows = rows(arguments, &arguments.source.python, &options)?;
    let extent = match &base {
        Some(base) => base.extent(given, &rows),
        None => Extent { budget: arguments.budget, live: None },
    };
    let tested = match base.zip(of_base) {
        Some((base, of_base)) => Some((base.name.clone(), base.test(of_base, arguments, &rows, extent, &rules)?)),
        None => None,
    };
    if let Some((_, Tested::No(_))) = &tested {
        let seed = arguments.selection.seed.unwrap_or_default();
        nothing_ran(&rows, seed, extent.budget, &mut reporting);
    } else {
        run_on(arguments, &rows, extent, &rules.known, &mut reporting)?;
    }
    let mut document = Document::from(reporting.summary());
    match &tested {
        Some((name, Tested::Yes(before))) => document.judge_against(name, before, rules.known.live()),
        Some((name, Tested::No(why))) => document.lacks_base(name, why),
        None => {}
    }
    if let Some(folder) = &arguments.bundles {
        let program = user_program(arguments)?;
        bundles::of_check(folder, arguments, program.as_ref(), &rows, &document, &INTERRUPTED)?;
    }
    let summary = reporting.summary().clone();
    Ok(Checked { ending: reporting.finish_as(document)?, summary })
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
    let folder = folder::for_run(&std::env::temp_dir())?;
    let sought = arguments.until.clone().map(Sought::new);
    let replay = |row: &_, cell: &_, failure: &_| replay_command::command(arguments, row, cell, failure);
    let options = CheckOptions {
        wishes: PlanRequest {
            families: selected.family.clone(),
            program: user_program(arguments)?.map(Arc::new),
            lanes: selected.lane.clone(),
            walkers: selected.walker.clone(),
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
