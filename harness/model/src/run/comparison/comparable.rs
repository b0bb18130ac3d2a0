//! What is compared of a report: where something ran and what failed there.

use std::collections::{BTreeMap, BTreeSet};

use framewalk::sample::WalkerKind;

use crate::invariants::Violation;
use crate::lane::Lane;
use crate::oracle::tally::Tally;
use crate::run::bounds::{HITS, is_of_row};
use crate::run::cell::{CellId, CellOutcome, Row};
use crate::run::cell_report::CellReport;
use crate::run::distinct::DistinctViolation;
use crate::run::document::Document;
use crate::run::schedules::{FailedSchedule, ScheduleId};
use crate::run::verdict::Failure;

/// The contents of a report, in a form that is the same for all verbs.
#[derive(Clone, Debug, Default)]
pub struct ComparableReport {
    /// The verb that wrote the report.
    pub verb: &'static str,
    /// The rows, each with its kind. Rows of the same kind can match under different names.
    pub rows: BTreeMap<String, String>,
    /// The places with a result.
    pub ran: BTreeSet<RanPlace>,
    /// The set of schedules that a search ran at a place, in words. Equal sets give equal results.
    pub schedules: BTreeMap<RanPlace, String>,
    /// The schedules that passed at a place, one by one.
    pub passed: BTreeMap<RanPlace, BTreeSet<ScheduleId>>,
    /// What was counted at a place.
    pub tallies: BTreeMap<RanPlace, Tally>,
    /// Reasons other than failures why the run does not pass.
    pub doubts: BTreeSet<String>,
    /// What failed.
    pub found: BTreeMap<Key, FailureFound>,
}

/// A row, and the rest of the place.
pub type RanPlace = (String, String);

/// Identifies a failure across reports: the fingerprint, with the row if failures on different rows are different
/// ones.
pub type Key = (String, String);

/// A failure in all places where it was seen.
#[derive(Clone, Debug, Default)]
pub struct FailureFound {
    /// The known failure that matches.
    pub known: Option<String>,
    /// Whether it takes luck to see it, so that one run need not show what another one does.
    pub by_chance: bool,
    /// The rate that is too high, or for hits too low, if the failure is one of the live lane's rates.
    pub rate: Option<String>,
    /// How often it was seen.
    pub count: u64,
    /// The places where it was seen.
    pub places: BTreeSet<RanPlace>,
    /// How often it was seen at a place, if that is known.
    pub counts: BTreeMap<RanPlace, u64>,
    /// The schedules that showed it, one by one.
    pub schedules: Vec<(RanPlace, FailedSchedule)>,
}

impl ComparableReport {
    /// An empty report of a verb.
    #[must_use]
    pub fn nothing(verb: &'static str) -> Self {
        Self { verb, ..Self::default() }
    }

    /// The comparable content of a report of `check`.
    #[must_use]
    pub fn of_check(document: &Document) -> Self {
        let mut report = Self::nothing("check");
        report.rows = document.builds.iter().map(|row| (row.name.clone(), kind(row))).collect();
        report.doubts = document.judgement.doubts.iter().map(ToString::to_string).collect();
        for cell in document.cells.iter().filter(|cell| cell.outcome == CellOutcome::Ran) {
            report.add_cell(cell);
        }
        for violation in &document.violations {
            report.add_violation(violation);
        }
        for cell in &document.cells {
            report.add_schedules(document, cell);
        }
        report.found.extend(document.judgement.failures.iter().filter_map(|failure| undescribed(document, failure)));
        report
    }

    fn add_cell(&mut self, report: &CellReport) {
        let CellId { row, lane, family, .. } = &report.cell;
        for (&walker, tally) in report.tallies.iter().filter(|(_, tally)| tally.accepted() > 0) {
            let place = place(row, *lane, family, walker);
            *self.tallies.entry(place.clone()).or_default() += tally;
            self.ran.insert(place);
        }
    }

    fn add_violation(&mut self, violation: &DistinctViolation) {
        let first = &violation.first;
        let entry = self.found.entry(key(violation)).or_default();
        // A failure counts as known only if it is known on all versions.
        let known = violation.known.as_ref().map(|known| known.id.clone());
        entry.known = if entry.count == 0 { known } else { entry.known.take().and(known) };
        entry.by_chance = violation.known.as_ref().is_some_and(|known| known.by_chance);
        entry.rate = rate(&first.violation);
        entry.count += violation.count;
        let at = |row: &str, family: &str| place(row, first.lane, family, first.walker);
        for one in &violation.places {
            let place = at(&one.row, &one.family);
            *entry.counts.entry(place.clone()).or_default() += one.count;
            entry.places.insert(place);
        }
        if violation.places.is_empty() {
            entry.places.extend(violation.rows.iter().map(|row| at(row, &first.family)));
        }
    }

    fn add_schedules(&mut self, document: &Document, report: &CellReport) {
        let CellId { row, lane, family, .. } = &report.cell;
        for (&walker, schedules) in &report.schedules {
            let place = place(row, *lane, family, walker);
            let failed: BTreeSet<&ScheduleId> = schedules.failed.iter().map(|failed| &failed.id).collect();
            let passed = schedules.ran.iter().filter(|id| !failed.contains(id)).cloned();
            self.passed.entry(place.clone()).or_default().extend(passed);
            for failed in &schedules.failed {
                let is_this = |violation: &&DistinctViolation| {
                    violation.fingerprint == failed.fingerprint && violation.rows.contains(row)
                };
                let key = document.violations.iter().find(is_this).map(key);
                if let Some(found) = key.and_then(|key| self.found.get_mut(&key)) {
                    found.schedules.push((place.clone(), failed.clone()));
                }
            }
        }
    }
}

/// What rows of two reports have in common if they are the same build in two versions.
pub(in crate::run) fn kind(row: &Row) -> String {
    let jit = if row.jit { "on" } else { "off" };
    let arguments: String = row.arguments.iter().map(|argument| format!(" {argument}")).collect();
    format!("{}{arguments}, JIT {jit}, {}", row.flavour, row.frame_cache)
}

/// Identifies a violation across reports. How the moves lie inside samples is chance, so a known failure of schedules is
/// the same one in every such shape.
pub(in crate::run) fn key(violation: &DistinctViolation) -> Key {
    let text = violation.fingerprint.as_str();
    let any_shape = match &violation.first.violation {
        Violation::Existence { fingerprint, .. }
            if violation.known.is_some() && fingerprint.shape.is_inside_samples() =>
        {
            Some(text.replacen(&format!("/{}", fingerprint.shape), "", 1))
        }
        _ => None,
    };
    (String::new(), any_shape.unwrap_or_else(|| text.to_owned()))
}

/// The rate that a violation of the live lane is about. What is about a whole row has no rate of a place.
fn rate(violation: &Violation) -> Option<String> {
    match violation {
        _ if is_of_row(violation) => None,
        Violation::CacheWorse { cause: what, .. } | Violation::MoreThanReleased { what, .. } => Some(what.clone()),
        Violation::LessThanReleased { .. } => Some(HITS.to_owned()),
        Violation::Existence { .. }
        | Violation::Legality { .. }
        | Violation::Agreement { .. }
        | Violation::RejectedWhileStopped { .. }
        | Violation::Account { .. }
        | Violation::SequenceDecreased { .. }
        | Violation::AnchorOffChain { .. }
        | Violation::AnchorMiscounted { .. }
        | Violation::AnchorOnDeadShim { .. }
        | Violation::AnchorOnSuspendedGenerator { .. }
        | Violation::WrittenWhileNull { .. }
        | Violation::AnchorLeft { .. }
        | Violation::AnchorNotCleared { .. }
        | Violation::AnchorNotWritten { .. }
        | Violation::HitMissed { .. }
        | Violation::Counters { .. }
        | Violation::AnchorWrittenInVain { .. }
        | Violation::Told { .. }
        | Violation::UnwinderDied { .. }
        | Violation::UnwinderHung
        | Violation::Cost { .. } => None,
    }
}

/// The place of a walker in a run of `check`.
fn place(row: &str, lane: Lane, family: &str, walker: WalkerKind) -> RanPlace {
    (row.to_owned(), format!("{lane}, {family}, {walker}"))
}

/// The key of a failure without a violation.
pub(in crate::run) fn undescribed_key(failure: &Failure) -> Option<Key> {
    match failure {
        Failure::Violation { .. } => None,
        Failure::Undescribed { row, lane, walker, .. } => {
            Some((row.clone(), format!("{lane}, {walker}: wrong samples without a violation")))
        }
    }
}

/// Wrong samples that fail a run of `check` although no violation describes them. Each row is a failure of its own.
fn undescribed(document: &Document, failure: &Failure) -> Option<(Key, FailureFound)> {
    let (row, lane, walker, samples) = match failure {
        Failure::Violation { .. } => return None,
        Failure::Undescribed { row, lane, walker, samples } => (row, *lane, *walker, *samples),
    };
    let is_wrong = |cell: &&CellReport| {
        let wrong = cell.tallies.get(&walker).is_some_and(|tally| tally.impossible() + tally.differences > 0);
        wrong && (&cell.cell.row, cell.cell.lane) == (row, lane)
    };
    let places = document.cells.iter().filter(is_wrong).map(|cell| place(row, lane, &cell.cell.family, walker));
    let found = FailureFound { count: samples, places: places.collect(), ..FailureFound::default() };
    undescribed_key(failure).map(|key| (key, found))
}
