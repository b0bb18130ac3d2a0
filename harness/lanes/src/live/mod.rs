//! The live lane: target and walkers run freely.
//!
//! Walkers cannot be compared sample by sample here. Every stack is checked against the grammar and against the
//! positions in the program's code objects. The reference walker may never return an impossible stack. Of the other
//! walkers, the cached one may not return more of them than the uncached one on the same target at the same time.
//! Neither may return impossible stacks, or reject, more often than the released builds were seen to, nor may a cache
//! answer less often: see [`LiveBounds`]. What exceeds a bound is measured again on a new target: see [`excess`].
//!
//! [`LiveBounds`]: model::run::bounds::LiveBounds
//! [`excess`]: model::run::excess

mod anchors;
pub(crate) mod attached;
mod compare;
mod judge;
mod learnt;
mod program;
mod told;
mod weigh;

use std::time::Instant;

use framewalk::reference::ReferenceWalker;
use framewalk::sample::WalkerKind;
use model::invariants::Violation;
use model::oracle::profile::Profile;
use model::run::cell::CellOutcome;
use model::run::observed::Observer;
use model::run::phases::Phase;
use model::workload::grammar::{Grammar, WORKLOAD_FILE};
use model::workload::{Mode, Workload};

use self::anchors::attach;
use self::compare::{CPYTHON, OWN, compare_cpython, compare_own, sample_until};
use self::judge::{Judge, possible};
pub use self::weigh::judge_row;
use self::weigh::{Measurement, SHORTEST, end_of_another, weigh};
use crate::cell::{Cell, CellError};
use crate::drivers::UnwinderPool;
use crate::recorder::{CellRecorder, Evidence};
use crate::session::Session;
use crate::truth::Truth;

/// The true profile is measured before and after a target is sampled running. Each measurement takes one part in this
/// many of the time.
const TRUTH: u32 = 12;
/// Runs the cell to its deadline.
pub fn run(cell: &Cell<'_>, recorder: &mut CellRecorder<'_>, drivers: &mut UnwinderPool) -> CellOutcome {
    if let Some(program) = cell.program {
        return program::run(cell, program, recorder, drivers);
    }
    let parts: Vec<Part> = Part::ALL.into_iter().filter(|part| part.runs(cell)).collect();
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    let mut workload = cell.workload(Mode::Free);
    recorder.runs(&workload.source);
    if Part::CPYTHON.runs(cell) {
        match drivers.positions(cell, &workload.source) {
            Ok(positions) => workload.grammar.learn_positions(positions),
            Err(cut) => return cut.into(),
        }
    }
    let mut truth = cell.profiles.then(|| Truth::new(cell));
    let sessions = launch(cell, &workload, parts.len());
    recorder.end_of(Phase::Starting);
    for (index, (part, session)) in (0..).zip(parts.into_iter().zip(sessions)) {
        let until = cell.part(index, count);
        let grammar = &workload.grammar;
        let result = session.and_then(|mut session| {
            session.target.start(cell.patience())?;
            let now = Instant::now();
            let until = until.max(now + SHORTEST);
            let look = until.saturating_duration_since(now) / TRUTH;
            // Before and after: so the true profile of a slowly changing program matches those of its walkers on
            // average.
            truth.as_mut().map_or(Ok(()), |truth| truth.look(cell, &mut session, now + look))?;
            let end = if truth.is_some() { until.checked_sub(look).unwrap_or(until) } else { until };
            let measured = match part {
                Part::Reference => {
                    reference(cell, recorder, &mut session, grammar, end)?;
                    None
                }
                Part::Pair(pair) => Some((pair, pair.measure(cell, recorder, drivers, &mut session, grammar, end)?)),
            };
            truth.as_mut().map_or(Ok(()), |truth| truth.look(cell, &mut session, until))?;
            Ok(measured)
        });
        let result = result.and_then(|measured| {
            let Some((pair, first)) = measured else { return Ok(()) };
            weigh(cell, recorder, first, |recorder, time| {
                recorder.end_of(Phase::Live);
                let mut session = Session::launch(cell, &workload)?;
                recorder.end_of(Phase::Starting);
                session.target.start(cell.patience())?;
                pair.measure(cell, recorder, drivers, &mut session, grammar, end_of_another(cell, time)?)
            })
        });
        if let Err(cut) = result {
            return cut.into();
        }
        recorder.end_of(Phase::Live);
        if let Some(outcome) = cell.ended_early() {
            return outcome;
        }
    }
    if let Some(truth) = truth {
        recorder.observed(Observer::Stopped, truth.finish());
        if !workload.shares.is_empty() {
            recorder.observed(Observer::Generator, Profile::known(&workload.shares, WORKLOAD_FILE));
        }
    }
    CellOutcome::Ran
}

/// Launches `count` targets, each ready to start. They launch in parallel: a single launch leaves the other cores idle.
fn launch(cell: &Cell<'_>, workload: &Workload, count: usize) -> Vec<Result<Session, CellError>> {
    std::thread::scope(|scope| {
        let launches: Vec<_> = (0..count).map(|_| scope.spawn(|| Session::launch(cell, workload))).collect();
        let joined = launches.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|joined| joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The walkers that run against one target.
#[derive(Clone, Copy)]
enum Part {
    /// The reference walker alone.
    Reference,
    /// A cached walker and its uncached counterpart.
    Pair(Pair),
}

/// A cached walker and its uncached counterpart.
#[derive(Clone, Copy)]
enum Pair {
    /// Our own implementation of CPython's protocol.
    Own,
    /// CPython's own unwinder, with and without its cache.
    Cpython,
}

impl Part {
    const CPYTHON: Self = Self::Pair(Pair::Cpython);
    const ALL: [Self; 3] = [Self::CPYTHON, Self::Reference, Self::Pair(Pair::Own)];

    fn runs(self, cell: &Cell<'_>) -> bool {
        self.walkers().iter().any(|&kind| cell.has(kind))
    }

    fn walkers(self) -> &'static [WalkerKind] {
        match self {
            Self::Reference => &[WalkerKind::OwnReference],
            Self::Pair(Pair::Own) => &OWN,
            Self::Pair(Pair::Cpython) => &CPYTHON,
        }
    }
}

impl Pair {
    /// Runs both walkers on a started target until the deadline. The target is stopped then.
    fn measure<'a>(
        self,
        cell: &Cell<'_>,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
        session: &mut Session,
        grammar: &'a Grammar,
        until: Instant,
    ) -> Result<Measurement<'a>, CellError> {
        let result = match self {
            Self::Own => compare_own(cell, recorder, &mut session.memory, session.site, grammar, until),
            Self::Cpython => compare_cpython(cell, recorder, drivers, session.observed(), grammar, until),
        };
        // Fails with the way the target ended, if it did.
        session.target.stop()?;
        result
    }
}

fn reference(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    session: &mut Session,
    grammar: &Grammar,
    until: Instant,
) -> Result<(), CellError> {
    let mut walker = ReferenceWalker::new(session.site)?;
    attach(&mut walker, &mut session.memory)?;
    let mut judge = Judge::new(grammar);
    let result = sample_until(cell, recorder, &mut session.memory, &mut [&mut walker], until, |recorder, sample| {
        for (illegal, cause, stack) in judge.judge(recorder, sample) {
            let possible = possible(grammar, &stack, &illegal);
            let evidence =
                Evidence { cause: Some(cause), seen: &stack, possible: Some(possible), ..Evidence::default() };
            recorder.violation(sample.walker, Violation::Legality { illegal }, evidence);
        }
    });
    // Fails with the way the target ended, if it did.
    session.target.stop()?;
    result
}
