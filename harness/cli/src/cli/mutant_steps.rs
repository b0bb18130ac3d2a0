//! What the hunts of all kinds of mutants share: they tell of their progress, and keep what they made.

use std::path::PathBuf;
use std::time::Instant;

use lab::mutants::report::MutantReport;
use model::run::event::{Consumer, Event};
use process::build::BuildVariant;

use crate::cli::mutants_arguments::Mutants;
use crate::cli::output::Failure;

/// Reports a mutant as soon as it is judged. `of` names what was changed, and `begun` is when its hunt began.
pub(super) fn judged(events: &mut dyn Consumer, of: &str, mutant: &MutantReport, begun: Instant) {
    let item = mutant.item(of, begun.elapsed().as_secs_f64());
    events.event(&Event::ItemFinished(Box::new(item)));
}

/// Shows on the progress line which mutant is hunted, and how many of its kind were.
pub(super) fn hunting(events: &mut dyn Consumer, done: usize, of: usize, doing: &str) {
    events.event(&Event::Working { done: done as u64, of: of as u64, doing: doing.to_owned() });
}

/// The folder in which a mutant is kept. Creates it if necessary.
pub(super) fn kept(arguments: &Mutants, row: &BuildVariant, name: &str) -> Result<Option<PathBuf>, Failure> {
    let Some(keep) = &arguments.keep else { return Ok(None) };
    let folder = std::path::absolute(keep)?.join(row.name.replace(' ', "-")).join(name);
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    Ok(Some(folder))
}
