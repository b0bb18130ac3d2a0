//! Runs a cached walker and its uncached counterpart on one process, and judges what they return.

use std::ops::ControlFlow;
use std::time::Instant;

use framewalk::cached::CachedWalker;
use framewalk::memory::RemoteMemory;
use framewalk::sample::{Lookup, Provenance, Sample, ThreadSample, WalkerKind};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use model::workload::family::FamilyThreads;
use model::workload::grammar::Grammar;
use process::memory::ProcessMemory;
use process::unwinder::{CountedSample, LiveBatch, LiveBound};

use super::anchors::{LOST, attach, detach};
use super::judge::Judge;
use super::told::{KnownThreads, judge_told};
use super::weigh::Measurement;
use crate::cell::{Cell, CellError};
use crate::drivers::{Observed, RenewedUnwinder, UnwinderPool};
use crate::recorder::CellRecorder;

/// Our own cached walker and its uncached counterpart.
pub(super) const OWN: [WalkerKind; 2] = [WalkerKind::OwnCached, WalkerKind::OwnUncached];
/// CPython's unwinder with and without its cache.
pub(super) const CPYTHON: [WalkerKind; 2] = [WalkerKind::CpythonCached, WalkerKind::CpythonUncached];

/// The deadline is checked after this many samples of each walker.
const BURST: u32 = 64;

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
    let threads = cell.is_workload().then(|| KnownThreads {
        main: driver.pid(),
        is_alone: cell.family.spec().threads == FamilyThreads::Main,
        configuration: cell.id.configuration,
    });
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
