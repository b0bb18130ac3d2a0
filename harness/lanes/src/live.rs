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

mod program;
mod told;
mod weigh;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use framewalk::cached::CachedWalker;
use framewalk::frame::Frame;
use framewalk::memory::RemoteMemory;
use framewalk::reference::ReferenceWalker;
use framewalk::rejection::Rejection;
use framewalk::sample::{Counters, Lookup, Provenance, Sample, ThreadSample, WalkerKind};
use framewalk::stack::Stack;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use model::invariants::Violation;
use model::oracle::attribution::Attribution;
use model::oracle::cause::Cause;
use model::oracle::episodes::Episodes;
use model::oracle::profile::Profile;
use model::oracle::tally::Tally;
use model::run::cell::CellOutcome;
use model::run::finding::Possible;
use model::run::observed::Observer;
use model::run::phases::Phase;
use model::workload::family::FamilyThreads;
use model::workload::grammar::{Grammar, Illegal, WORKLOAD_FILE};
use model::workload::{Mode, Workload};
use process::memory::ProcessMemory;
use process::unwinder::{CountedSample, LiveBatch, LiveBound};

use self::told::{KnownThreads, judge_told};
pub use self::weigh::judge_row;
pub(crate) use self::weigh::{Measurement, end_of_another, weigh};
use crate::attach::{attach, detach};
use crate::cell::{Cell, CellError};
use crate::drivers::{Observed, RenewedUnwinder, UnwinderPool};
use crate::recorder::{CellRecorder, Evidence};
use crate::session::Session;
use crate::truth::Truth;

/// A running target's thread list can be unreadable while a thread ends. If it stays unreadable for this long, the
/// target is considered gone.
pub(super) const LOST: Duration = Duration::from_secs(2);
/// The minimum sampling time of each target, so that every walker returns some stacks.
pub(super) const SHORTEST: Duration = Duration::from_millis(200);
/// The true profile is measured before and after a target is sampled running. Each measurement takes one part in this
/// many of the time.
const TRUTH: u32 = 12;
/// The deadline is checked after this many samples of each walker.
const BURST: u32 = 64;

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
    /// CPython's own unwinder.
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

/// The cached walker and its uncached counterpart of each [`Pair`].
const OWN: [WalkerKind; 2] = [WalkerKind::OwnCached, WalkerKind::OwnUncached];
const CPYTHON: [WalkerKind; 2] = [WalkerKind::CpythonCached, WalkerKind::CpythonUncached];

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

/// Judges one walker's samples as they come.
pub(super) struct Judge<'a> {
    grammar: &'a Grammar,
    attribution: Attribution,
    episodes: Episodes,
    tally: Tally,
    /// The leaf of each thread's last stack.
    leaves: HashMap<u64, Frame>,
    /// The first impossible stack of each cause.
    examples: BTreeMap<Cause, (Vec<Frame>, Illegal)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(grammar: &'a Grammar) -> Self {
        Self {
            grammar,
            attribution: Attribution::default(),
            episodes: Episodes::default(),
            tally: Tally::default(),
            leaves: HashMap::new(),
            examples: BTreeMap::new(),
        }
    }

    /// The walker was replaced by a new one, whose cache is empty.
    fn forget_cache(&mut self) {
        self.attribution = Attribution::default();
    }

    /// Counts a sample. Returns the rules that its stacks break.
    pub(super) fn judge(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        sample: &Sample,
    ) -> Vec<(Illegal, Cause, Vec<Frame>)> {
        let mut broken = Vec::new();
        for thread in &sample.threads {
            recorder.count(sample.walker, thread);
            self.tally.count(thread);
            let verdict = self.attribution.judge(self.grammar, thread);
            if let Some(leaf) = thread.outcome.as_ref().ok().and_then(|stack| stack.first())
                && self.leaves.insert(thread.native_thread_id, leaf.clone()).is_some_and(|before| before != *leaf)
            {
                self.tally.leaf_changes += 1;
                recorder.leaf_changed(sample.walker);
            }
            match &thread.outcome {
                Err(rejection) => self.rejected(recorder, sample.walker, thread.native_thread_id, rejection),
                Ok(stack) => match verdict {
                    None => self.episodes.good(thread.native_thread_id),
                    Some((illegal, cause)) => {
                        self.impossible(recorder, sample.walker, thread.native_thread_id, cause, stack);
                        let stack = stack.to_vec();
                        self.examples.entry(cause).or_insert_with(|| (stack.clone(), illegal.clone()));
                        broken.push((illegal, cause, stack));
                    }
                },
            }
        }
        broken
    }

    fn rejected(&mut self, recorder: &mut CellRecorder<'_>, walker: WalkerKind, thread: u64, rejection: &Rejection) {
        let reason = rejection.reason();
        if self.episodes.is_new_rejection(thread, &reason) {
            recorder.rejected_episode(walker, &reason);
            *self.tally.rejected_episodes.entry(reason).or_default() += 1;
        }
    }

    fn impossible(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        walker: WalkerKind,
        thread: u64,
        cause: Cause,
        stack: &Stack,
    ) {
        recorder.impossible(walker, cause);
        self.tally.count_impossible(cause);
        if self.episodes.is_new_impossible(thread, stack) {
            recorder.impossible_episode(walker, cause);
            *self.tally.impossible_episodes.entry(cause).or_default() += 1;
        }
    }

    /// Counts lookups that CPython's unwinder reports for several threads together, so that they cannot be assigned to
    /// a thread.
    fn lookups(&mut self, recorder: &mut CellRecorder<'_>, walker: WalkerKind, counters: &Counters) {
        recorder.lookups(walker, counters);
        self.tally.count_lookups(counters.full_hits, counters.partial_hits, counters.misses);
    }
}

/// A description of what the grammar allows in place of an impossible stack.
fn possible(grammar: &Grammar, stack: &[Frame], illegal: &Illegal) -> Possible {
    let index = match illegal {
        Illegal::MixedBranches { index } | Illegal::ForeignFrame { index } => *index,
        Illegal::WrongPosition { index } => {
            let frame = stack.get(*index).map(Frame::name).unwrap_or_default();
            return Possible::Text(format!("{frame} at a line and columns that its code object has"));
        }
        Illegal::WrongLine { index } => {
            let frame = stack.get(*index).map(Frame::name).unwrap_or_default();
            let callee = index.checked_sub(1).and_then(|index| stack.get(index));
            let callee = callee.map_or("nothing".to_owned(), Frame::name);
            return Possible::Text(format!("{frame} on a line from which it calls {callee}"));
        }
        Illegal::CutShort => {
            return Possible::Text("a stack that goes on to the root of its thread".into());
        }
        Illegal::Empty => return Possible::Text("a stack with frames".into()),
    };
    let Some(frame) = stack.get(index) else { return Possible::Text("nothing".into()) };
    let mut callers: Vec<String> = grammar
        .contexts
        .iter()
        .filter(|context| {
            grammar.functions.get(context.function as usize).is_some_and(|function| *function.name == *frame.function)
        })
        .filter_map(|context| grammar.contexts.get(context.parent? as usize))
        .filter_map(|parent| grammar.functions.get(parent.function as usize))
        .map(|function| function.name.clone())
        .collect();
    callers.sort();
    callers.dedup();
    let text = if callers.is_empty() {
        format!("{} as the root of its thread", frame.name())
    } else {
        format!("{} under {}, along one branch to the root", frame.name(), callers.join(" or "))
    };
    Possible::Text(text)
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

/// Compares our own cached and uncached walkers, which take turns on the process of `memory`.
pub(super) fn compare_own<'a>(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    memory: &mut ProcessMemory,
    site: Site,
    grammar: &'a Grammar,
    until: Instant,
) -> Result<Measurement<'a>, CellError> {
    let mut uncached = cell.has(WalkerKind::OwnUncached).then(|| UncachedWalker::new(site)).transpose()?;
    let mut cached =
        cell.has(WalkerKind::OwnCached).then(|| CachedWalker::new(site, cell.weakenings.clone())).transpose()?;
    if let Some(cached) = &mut cached {
        attach(cached, memory)?;
    }
    let mut walkers: Vec<&mut dyn Walker> = Vec::new();
    walkers.extend(cached.as_mut().map(|walker| walker as &mut dyn Walker));
    walkers.extend(uncached.as_mut().map(|walker| walker as &mut dyn Walker));
    let mut judges = [Judge::new(grammar), Judge::new(grammar)];
    let begun = Instant::now();
    let result = sample_until(cell, recorder, memory, &mut walkers, until, |recorder, sample| {
        if let Some(judge) = judges.get_mut(usize::from(!sample.walker.is_cached())) {
            judge.judge(recorder, sample);
        }
    });
    if let Some(cached) = &mut cached {
        // A target that has ended has no anchor left to clear; `result` says how it ended.
        let detached = detach(cached, memory);
        result.and(detached)?;
    } else {
        result?;
    }
    Ok(Measurement { walkers: OWN, judges, took: begun.elapsed() })
}

/// Compares CPython's own unwinder with and without its cache, in parallel on one process.
pub(super) fn compare_cpython<'a>(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    drivers: &mut UnwinderPool,
    target: Observed,
    grammar: &'a Grammar,
    until: Instant,
) -> Result<Measurement<'a>, CellError> {
    let mut open =
        |kind: WalkerKind| cell.has(kind).then(|| drivers.open(cell, recorder, target, kind, true)).transpose();
    let mut uncached_driver = open(WalkerKind::CpythonUncached)?;
    let mut cached_driver = open(WalkerKind::CpythonCached)?;
    let mut cached = Judge::new(grammar);
    let mut uncached = Judge::new(grammar);
    let mut other_recorder = recorder.another();
    let begun = Instant::now();
    let result = std::thread::scope(|scope| {
        let uncached_run = uncached_driver.as_mut().map(|driver| {
            let (judge, recorder) = (&mut uncached, &mut other_recorder);
            scope.spawn(move || drive(cell, driver, judge, recorder, until))
        });
        let cached_run =
            cached_driver.as_mut().map_or(Ok(()), |driver| drive(cell, driver, &mut cached, recorder, until));
        let uncached_run = match uncached_run.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        };
        cached_run.and(uncached_run)
    });
    let took = begun.elapsed();
    drop(other_recorder);
    let given_back = [cached_driver, uncached_driver].into_iter().flatten();
    let given_back = given_back.map(|driver| drivers.give_back(driver, recorder)).fold(Ok(()), Result::and);
    result.and(given_back)?;
    Ok(Measurement { walkers: CPYTHON, judges: [cached, uncached], took })
}

/// Keeps an unwinder walking until the deadline. One that dies of what it reads is replaced.
fn drive(
    cell: &Cell<'_>,
    driver: &mut RenewedUnwinder<'_>,
    judge: &mut Judge<'_>,
    recorder: &mut CellRecorder<'_>,
    until: Instant,
) -> Result<(), CellError> {
    let threads = cell
        .is_workload()
        .then(|| KnownThreads { main: driver.pid(), is_alone: cell.family.spec().threads == FamilyThreads::Main });
    loop {
        let Some(unwinder) = driver.opened(recorder)? else { return Ok(()) };
        let left = until.saturating_duration_since(Instant::now());
        let run = unwinder.run_live(LiveBound::Time(left), |batch| {
            take_batch(judge, recorder, &batch);
            if let Some(threads) = threads {
                judge_told(recorder, &batch, threads);
            }
            if cell.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match run {
            Ok(_) => return Ok(()),
            Err(error) => {
                driver.lost(recorder, error)?;
                judge.forget_cache();
            }
        }
        if Instant::now() >= until || cell.is_over() {
            return Ok(());
        }
    }
}

fn take_batch(judge: &mut Judge<'_>, recorder: &mut CellRecorder<'_>, batch: &LiveBatch) {
    for CountedSample { sample, counters, .. } in &batch.samples {
        judge.judge(recorder, sample);
        let unknown = sample.threads.iter().any(|thread| thread.provenance.lookup == Lookup::Unknown);
        if let Some(counters) = counters.as_ref().filter(|_| unknown) {
            judge.lookups(recorder, sample.walker, counters);
        }
    }
    if let Some(counted) = batch.samples.last() {
        recorder.spent(counted.sample.walker, batch.walk_time);
    }
}

/// Samples with all walkers in turn until the deadline.
pub(super) fn sample_until(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    memory: &mut dyn RemoteMemory,
    walkers: &mut [&mut dyn Walker],
    until: Instant,
    mut on_sample: impl FnMut(&mut CellRecorder<'_>, &Sample),
) -> Result<(), CellError> {
    let mut lost: Option<Instant> = None;
    while Instant::now() < until && !cell.is_over() {
        for _ in 0..BURST {
            for walker in walkers.iter_mut() {
                let begun = Instant::now();
                let sample = walker.sample(memory);
                let spent = begun.elapsed();
                match sample {
                    Ok(sample) => {
                        lost = None;
                        on_sample(recorder, &sample);
                        recorder.spent(sample.walker, spent);
                    }
                    Err(rejection) if lost.get_or_insert(begun).elapsed() < LOST => {
                        let provenance = Provenance { lookup: Lookup::Unknown, from_cache: 0 };
                        let outcome = Err(rejection);
                        recorder.count(walker.kind(), &ThreadSample { native_thread_id: 0, outcome, provenance });
                    }
                    Err(rejection) => return Err(rejection.into()),
                }
            }
        }
    }
    Ok(())
}
