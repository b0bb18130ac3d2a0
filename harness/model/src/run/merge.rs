//! Merges the reports of the shards of one run and judges them as one.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::run::cell::{PlannedCell, Row};
use crate::run::cell_report::CellReport;
use crate::run::distinct::DistinctViolation;
use crate::run::document::Document;
use crate::run::event::{Consumer, Event};
use crate::run::finding::Finding;
use crate::run::known::KnownFailures;
use crate::run::part::Part;
use crate::run::summary::{Rules, Summary};

/// A report and the file it was read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file that it was loaded from, for error messages.
    pub path: PathBuf,
    /// The report in the file.
    pub document: Document,
}

/// Why reports cannot be merged.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("no report was given")]
    Nothing,
    /// The report does not say which part of a run it is.
    #[error(
        "{} does not say which part of a run it belongs to: an older framediff or `attach` wrote it; create it again \
         with `framediff check --shard K/N --seed SEED --format json`", path.display()
    )]
    NoPart {
        /// The report without a part.
        path: PathBuf,
    },
    /// Two reports are from different runs.
    #[error("{} and {} are from different runs: {what} differ: {left} and {right}", first.display(), other.display())]
    Differ {
        /// The file of the first report.
        first: PathBuf,
        /// The file of the other report.
        other: PathBuf,
        /// What differs, as a plural noun.
        what: &'static str,
        /// The value in the first report.
        left: String,
        /// The value in the other report.
        right: String,
    },
    /// Two reports contain the same shard.
    #[error("{} and {} both contain shard {shard}/{of}: leave one of them out", first.display(), other.display())]
    Twice {
        /// The file of the first report.
        first: PathBuf,
        /// The file of the other report.
        other: PathBuf,
        /// The shard, counted from 1.
        shard: u64,
        /// How many shards the run has.
        of: u64,
    },
    /// The report does not have the cells of its shards.
    #[error("{} is damaged: it has {has} cells, but its shards have {must}", path.display())]
    Cells {
        /// The file of the damaged report.
        path: PathBuf,
        /// How many it has.
        has: u64,
        /// How many it must have.
        must: u64,
    },
}

/// Reports that claim more shards or cells than this are rejected as damaged.
const MOST: u64 = 1 << 24;

/// Merges the reports of shards. A missing shard is not an error, but the merged run cannot pass.
///
/// # Errors
/// The reports are from different runs, a shard occurs twice, or a report is damaged.
pub fn merge(sources: &[Source], known: &KnownFailures) -> Result<Summary, MergeError> {
    let first = sources.first().ok_or(MergeError::Nothing)?;
    let parts: Vec<&Part> = sources.iter().map(part).collect::<Result<_, _>>()?;
    let first_part = parts.first().copied().ok_or(MergeError::Nothing)?;
    for (other, other_part) in sources.iter().zip(&parts).skip(1) {
        one_run(first, first_part, other, other_part)?;
    }
    let mut shards: Vec<(u64, &Source)> = sources
        .iter()
        .zip(&parts)
        .flat_map(|(source, part)| part.shards.iter().map(move |&shard| (shard, source)))
        .collect();
    shards.sort_by_key(|(shard, _)| *shard);
    if let Some([(shard, first), (_, other)]) = shards.array_windows().find(|[(left, _), (right, _)]| left == right) {
        let (first, other) = (first.path.clone(), other.path.clone());
        return Err(MergeError::Twice { first, other, shard: *shard, of: first_part.of });
    }
    let part = Part { shards: shards.iter().map(|(shard, _)| *shard).collect(), ..first_part.clone() };

    let cells = in_order(sources, &parts)?;
    let rules =
        Rules { known: known.clone(), strict: first.document.strict, confidence: part.confidence, sought: None };
    let mut summary = Summary::new(rules);
    summary.event(&Event::RunStarted {
        rows: first.document.builds.clone(),
        plan: cells
            .iter()
            .map(|report| PlannedCell { cell: report.cell.clone(), expected: report.expected.clone() })
            .collect(),
        seed: first.document.seed,
        budget: sources.iter().map(|source| source.document.budget).fold(Duration::ZERO, Duration::saturating_add),
        // Like the budget, the numbers do not decide whether two reports are from one run. One is kept only if all reports
        // agree on it.
        stops: first
            .document
            .stops
            .filter(|_| sources.iter().all(|other| other.document.stops == first.document.stops)),
        schedules: first
            .document
            .schedules
            .filter(|_| sources.iter().all(|other| other.document.schedules == first.document.schedules)),
        part: Some(part),
    });
    summary.is_merged();
    for CellReport { cell, outcome, tallies, schedules, phases, unconfirmed, profiles, .. } in cells {
        for (&walker, schedules) in schedules {
            summary.event(&Event::Schedules { cell: cell.clone(), walker, schedules: schedules.clone() });
        }
        for observed in profiles {
            summary.event(&Event::Profile { cell: cell.clone(), observed: observed.clone() });
        }
        summary.event(&Event::Spent { cell: cell.clone(), phases: phases.clone() });
        for (&walker, tally) in tallies {
            summary.event(&Event::Samples { cell: cell.clone(), walker, tally: tally.clone() });
        }
        for excess in unconfirmed {
            summary.event(&Event::Unconfirmed { cell: cell.clone(), excess: excess.clone() });
        }
        summary.event(&Event::CellFinished { cell: cell.clone(), outcome: outcome.clone() });
    }
    for finding in sources.iter().flat_map(|source| findings(&source.document)) {
        summary.event(&Event::Violation(Box::new(finding)));
    }
    summary.event(&Event::RunFinished { interrupted: sources.iter().any(|source| source.document.interrupted) });
    Ok(summary)
}

/// The findings of a report, one for each cell in which they occurred. Findings with the same fingerprint share the
/// evidence of the first.
fn findings(document: &Document) -> impl Iterator<Item = Finding> + '_ {
    document.violations.iter().flat_map(|DistinctViolation { first, count, places, .. }| {
        let version =
            |row: &str| document.builds.iter().find(|build| build.name == row).map(|build| build.version.clone());
        let whole = places.is_empty().then(|| Finding { count: *count, ..first.clone() });
        let of_place = places.iter().map(move |place| Finding {
            row: place.row.clone(),
            version: version(&place.row).unwrap_or_else(|| first.version.clone()),
            family: place.family.clone(),
            seed: place.seed,
            count: place.count,
            ..first.clone()
        });
        whole.into_iter().chain(of_place)
    })
}

fn part(source: &Source) -> Result<&Part, MergeError> {
    let Source { path, document } = source;
    let part = document.part.as_ref().ok_or_else(|| MergeError::NoPart { path: path.clone() })?;
    let cells = document.cells.len() as u64;
    let is_sane =
        part.of <= MOST && part.cells <= MOST && part.shards.iter().all(|shard| (1..=part.of).contains(shard));
    let must = if is_sane { (0..part.cells).filter(|&number| part.holds(number)).count() as u64 } else { 0 };
    if !is_sane || cells != must {
        return Err(MergeError::Cells { path: path.clone(), has: cells, must });
    }
    Ok(part)
}

/// Fails if two reports are from different runs. The machine and the budget may differ.
fn one_run(first: &Source, first_part: &Part, other: &Source, other_part: &Part) -> Result<(), MergeError> {
    let (left, right) = (&first.document, &other.document);
    let builds = |rows: &[Row]| {
        let described = |row: &Row| format!("{} ({}, {}, {})", row.name, row.version, row.flavour, row.frame_cache);
        rows.iter().map(described).collect::<Vec<_>>().join(", ")
    };
    let interpreters = |part: &Part| {
        let short = |(row, digest): (&String, &String)| format!("{row}: {}", digest.get(..12).unwrap_or(digest));
        part.interpreters.iter().map(short).collect::<Vec<_>>().join(", ")
    };
    let weakenings = |part: &Part| part.weakenings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    for (what, left, right) in [
        ("the seeds", left.seed.to_string(), right.seed.to_string()),
        ("the versions of framediff", left.framediff.clone(), right.framediff.clone()),
        ("the builds", builds(&left.builds), builds(&right.builds)),
        ("the interpreters", interpreters(first_part), interpreters(other_part)),
        ("the --strict options", left.strict.to_string(), right.strict.to_string()),
        ("the numbers of shards", first_part.of.to_string(), other_part.of.to_string()),
        ("the weakenings", weakenings(first_part), weakenings(other_part)),
        ("the confidences", first_part.confidence.to_string(), other_part.confidence.to_string()),
        ("the numbers of cells", first_part.cells.to_string(), other_part.cells.to_string()),
        ("the selections, or the programs of the workloads", first_part.plan.clone(), other_part.plan.clone()),
    ] {
        if left != right {
            let (first, other) = (first.path.clone(), other.path.clone());
            return Err(MergeError::Differ { first, other, what, left, right });
        }
    }
    Ok(())
}

/// The cells in the order of the plan. Each report lists its own cells in that order.
fn in_order<'a>(sources: &'a [Source], parts: &[&Part]) -> Result<Vec<&'a CellReport>, MergeError> {
    let mut left: Vec<_> = sources.iter().map(|source| source.document.cells.iter()).collect();
    let count = parts.first().map_or(0, |part| part.cells);
    let mut cells = Vec::new();
    for number in 0..count {
        for (left, part) in left.iter_mut().zip(parts) {
            if part.holds(number) {
                cells.extend(left.next());
            }
        }
    }
    Ok(cells)
}
