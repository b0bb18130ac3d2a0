//! The complete result of a run, as one document. Every report is made from it.

use std::time::Duration;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::run::cell::{CellId, CellOutcome, NotRun, Row};
use crate::run::cell_report::CellReport;
use crate::run::change::BaseComparison;
use crate::run::distinct::{DistinctViolation, NotSeen};
use crate::run::group::Group;
use crate::run::line::Line;
use crate::run::part::Part;
use crate::run::profiles::ProgramProfiles;
use crate::run::summary::Summary;
use crate::run::verdict::{Judgement, LineVerdict};
use crate::run::{group, profiles};

/// The version of the document format. It is increased when a field changes its meaning or is removed.
pub const VERSION: u32 = 1;

/// The complete result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The format version, see [`VERSION`].
    pub version: u32,
    /// The version of framediff that wrote the document.
    pub framediff: String,
    /// The seed of the run.
    pub seed: u64,
    /// The time budget of the run.
    #[serde(rename = "budget_seconds", with = "crate::seconds")]
    pub budget: Duration,
    /// How often each target of the stopped lane was stopped for each cached walker, if the run set that number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stops: Option<u32>,
    /// How many schedules of the stepped lane ran for each program, if the run set that number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<u32>,
    /// The architecture of the machine. Reports of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Which part of a shared run this is. Reports of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Whether known failures fail the run.
    pub strict: bool,
    /// Whether the user stopped the run.
    pub interrupted: bool,
    /// The verdict with its failures, doubts and advice.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The file that gave defaults for the options of the run, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// The builds under test, one entry for each run mode.
    pub builds: Vec<Row>,
    /// The table: one line for each row, lane and walker, summed over the families.
    pub table: Vec<Line>,
    /// Each distinct violation with its first example.
    pub violations: Vec<DistinctViolation>,
    /// The violations, grouped by probable cause. The groups that fail the run come first.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// The base of the run and how the run differs from it, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaseComparison>,
    /// Known failures that did not occur where they should have.
    pub known_not_seen: Vec<NotSeen>,
    /// The cells that did not run.
    pub not_run: Vec<NotRunCell>,
    /// Profiles compared with the truth, if the run measured them. They are advice only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<ProgramProfiles>,
    /// Every cell of the plan with its counts.
    pub cells: Vec<CellReport>,
}

impl Document {
    /// The violations grouped by probable cause, the groups that fail the run first. They are computed again rather
    /// than read from `groups`, because a file can contain anything.
    #[must_use]
    pub fn grouped(&self) -> Vec<Group> {
        let weakened = self.part.as_ref().is_some_and(|part| !part.weakenings.is_empty());
        group::groups(&self.violations, weakened, self.strict)
    }

    /// The walkers that ran in this cell without returning a stack, and whose table line is vacuous or inconclusive.
    /// For them the cell does not pass.
    pub fn without_stacks<'a>(&'a self, report: &'a CellReport) -> impl Iterator<Item = WalkerKind> + 'a {
        let cell = &report.cell;
        let proves_nothing = |walker: WalkerKind| {
            let line = |line: &&Line| (&line.row, line.lane, line.walker) == (&cell.row, cell.lane, walker);
            let line = self.table.iter().find(line);
            line.is_some_and(|line| matches!(line.verdict, LineVerdict::Vacuous | LineVerdict::Inconclusive))
        };
        let is_silent = |walker: WalkerKind| report.tallies.get(&walker).is_none_or(|tally| tally.accepted() == 0);
        let ran = report.outcome == CellOutcome::Ran;
        cell.walkers.iter().copied().filter(move |walker| ran && is_silent(*walker) && proves_nothing(*walker))
    }
}

/// Options of a run that a file decided because the command line did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defaults {
    /// The file.
    pub file: String,
    /// The long names of the options, without dashes.
    pub options: Vec<String>,
}

/// A cell that did not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotRunCell {
    /// The cell that did not run.
    pub cell: CellId,
    /// Why it did not run.
    #[serde(flatten)]
    pub why: NotRun,
}

impl From<&Summary> for Document {
    fn from(summary: &Summary) -> Self {
        let mut document = Self {
            version: VERSION,
            framediff: env!("CARGO_PKG_VERSION").to_owned(),
            seed: summary.seed(),
            budget: summary.budget(),
            stops: summary.stops(),
            schedules: summary.schedules(),
            architecture: Some(std::env::consts::ARCH.to_owned()),
            part: summary.part().cloned(),
            strict: summary.strict(),
            interrupted: summary.interrupted(),
            judgement: summary.judgement(),
            defaults: None,
            builds: summary.rows().to_vec(),
            table: summary.lines(),
            violations: summary.violations().to_vec(),
            known_not_seen: summary.known_not_seen(),
            not_run: summary.not_run().map(|(cell, why)| NotRunCell { cell: cell.clone(), why: why.clone() }).collect(),
            profiles: summary.cells().iter().filter_map(profiles::of_cell).collect(),
            groups: Vec::new(),
            baseline: None,
            cells: summary.cells().to_vec(),
        };
        document.groups = document.grouped();
        document
    }
}
