//! The verb that measures.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use indicatif::ProgressBar;

use crate::bench::document::Document;
use crate::bench::markdown;
use crate::bench::plan::{Wishes, plan};
use crate::bench::run::{Options, run};
use crate::cli::bench_arguments::{Bench, BenchFormat};
use crate::cli::verbs::{Failure, print, random_seed};
use crate::cli::{exit, folder, rows};
use crate::report::finding::WALKERS;
use crate::sample::WalkerKind;

/// Measures, or takes what was measured before, and prints it.
pub(super) fn bench(arguments: &Bench, interrupted: &'static AtomicBool) -> Result<u8, Failure> {
    let document = match &arguments.from {
        Some(file) => read(file)?,
        None => measured(arguments, interrupted)?,
    };
    let text = match arguments.format {
        BenchFormat::Human | BenchFormat::Markdown => markdown::render(&document),
        BenchFormat::Json => document.to_json()?,
    };
    match &arguments.output {
        Some(file) => fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?,
        None => print(&text)?,
    }
    Ok(if document.interrupted && arguments.from.is_none() {
        exit::INTERRUPTED
    } else if document.points.iter().any(|point| point.series.iter().any(|series| !series.blocks.is_empty())) {
        exit::PASS
    } else {
        exit::INCONCLUSIVE
    })
}

fn read(file: &Path) -> Result<Document, Failure> {
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Document::from_json(&text).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn measured(arguments: &Bench, interrupted: &'static AtomicBool) -> Result<Document, Failure> {
    let rows = rows::with_cache(&arguments.source, arguments.jit, interrupted)?;
    let wishes =
        Wishes { parts: arguments.part.clone(), depths: arguments.depth.clone(), budget: arguments.budget };
    let plan = plan(&wishes, rows.len());
    let folder = folder::for_run(&std::env::temp_dir())?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let progress = |number: usize, all: usize, what: &str| {
        bar.set_length(all as u64);
        bar.set_position(number as u64);
        bar.set_message(what.to_owned());
    };
    let document = run(
        &Options {
            plan: &plan,
            walkers: &walkers(&arguments.walker),
            budget: arguments.budget,
            seed: arguments.seed.unwrap_or_else(random_seed),
            folder: folder.path(),
            interrupted,
            progress: &progress,
        },
        &rows,
    );
    bar.finish_and_clear();
    Ok(document)
}

/// Those that were asked for, each with the uncached one that it is compared with.
fn walkers(asked: &[WalkerKind]) -> Vec<WalkerKind> {
    let wanted = |kind: WalkerKind| {
        asked.is_empty()
            || asked.contains(&kind)
            || markdown::PAIRS.iter().any(|(uncached, cached)| *uncached == kind && asked.contains(cached))
    };
    WALKERS.into_iter().filter(|kind| wanted(*kind)).collect()
}
