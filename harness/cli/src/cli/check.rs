//! `check`: tests the frame cache of the builds under test.

use framewalk::sample::WalkerKind;
use model::lane::Lane;
use model::run::document::Document;
use model::run::summary::Summary;

use crate::cli::baseline::{Base, Tested, nothing_ran};
use crate::cli::check_arguments::Check;
use crate::cli::check_run::{Extent, rows, run_on, user_program};
use crate::cli::exit::Ending;
use crate::cli::interrupt::INTERRUPTED;
use crate::cli::output::Failure;
use crate::cli::reports::Reporting;
use crate::cli::{bundles, folder};

pub(super) fn check(arguments: &Check) -> Result<Ending, Failure> {
    Ok(run_check(arguments)?.ending)
}

/// The result of a run of `check`.
pub(super) struct Checked {
    pub(super) ending: Ending,
    /// The folded events of the run.
    pub(super) summary: Summary,
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
        bundles::of_check(folder, arguments, program.as_ref(), &rows, &mut document, &INTERRUPTED)?;
    }
    let summary = reporting.summary().clone();
    Ok(Checked { ending: reporting.finish_as(document)?, summary })
}
