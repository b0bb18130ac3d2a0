//! Selects the builds with a frame cache.

use std::sync::atomic::{AtomicBool, Ordering};

use model::jit_mode::JitMode;
use process::build::{BuildVariant, Terminal, cache_folder, select};

use crate::cli::output::{Failure, tell};
use crate::cli::shared_arguments::{BuildSource, Jit};

/// The selected rows that have a frame cache, in the requested run mode. There is at least one.
pub(super) fn with_cache(
    source: &BuildSource,
    jit: Option<Jit>,
    interrupted: &'static AtomicBool,
) -> Result<Vec<BuildVariant>, Failure> {
    let cache = cache_folder(source.cache.as_deref())?;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let selection = select(&source.python, &source.options(), &cache, &mut Terminal::new(stopped))?;
    for note in &selection.notes {
        tell(&format!("note: {note}"));
    }
    let wanted = |row: &BuildVariant| {
        let has_cache = row.build.usable().is_ok_and(|layout| layout.thread.cache.is_some());
        has_cache && jit.is_none_or(|wanted| (row.jit == JitMode::On) == (wanted == Jit::On))
    };
    let rows: Vec<BuildVariant> = selection.rows.into_iter().filter(wanted).collect();
    if rows.is_empty() {
        return Err("no build with the frame cache has the run mode that --jit selects".into());
    }
    Ok(rows)
}
