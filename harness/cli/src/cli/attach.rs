//! `attach`: samples a running process.

use lanes::attach;
use lanes::check::run::grace;
use process::build::cache_folder;

use crate::cli::arguments::Attach;
use crate::cli::exit::Ending;
use crate::cli::interrupt::INTERRUPTED;
use crate::cli::output::Failure;
use crate::cli::reports::Reporting;

pub(super) fn attach_to(arguments: &Attach) -> Result<Ending, Failure> {
    let rules = arguments.judging.rules()?;
    let known = rules.known.clone();
    let mut reporting = Reporting::open(&arguments.reports.reports, Some(arguments.format), rules)?;
    let cache = cache_folder(None)?;
    let options = attach::AttachOptions {
        pid: arguments.pid,
        budget: arguments.budget,
        grace: grace(arguments.budget),
        write: arguments.write,
        known: &known,
        confidence: arguments.judging.confidence,
        layout_header: arguments.layout_header.as_deref(),
        free_threaded: arguments.experimental_free_threaded,
        cache: &cache,
        interrupted: &INTERRUPTED,
    };
    attach::run(&options, &mut reporting)?;
    reporting.finish()
}
