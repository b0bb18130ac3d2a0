//! `bench`: measures the walkers.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use framewalk::sample::WalkerKind;
use lab::bench::baseline::{BaselineComparison, compare};
use lab::bench::derived::{Derived, derive};
use lab::bench::document::BenchDocument;
use lab::bench::plan::{BenchRequest, plan};
use lab::bench::run::{BenchOptions, run};
use lab::bench::{markdown, svg};
use model::files;
use model::run::event::{Consumer, Event};
use process::deadline::BoundedRun;
use process::run_folder::RunFolder;
use serde::Serialize;

use crate::cli::bench_arguments::{Bench, BenchFormat};
use crate::cli::exit::Ending;
use crate::cli::output::{Failure, print, write};
use crate::cli::reports::Reporting;
use crate::cli::rows;
use crate::cli::values::random_seed;
use crate::report::saved::{Content, LONGEST};

/// Measures, or reads an earlier result, and prints it.
pub(super) fn bench(arguments: &Bench, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    // Read first, so that an unusable baseline fails before anything is measured.
    let baseline = arguments.baseline.as_deref().map(read).transpose()?;
    let events = RefCell::new(Reporting::of_items("bench", &arguments.reports, None)?);
    let document = match &arguments.from {
        Some(file) => read(file)?,
        None => measured(arguments, interrupted, &events)?,
    };
    for point in &document.points {
        events.borrow_mut().event(&Event::ItemFinished(Box::new(point.item())));
    }
    let comparison = match &baseline {
        Some(baseline) if document.is_measured() => Some(compare(baseline, &document)?),
        _ => None,
    };
    let text = match arguments.format {
        BenchFormat::Human | BenchFormat::Markdown => markdown::render(&document, comparison.as_ref()),
        BenchFormat::Json => json(&document, comparison.as_ref())?,
        BenchFormat::Svg => svg::render(&document).map_err(|error| error.to_string())?,
    };
    match &arguments.output {
        Some(file) => write(file, &text)?,
        None => print(&text)?,
    }
    let interrupted = document.interrupted && arguments.from.is_none();
    let content = Content::Bench(Box::new(document));
    let ending = events.into_inner().finish_items(Some(content), interrupted)?;
    let is_slower = comparison.is_some_and(|comparison| comparison.is_slower());
    Ok(if ending == Ending::PASS && arguments.fail_if_slower && is_slower { Ending::FAIL } else { ending })
}

/// The document, which can serve as a baseline itself, with its derived numbers and the comparison.
fn json(document: &BenchDocument, comparison: Option<&BaselineComparison>) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct JsonView<'a> {
        #[serde(flatten)]
        document: &'a BenchDocument,
        /// For readers who do not want to resample the blocks themselves.
        derived: Vec<Derived<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        comparison: Option<&'a BaselineComparison>,
    }
    Ok(serde_json::to_string_pretty(&JsonView { document, derived: derive(document), comparison })? + "\n")
}

fn read(file: &Path) -> Result<BenchDocument, Failure> {
    let bytes = files::read(file, LONGEST).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    BenchDocument::from_json(&bytes).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn measured(
    arguments: &Bench,
    interrupted: &'static AtomicBool,
    events: &RefCell<Reporting>,
) -> Result<BenchDocument, Failure> {
    let rows = rows::with_cache(&arguments.source, arguments.jit, interrupted)?;
    let wishes =
        BenchRequest { parts: arguments.part.clone(), depths: arguments.depth.clone(), budget: arguments.budget };
    let plan = plan(&wishes, rows.len());
    let folder = RunFolder::after_cleaning()?;
    let _bound = BoundedRun::new(arguments.budget);
    let progress = |done: usize, of: usize, what: &str| {
        let working = Event::Working { done: done as u64, of: of as u64, doing: what.to_owned() };
        events.borrow_mut().event(&working);
    };
    Ok(run(
        &BenchOptions {
            plan: &plan,
            walkers: &walkers(&arguments.walker),
            budget: arguments.budget,
            seed: arguments.seed.unwrap_or_else(random_seed),
            folder: folder.path(),
            interrupted,
            progress: &progress,
        },
        &rows,
    ))
}

/// The requested walkers, each with the uncached walker that it is compared with.
fn walkers(asked: &[WalkerKind]) -> Vec<WalkerKind> {
    let wanted = |kind: WalkerKind| {
        asked.is_empty() || asked.contains(&kind) || asked.iter().any(|cached| cached.uncached() == Some(kind))
    };
    WalkerKind::ALL.into_iter().filter(|kind| wanted(*kind)).collect()
}
