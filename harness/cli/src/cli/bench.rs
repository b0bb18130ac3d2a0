//! `bench`: measures the walkers.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use framewalk::sample::WalkerKind;
use indicatif::{ProgressBar, ProgressStyle};
use lab::bench::baseline::{BaselineComparison, compare};
use lab::bench::derived::{Derived, PAIRS, derive};
use lab::bench::document::BenchDocument;
use lab::bench::plan::{BenchRequest, plan};
use lab::bench::run::{BenchOptions, run};
use lab::bench::{markdown, svg};
use serde::Serialize;

use crate::cli::bench_arguments::{Bench, BenchFormat};
use crate::cli::output::{Failure, print};
use crate::cli::values::random_seed;
use crate::cli::{exit, folder, rows};

/// Measures, or reads an earlier result, and prints it.
pub(super) fn bench(arguments: &Bench, interrupted: &'static AtomicBool) -> Result<u8, Failure> {
    // Read first, so that an unusable baseline fails before anything is measured.
    let baseline = arguments.baseline.as_deref().map(read).transpose()?;
    let document = match &arguments.from {
        Some(file) => read(file)?,
        None => measured(arguments, interrupted)?,
    };
    let comparison = match &baseline {
        Some(baseline) if is_measured(&document) => Some(compare(baseline, &document)?),
        _ => None,
    };
    let text = match arguments.format {
        BenchFormat::Human | BenchFormat::Markdown => markdown::render(&document, comparison.as_ref()),
        BenchFormat::Json => json(&document, comparison.as_ref())?,
        BenchFormat::Svg => svg::render(&document).map_err(|error| error.to_string())?,
    };
    match &arguments.output {
        Some(file) => fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?,
        None => print(&text)?,
    }
    Ok(if document.interrupted && arguments.from.is_none() {
        exit::INTERRUPTED
    } else if !is_measured(&document) {
        exit::INCONCLUSIVE
    } else if arguments.fail_if_slower && comparison.is_some_and(|comparison| comparison.is_slower()) {
        exit::VIOLATION
    } else {
        exit::PASS
    })
}

fn is_measured(document: &BenchDocument) -> bool {
    document.points.iter().flat_map(|point| &point.series).any(|series| !series.blocks.is_empty())
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
    let text = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    BenchDocument::from_json(&text).map_err(|error| format!("{}: {error}", file.display()).into())
}

fn measured(arguments: &Bench, interrupted: &'static AtomicBool) -> Result<BenchDocument, Failure> {
    let rows = rows::with_cache(&arguments.source, arguments.jit, interrupted)?;
    let wishes =
        BenchRequest { parts: arguments.part.clone(), depths: arguments.depth.clone(), budget: arguments.budget };
    let plan = plan(&wishes, rows.len());
    let folder = folder::for_run(&std::env::temp_dir())?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    // The template is a constant: a mistake in it must show as a plain bar and not abort the run.
    let style = ProgressStyle::with_template("[{bar:20}] {pos}/{len} {wide_msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    let progress = |number: usize, all: usize, what: &str| {
        bar.set_length(all as u64);
        bar.set_position(number as u64);
        bar.set_message(what.to_owned());
    };
    let document = run(
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
    );
    bar.finish_and_clear();
    Ok(document)
}

/// The requested walkers, each with the uncached walker that it is compared with.
fn walkers(asked: &[WalkerKind]) -> Vec<WalkerKind> {
    let wanted = |kind: WalkerKind| {
        asked.is_empty()
            || asked.contains(&kind)
            || PAIRS.iter().any(|(uncached, cached)| *uncached == kind && asked.contains(cached))
    };
    WalkerKind::ALL.into_iter().filter(|kind| wanted(*kind)).collect()
}
