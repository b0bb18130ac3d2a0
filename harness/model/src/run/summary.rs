//! Folds the events of a run into the data for verdict, table and documents. Uses neither a clock nor a terminal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lane::Lane;
use crate::run::cell::{CellId, CellOutcome, Inconclusive, NotRun, PlannedCell, Row};
use crate::run::cell_report::CellReport;
use crate::run::distinct::{DistinctViolation, NotSeen};
use crate::run::event::{Consumer, Event};
use crate::run::finding::{Finding, Fingerprint};
use crate::run::known::{Confirmation, KnownFailures, has_known_protocol};
use crate::run::line;
use crate::run::line::{Line, LineJudgement, LineKey, ViolationFlags};
use crate::run::part::Part;
use crate::run::phases::Phases;
use crate::run::verdict::{Advice, Doubt, Failure, Judgement};
use crate::workload::user_program::is_user_program;

/// A known failure that does not occur in this many stacks is reported.
pub const ENOUGH_STACKS: u64 = 10_000;

/// The rules for the verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Failures that do not fail the run.
    pub known: KnownFailures,
    /// Whether known failures fail the run nevertheless.
    pub strict: bool,
    /// Confidence of the comparison of cached and uncached walkers.
    pub confidence: f64,
    /// The failure that the run is meant to reproduce. If it occurs, the run is over, and planned cells that did not
    /// run are no longer a doubt. If it does not occur, the run does not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sought: Option<Fingerprint>,
}

/// The state of a run after the events so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    rules: Rules,
    rows: Vec<Row>,
    seed: u64,
    budget: Duration,
    stops: Option<u32>,
    schedules: Option<u32>,
    cells: Vec<CellReport>,
    index: HashMap<CellId, usize>,
    violations: Vec<DistinctViolation>,
    struck: BTreeMap<LineKey, ViolationFlags>,
    interrupted: Option<bool>,
    part: Option<Part>,
    /// Whether this summary is merged from the reports of several parts, so that a missing part is a doubt.
    merged: bool,
}

impl Consumer for Summary {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { rows, plan, seed, budget, stops, schedules, part } => {
                (self.rows, self.seed, self.budget) = (rows.clone(), *seed, *budget);
                (self.stops, self.schedules) = (*stops, *schedules);
                self.part.clone_from(part);
                for planned in plan {
                    self.plan(planned);
                }
            }
            Event::CellStarted { cell } => {
                self.cell(cell);
            }
            Event::Samples { cell, walker, tally } => {
                *self.cell(cell).tallies.entry(*walker).or_default() += tally;
            }
            Event::Schedules { cell, walker, schedules } => {
                self.cell(cell).schedules.entry(*walker).or_default().extend(schedules);
            }
            Event::Spent { cell, phases } => self.cell(cell).phases += phases,
            Event::Profile { cell, observed } => self.cell(cell).profiles.push(observed.clone()),
            Event::Violation(finding) => self.violation(finding),
            Event::Unconfirmed { cell, excess } => self.cell(cell).unconfirmed.push(excess.clone()),
            Event::CellFinished { cell, outcome } => self.cell(cell).outcome = outcome.clone(),
            Event::ItemsStarted { .. } | Event::Working { .. } | Event::ItemFinished(_) => {}
            Event::RunFinished { interrupted } => {
                self.interrupted = Some(*interrupted);
                if *interrupted {
                    self.cut_off();
                }
            }
        }
    }
}

impl Summary {
    /// The summary before the first event.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            rows: Vec::new(),
            seed: 0,
            budget: Duration::ZERO,
            stops: None,
            schedules: None,
            cells: Vec::new(),
            index: HashMap::new(),
            violations: Vec::new(),
            struck: BTreeMap::new(),
            interrupted: None,
            part: None,
            merged: false,
        }
    }

    /// The builds under test, one entry for each run mode.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The seed of the run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time budget of the run.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// How often each target of the stopped lane was to be stopped for each cached walker, if the run set that number.
    #[must_use]
    pub fn stops(&self) -> Option<u32> {
        self.stops
    }

    /// How many schedules of the stepped lane were to run for each program, if the run set that number.
    #[must_use]
    pub fn schedules(&self) -> Option<u32> {
        self.schedules
    }

    /// Which part of a shared run this is; `None` if the run cannot be shared.
    #[must_use]
    pub fn part(&self) -> Option<&Part> {
        self.part.as_ref()
    }

    /// Marks the summary as merged: from here on a missing part is a doubt.
    pub(super) fn is_merged(&mut self) {
        self.merged = true;
    }

    /// Whether the user stopped the run.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.interrupted == Some(true)
    }

    /// Whether known failures fail the run.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.rules.strict
    }

    /// Every cell, in the order of the plan.
    #[must_use]
    pub fn cells(&self) -> &[CellReport] {
        &self.cells
    }

    /// The distinct violations, in the order in which they first occurred.
    #[must_use]
    pub fn violations(&self) -> &[DistinctViolation] {
        &self.violations
    }

    /// The cells that did not run, and why.
    pub fn not_run(&self) -> impl Iterator<Item = (&CellId, &NotRun)> {
        self.cells.iter().filter_map(|report| match &report.outcome {
            CellOutcome::NotRun(why) => Some((&report.cell, why)),
            _ => None,
        })
    }

    /// The lines of the table, in the order of the plan's rows, then by lane and walker.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.facts().into_iter().map(|fact| fact.line).collect()
    }

    /// The known failures that did not occur on a row they apply to, although enough stacks were judged there.
    #[must_use]
    pub fn known_not_seen(&self) -> Vec<NotSeen> {
        let mut not_seen = Vec::new();
        if self.cells.iter().any(|report| is_user_program(&report.cell.family)) {
            // Known failures were seen in generated programs. A user's program need not show them.
            return not_seen;
        }
        let lines = self.lines();
        for row in &self.rows {
            let same_protocol = has_known_protocol(&row.frame_cache);
            let applying = self.rules.known.iter().filter(|known| !known.by_chance).filter_map(|known| {
                Some((known, known.applies_to(&row.version, same_protocol)? == Confirmation::NotConfirmed))
            });
            for (known, not_confirmed) in applying {
                // The schedules of a run are fixed. If the failure did not occur, none of them is a schedule that shows
                // it.
                if known.fingerprint.lane() == Some(Lane::Stepped) {
                    continue;
                }
                let of_known = |line: &&Line| {
                    line.row == row.name
                        && known.fingerprint.lane() == Some(line.lane)
                        && known.fingerprint.walker() == Some(line.walker.name())
                };
                let stacks = lines.iter().filter(of_known).map(|line| line.tally.accepted()).sum();
                let seen = self
                    .violations
                    .iter()
                    .any(|violation| violation.fingerprint == known.fingerprint && violation.rows.contains(&row.name));
                if stacks >= ENOUGH_STACKS && !seen {
                    not_seen.push(NotSeen { row: row.name.clone(), known: known.clone(), not_confirmed, stacks });
                }
            }
        }
        not_seen
    }

    /// The verdict with its reasons.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        let facts = self.facts();
        let violated = self.violations.iter().filter(|violation| violation.fails(self.rules.strict));
        let mut failures: Vec<Failure> =
            violated.map(|violation| Failure::Violation { fingerprint: violation.fingerprint.clone() }).collect();
        failures.extend(facts.iter().filter_map(|fact| fact.undescribed.clone()));

        let mut doubts = Vec::new();
        match self.interrupted {
            Some(true) => doubts.push(Doubt::Interrupted),
            Some(false) => {}
            None => doubts.push(Doubt::Unfinished),
        }
        if let Some(part) = self.part.as_ref().filter(|part| self.merged && part.missing().next().is_some()) {
            doubts.push(Doubt::ShardsMissing { shards: part.missing().collect(), of: part.of });
        }
        if self.cells.iter().all(|report| matches!(report.outcome, CellOutcome::NotRun(_))) {
            doubts.push(Doubt::NothingRan);
        }
        for CellReport { cell, outcome, .. } in &self.cells {
            match outcome {
                CellOutcome::Ran | CellOutcome::NotRun(NotRun::NotApplicable(_) | NotRun::LeftOut) => {}
                CellOutcome::NotRun(why) => doubts.push(Doubt::NotRun { cell: cell.clone(), why: why.clone() }),
                CellOutcome::Inconclusive(why) => {
                    doubts.push(Doubt::Inconclusive { cell: cell.clone(), why: why.clone() });
                }
            }
        }
        let mut advice = Vec::new();
        for fact in facts {
            doubts.extend(fact.doubt);
            advice.extend(fact.advice);
        }
        for CellReport { cell, unconfirmed, .. } in &self.cells {
            advice.extend(
                unconfirmed.iter().map(|excess| Advice::Unconfirmed { cell: cell.clone(), excess: excess.clone() }),
            );
        }
        if let Some(fingerprint) = &self.rules.sought {
            if self.is_seen(fingerprint) {
                doubts.retain(|doubt| matches!(doubt, Doubt::Interrupted | Doubt::Unfinished));
            } else {
                doubts.push(Doubt::NotSeen { fingerprint: fingerprint.clone() });
            }
        }
        Judgement::new(failures, doubts, advice)
    }

    /// Whether a violation with this fingerprint occurred.
    #[must_use]
    pub fn is_seen(&self, fingerprint: &Fingerprint) -> bool {
        self.violations.iter().any(|violation| violation.fingerprint == *fingerprint)
    }

    fn plan(&mut self, planned: &PlannedCell) {
        self.cell(&planned.cell).expected.clone_from(&planned.expected);
    }

    /// The report of a cell. A cell that was not planned gets one, too.
    fn cell(&mut self, cell: &CellId) -> &mut CellReport {
        let next = self.cells.len();
        let at = *self.index.entry(cell.clone()).or_insert(next);
        if at == next {
            self.cells.push(CellReport {
                cell: cell.clone(),
                expected: BTreeMap::new(),
                outcome: CellOutcome::NotRun(NotRun::Unaccounted),
                tallies: BTreeMap::new(),
                schedules: BTreeMap::new(),
                phases: Phases::default(),
                unconfirmed: Vec::new(),
                profiles: Vec::new(),
            });
        }
        &mut self.cells[at]
    }

    /// After an interruption, cells without a result count as interrupted.
    fn cut_off(&mut self) {
        for report in &mut self.cells {
            if report.outcome == CellOutcome::NotRun(NotRun::Unaccounted) {
                report.outcome = if report.tallies.is_empty() {
                    CellOutcome::NotRun(NotRun::Interrupted)
                } else {
                    CellOutcome::Inconclusive(Inconclusive::Interrupted)
                };
            }
        }
    }

    fn violation(&mut self, finding: &Finding) {
        let found = self.rules.known.find(finding);
        let not_confirmed = found.is_some_and(|known| known.confirmation == Confirmation::NotConfirmed);
        let known = found.map(|known| known.entry.clone());
        let struck = self.struck.entry((finding.row.clone(), finding.lane, finding.walker)).or_default();
        if known.is_some() && !self.rules.strict {
            struck.known = true;
        } else {
            struck.failing = true;
        }
        let fingerprint = finding.fingerprint();
        let same = |earlier: &&mut DistinctViolation| {
            (&earlier.fingerprint, &earlier.known, earlier.not_confirmed) == (&fingerprint, &known, not_confirmed)
        };
        if let Some(earlier) = self.violations.iter_mut().find(same) {
            earlier.add(finding);
            return;
        }
        let mut violation = DistinctViolation {
            fingerprint,
            known,
            not_confirmed,
            against_base: None,
            bundle: None,
            count: 0,
            rows: BTreeSet::new(),
            places: Vec::new(),
            first: finding.clone(),
        };
        violation.add(finding);
        self.violations.push(violation);
    }

    fn facts(&self) -> Vec<LineJudgement> {
        line::facts(&self.rows, &self.cells, &self.struck, self.rules.confidence)
    }
}
