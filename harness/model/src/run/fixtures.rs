//! A small run for the tests of the reports.

use std::time::Duration;

use framewalk::frame::{Frame, Location};
use framewalk::miss::MissReason;
use framewalk::sample::WalkerKind;

use crate::invariants::Violation;
use crate::lane::Lane;
use crate::oracle::cause::Cause;
use crate::oracle::tally::Tally;
use crate::run::cell::{CellId, CellOutcome, Expected, PlannedCell, Row};
use crate::run::configuration::Configuration;
use crate::run::event::{Consumer, Event};
use crate::run::excess::Unconfirmed;
use crate::run::finding::{Finding, Possible, SourceLine};
use crate::run::known::KnownFailures;
use crate::run::summary::{Rules, Summary};
use crate::workload::grammar::Illegal;

pub const ROW: &str = "3.15.2 release JIT";

pub fn row() -> Row {
    Row {
        name: ROW.into(),
        python: "/opt/python/bin/python3.15".into(),
        version: "3.15.2".into(),
        flavour: "release".into(),
        jit: true,
        arguments: Vec::new(),
        frame_cache: "anchor and sequence".into(),
        layout: None,
    }
}

pub fn cell(lane: Lane) -> CellId {
    CellId {
        row: ROW.into(),
        lane,
        family: "alternating".into(),
        walkers: vec![WalkerKind::CpythonUncached, WalkerKind::CpythonCached],
        seed: 7,
        configuration: Configuration::default(),
    }
}

pub fn frame(function: &str, line: i32) -> Frame {
    Frame {
        function: function.into(),
        file: "/somewhere/workload.py".into(),
        location: Location { line: Some(line), ..Location::default() },
    }
}

pub fn finding() -> Finding {
    Finding {
        row: ROW.into(),
        version: "3.15.2".into(),
        arguments: Vec::new(),
        frame_cache: row().frame_cache,
        lane: Lane::Live,
        family: "alternating".into(),
        walker: WalkerKind::CpythonCached,
        configuration: Configuration::default(),
        violation: Violation::Legality { illegal: Illegal::MixedBranches { index: 0 } },
        cause: Some(Cause::StalePartialHit),
        seen: vec![frame("a_leaf", 14), frame("b2", 8), frame("b1", 5), frame("<module>", 20)],
        possible: Some(Possible::Text("a_leaf only under a2; b2 only below b1".into())),
        before: Vec::new(),
        source: vec![SourceLine { function: "a_leaf".into(), line: 14, text: "return gate(3)".into() }],
        seed: 7,
        replay: "framediff check --lane live --family alternating --seed 7".into(),
        count: 3,
    }
}

pub fn cache_worse(cause: &str) -> Finding {
    Finding {
        violation: Violation::CacheWorse { cause: cause.into(), cached_at_least: 0.005, uncached_at_most: 0.0001 },
        cause: None,
        ..finding()
    }
}

/// An excess that was seen in the live cell and not confirmed.
pub fn unconfirmed() -> Event {
    let violation = Violation::MoreThanReleased { what: "stale-partial-hit".into(), at_least: 0.08, most: 0.03 };
    let excess = Unconfirmed {
        walker: WalkerKind::CpythonCached,
        fingerprint: Finding { violation: violation.clone(), ..finding() }.fingerprint(),
        excess: violation.to_string(),
        measurements: 2,
    };
    Event::Unconfirmed { cell: cell(Lane::Live), excess }
}

pub fn tally() -> Tally {
    Tally {
        samples: 20_000,
        full_hits: 10_000,
        partial_hits: 6_000,
        misses: [(MissReason::AnchorNull, 1), (MissReason::SequenceMismatch, 3_999)].into(),
        from_cache: 100_000,
        elapsed: Duration::from_secs(2),
        ..Tally::default()
    }
}

pub fn started(cells: &[CellId]) -> Event {
    let plan = cells.iter().map(|cell| PlannedCell::new(cell.clone(), Expected::ALL)).collect();
    Event::RunStarted {
        rows: vec![row()],
        plan,
        seed: 42,
        budget: Duration::from_secs(60),
        stops: None,
        schedules: None,
        part: None,
    }
}

/// The events of a cell that runs without problems.
pub fn runs(cell: &CellId) -> Vec<Event> {
    let mut events = vec![Event::CellStarted { cell: cell.clone() }];
    events.extend(cell.walkers.iter().map(|&walker| {
        let mut tally = tally();
        if !walker.is_cached() {
            (tally.full_hits, tally.partial_hits, tally.from_cache) = (0, 0, 0);
            tally.misses.clear();
        }
        Event::Samples { cell: cell.clone(), walker, tally }
    }));
    events.push(Event::CellFinished { cell: cell.clone(), outcome: CellOutcome::Ran });
    events
}

/// A complete run over both lanes, with `extra` before its end.
pub fn run(extra: Vec<Event>) -> Vec<Event> {
    let cells = [Lane::Stopped, Lane::Live].map(cell);
    let mut events = vec![started(&cells)];
    events.extend(cells.iter().flat_map(runs));
    events.extend(extra);
    events.push(Event::RunFinished { interrupted: false });
    events
}

/// The tally of a cached walker that showed everything, in few samples.
pub fn few() -> Tally {
    Tally {
        samples: 20,
        full_hits: 10,
        partial_hits: 5,
        misses: [(MissReason::AnchorNull, 5)].into(),
        ..Tally::default()
    }
}

/// A run in which `walker` counts only `tally` in `lane`.
pub fn with_tally(lane: Lane, walker: WalkerKind, tally: &Tally) -> Vec<Event> {
    let mut events = run(vec![]);
    for event in &mut events {
        if let Event::Samples { cell, walker: of, tally: old } = event
            && (cell.lane, *of) == (lane, walker)
        {
            old.clone_from(tally);
        }
    }
    events
}

pub fn summary(events: &[Event], strict: bool) -> Summary {
    let mut summary =
        Summary::new(Rules { known: KnownFailures::kept().unwrap(), strict, confidence: 0.9999, sought: None });
    for event in events {
        summary.event(event);
    }
    summary
}
