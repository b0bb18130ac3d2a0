//! The lines of the table, each a sum over cells, and what each line contributes to the verdict.

use std::collections::{BTreeMap, BTreeSet};

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::lane::Lane;
use crate::oracle::proportion::Proportion;
use crate::oracle::statistics::{Comparison, Demand, compare};
use crate::oracle::tally::Tally;
use crate::run::cell::{CellId, CellOutcome, Expected, NotRun, Row};
use crate::run::cell_report::CellReport;
use crate::run::verdict::{Advice, Doubt, Failure, LineVerdict};

/// One line of the table: everything that one walker did on one row in one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The name of the row.
    pub row: String,
    /// The lane of all cells in this line.
    pub lane: Lane,
    /// The walker whose samples are summed up.
    pub walker: WalkerKind,
    /// The sum over all families.
    pub tally: Tally,
    /// The verdict on this line.
    pub verdict: LineVerdict,
}

pub(super) type LineKey = (String, Lane, WalkerKind);

/// Which kinds of violations a line has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ViolationFlags {
    pub(super) known: bool,
    pub(super) failing: bool,
}

/// The facts of each line, in the order of the rows, then by lane, then by the walkers' rank.
///
/// In the live lane, a cached walker passes only if its excess over its uncached counterpart is bounded with
/// `confidence`. If it is not, that is advice, not a doubt.
pub(super) fn facts(
    rows: &[Row],
    cells: &[CellReport],
    struck: &BTreeMap<LineKey, ViolationFlags>,
    confidence: f64,
) -> Vec<LineJudgement> {
    let rank = |row: &str| rows.iter().position(|known| known.name == row).unwrap_or(usize::MAX);
    let mut lines: BTreeMap<(usize, String, Lane, u8), (WalkerKind, LineCells)> = BTreeMap::new();
    for report in cells {
        let walkers: BTreeSet<_> = report.cell.walkers.iter().chain(report.tallies.keys()).copied().collect();
        for walker in walkers {
            let CellId { row, lane, .. } = &report.cell;
            let key = (rank(row), row.clone(), *lane, walker.rank());
            lines.entry(key).or_insert_with(|| (walker, LineCells::default())).1.add(report, walker);
        }
    }
    let mut facts: Vec<LineJudgement> = lines
        .into_iter()
        .map(|((_, row, lane, _), (walker, cells))| {
            let key = (row, lane, walker);
            let struck = struck.get(&key).copied().unwrap_or_default();
            cells.fact(&key, struck)
        })
        .collect();
    let baselines: BTreeMap<LineKey, Proportion> = facts
        .iter()
        .map(|fact| (fact.key(), fact.line.tally.impossible_of_accepted()))
        .filter(|(_, baseline)| baseline.samples > 0)
        .collect();
    for fact in &mut facts {
        let (row, lane, walker) = fact.key();
        let Some(uncached) = walker.uncached().filter(|_| !lane.has_zero_tolerance(walker)) else { continue };
        if fact.line.verdict == LineVerdict::Pass {
            let baseline = baselines.get(&(row, lane, uncached)).copied().unwrap_or(Proportion::new(0, 0));
            fact.bound(baseline, Demand::new(confidence, 1));
        }
    }
    facts
}

impl LineJudgement {
    fn key(&self) -> LineKey {
        (self.line.row.clone(), self.line.lane, self.line.walker)
    }

    /// Marks the line as undecided if its excess over `uncached` is not bounded.
    fn bound(&mut self, uncached: Proportion, demand: Demand) {
        let cached = self.line.tally.impossible_of_accepted();
        if uncached.samples == 0 {
            let (row, _, walker) = self.key();
            self.line.verdict = LineVerdict::Inconclusive;
            self.doubt = Some(Doubt::NothingToCompare { row, walker });
        } else if let Comparison::CannotTell { excess_at_most } = compare(cached, uncached, demand) {
            let (row, _, walker) = self.key();
            let excess = format!("{:.1} %", excess_at_most * 100.0);
            self.line.verdict = LineVerdict::Undecided;
            self.advice = Some(Advice::TooFew { row, walker, cached, uncached, excess });
        }
    }
}

/// The cells of a line, added up.
#[derive(Default)]
struct LineCells {
    tally: Tally,
    expected: Expected,
    ran: bool,
    doubtful: bool,
}

/// A line, and what it contributes to the verdict.
pub(super) struct LineJudgement {
    /// The line of the table.
    pub(super) line: Line,
    /// Wrong samples that no violation describes.
    pub(super) undescribed: Option<Failure>,
    /// What keeps the line from passing.
    pub(super) doubt: Option<Doubt>,
    /// A remark that does not influence the verdict.
    pub(super) advice: Option<Advice>,
}

impl LineCells {
    fn add(&mut self, report: &CellReport, walker: WalkerKind) {
        if let Some(tally) = report.tallies.get(&walker) {
            self.tally += tally;
        }
        match &report.outcome {
            CellOutcome::Ran => {
                self.ran = true;
                self.expected = self.expected.or(report.expected.get(&walker).copied().unwrap_or(Expected::NONE));
            }
            CellOutcome::NotRun(NotRun::NotApplicable(_) | NotRun::LeftOut) => {}
            CellOutcome::NotRun(_) | CellOutcome::Inconclusive(_) => self.doubtful = true,
        }
    }

    fn fact(self, (row, lane, walker): &LineKey, struck: ViolationFlags) -> LineJudgement {
        let (row, lane, walker) = (row.clone(), *lane, *walker);
        let wrong = self.tally.impossible() + self.tally.differences;
        let described = struck.known || struck.failing;
        let undescribed = (wrong > 0 && lane.has_zero_tolerance(walker) && !described).then(|| Failure::Undescribed {
            row: row.clone(),
            lane,
            walker,
            samples: wrong,
        });

        let missing = self.missing();
        let doubt = if !self.ran {
            None
        } else if self.tally.accepted() == 0 {
            Some(Doubt::NoStacks { row: row.clone(), lane, walker })
        } else if !missing.is_empty() {
            Some(Doubt::Vacuous { row: row.clone(), lane, walker, missing })
        } else {
            None
        };
        let verdict = if struck.failing || undescribed.is_some() {
            LineVerdict::Fail
        } else if matches!(doubt, Some(Doubt::Vacuous { .. })) {
            LineVerdict::Vacuous
        } else if doubt.is_some() || (self.ran && self.doubtful) {
            LineVerdict::Inconclusive
        } else if !self.ran && self.tally.samples == 0 {
            LineVerdict::NotRun
        } else if !self.ran {
            LineVerdict::Inconclusive
        } else if struck.known {
            LineVerdict::Known
        } else {
            LineVerdict::Pass
        };
        LineJudgement { line: Line { row, lane, walker, tally: self.tally, verdict }, undescribed, doubt, advice: None }
    }

    fn missing(&self) -> Vec<String> {
        [
            (self.expected.full_hits, self.tally.full_hits, "full hit"),
            (self.expected.partial_hits, self.tally.partial_hits, "partial hit"),
            (self.expected.misses, self.tally.misses(), "miss"),
        ]
        .into_iter()
        .filter(|(expected, count, _)| *expected && *count == 0)
        .map(|(.., name)| name.to_owned())
        .collect()
    }
}
