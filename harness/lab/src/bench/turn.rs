//! One contender's turn on a target: it attaches, warms up, is measured, and detaches.
//!
//! Every turn makes a new walker, so that a lucky or unlucky allocation does not decide the result. The time of a
//! sample is the time inside the call that takes it, for all contenders alike. For CPython's walkers, the driver
//! measures it in its own process around `get_stack_trace`.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use framewalk::sample::{Counters, Sample, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::walker::{Site, Walker};
use process::build::BuildVariant;
use process::memory::ProcessMemory;
use process::unwinder::{LiveBound, Pace, Unwinder, UnwinderError};

use crate::bench::Failure;
use crate::bench::claim::{Claim, answers};
use crate::bench::document::Lookups;
use crate::bench::meter::{Accesses, Clocked, Inside, Meter, middle};
use crate::bench::stand::{GatedTarget, PATIENCE, soon};
use crate::bench::trace::Tracers;

/// Why a turn has no result.
pub(super) enum Trouble {
    /// The contender cannot do this, which is a result about the contender.
    Refused(String),
    /// The measurement itself failed.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The samples of one block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Block {
    /// The time of the block in nanoseconds. Where samples are timed, the median time of a sample.
    pub(super) nanoseconds: f64,
    pub(super) samples: u64,
    pub(super) lookups: Lookups,
}

impl Block {
    pub(super) fn of(times: &[Duration], lookups: Lookups) -> Self {
        Self { nanoseconds: middle(times), samples: times.len() as u64, lookups }
    }
}

/// Samples of a running target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) samples: u64,
    /// How long it was sampled. A driver learns with a delay that sampling is over.
    pub(super) time: Duration,
    pub(super) lookups: Lookups,
}

/// How often a driver that samples a running target checks whether it is over.
const WATCH_BATCH: Duration = Duration::from_millis(10);

/// Whether the other end has sent its message or is gone.
pub(super) fn is_done(done: &Receiver<()>) -> bool {
    !matches!(done.try_recv(), Err(TryRecvError::Empty))
}

/// This project's walker of that kind.
fn own_walker(kind: WalkerKind, site: Site) -> Result<Box<dyn Walker>, Trouble> {
    WalkerSpec::from(kind).build(site).map_err(|error| Trouble::Refused(error.to_string()))
}

/// The contenders for one build. The build's unwinder process is started once and serves all turns.
pub(super) struct Team {
    unwinder: Option<Unwinder>,
    pub(super) tracers: Tracers,
}

impl Team {
    /// Starts the processes that `kinds` need.
    pub(super) fn new(row: &BuildVariant, kinds: &[WalkerKind]) -> Result<Self, Failure> {
        let needed = kinds.iter().any(|kind| kind.is_cpythons());
        let unwinder = if needed {
            match Unwinder::start(&row.build.python, soon()) {
                Ok(unwinder) => Some(unwinder),
                Err(UnwinderError::NotAvailable { .. }) => None,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        Ok(Self { unwinder, tracers: Tracers::default() })
    }

    /// Begins the turn of `kind` on the target, which stays at its gate.
    pub(super) fn begin(&mut self, kind: WalkerKind, stand: &GatedTarget) -> Result<Turn<'_>, Trouble> {
        let mut memory = stand.target.memory();
        if !kind.is_cpythons() {
            let mut walker = own_walker(kind, stand.site)?;
            walker.attach(&mut memory).map_err(|rejection| Trouble::Refused(rejection.to_string()))?;
            return Ok(Turn { kind, site: stand.site, memory, walks: Walks::Own(walker) });
        }
        let Some(unwinder) = self.unwinder.as_mut() else {
            return Err(Trouble::Refused("this build has no RemoteUnwinder".into()));
        };
        match unwinder.open(stand.target.pid(), kind.is_cached(), soon()) {
            Ok(()) => {}
            Err(error @ (UnwinderError::NotAvailable { .. } | UnwinderError::Raised { .. })) => {
                return Err(Trouble::Refused(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Turn { kind, site: stand.site, memory, walks: Walks::Cpython(unwinder) })
    }
}

/// A contender attached to a target.
pub(super) struct Turn<'a> {
    kind: WalkerKind,
    site: Site,
    memory: ProcessMemory,
    walks: Walks<'a>,
}

enum Walks<'a> {
    Own(Box<dyn Walker>),
    Cpython(&'a mut Unwinder),
}

impl Turn<'_> {
    /// Takes one sample and returns how long it took.
    pub(super) fn sample(&mut self) -> Result<(Sample, Option<Counters>, Duration), Trouble> {
        match &mut self.walks {
            Walks::Own(walker) => {
                let begun = Instant::now();
                let sample = walker.sample(&mut self.memory);
                let time = begun.elapsed();
                let sample = sample.map_err(|rejection| Trouble::Refused(rejection.to_string()))?;
                Ok((sample, None, time))
            }
            Walks::Cpython(unwinder) => {
                let (counted, time) = unwinder.timed_sample(soon())?;
                Ok((counted.sample, counted.counters, time))
            }
        }
    }

    /// Takes one sample and records its accesses to the target. `None` for CPython's walkers, which read in their own
    /// process.
    pub(super) fn metered(&mut self) -> Result<Option<Accesses>, Trouble> {
        let Walks::Own(walker) = &mut self.walks else { return Ok(None) };
        let mut meter = Meter { memory: self.memory.clone(), accesses: Accesses::default() };
        walker.sample(&mut meter).map_err(|rejection| Trouble::Refused(rejection.to_string()))?;
        Ok(Some(meter.accesses))
    }

    /// Takes `samples` samples of a target that does not move and returns the time spent outside accesses. `None` for
    /// CPython's walkers, which read in their own process.
    pub(super) fn inside(&mut self, samples: u64) -> Result<Option<Inside>, Trouble> {
        let Walks::Own(walker) = &mut self.walks else { return Ok(None) };
        let mut memory = Clocked { memory: self.memory.clone(), spent: Duration::ZERO };
        let (mut decoding, mut results) = (Vec::new(), Vec::new());
        for _ in 0..samples {
            memory.spent = Duration::ZERO;
            let begun = Instant::now();
            let sample = walker.sample(&mut memory);
            decoding.push(begun.elapsed().saturating_sub(memory.spent));
            let sample = sample.map_err(|rejection| Trouble::Refused(rejection.to_string()))?;
            let begun = Instant::now();
            for stack in sample.threads.iter().flat_map(|thread| &thread.outcome) {
                black_box(stack.to_vec());
            }
            results.push(begun.elapsed());
        }
        Ok(Some(Inside { decoding: middle(&decoding), results: middle(&results) }))
    }

    /// Takes `samples` samples in sequence of a target that does not move.
    pub(super) fn block(&mut self, samples: u64, claim: Claim) -> Result<Block, Trouble> {
        let (mut lookups, mut times) = (Lookups::default(), Vec::new());
        if let Walks::Cpython(unwinder) = &mut self.walks {
            let pace = Pace { times: true, ..Pace::default() };
            let mut wrong = None;
            unwinder.run_paced(LiveBound::Samples(samples), pace, |batch| {
                times.extend(batch.times);
                for counted in &batch.samples {
                    match claim.check(&counted.sample, counted.counters) {
                        Ok(found) => lookups += found,
                        Err(why) => wrong = Some(why),
                    }
                }
                if wrong.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            return match wrong {
                Some(why) => Err(Trouble::Refused(why)),
                None => Ok(Block::of(&times, lookups)),
            };
        }
        for _ in 0..samples {
            let (sample, counters, time) = self.sample()?;
            lookups += claim.check(&sample, counters).map_err(Trouble::Refused)?;
            times.push(time);
        }
        Ok(Block::of(&times, lookups))
    }

    /// Samples a running target until `done`, at most once per `interval` if one is given.
    pub(super) fn watch(&mut self, done: &Receiver<()>, interval: Option<Duration>) -> Result<Watched, Trouble> {
        let mut watched = Watched::default();
        let begun = Instant::now();
        if let Walks::Cpython(unwinder) = &mut self.walks {
            let pace = Pace { interval, batch: Some(WATCH_BATCH), times: false };
            unwinder.run_paced(LiveBound::Time(PATIENCE), pace, |batch| {
                for counted in &batch.samples {
                    watched.samples += 1;
                    watched.lookups += answers(&counted.sample, counted.counters);
                }
                if is_done(done) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            return Ok(Watched { time: begun.elapsed(), ..watched });
        }
        let mut due = Instant::now();
        while !is_done(done) {
            if let Some(interval) = interval {
                due += interval;
                // Stop waiting as soon as the target is done.
                match done.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            let (sample, counters, _) = self.sample()?;
            watched.samples += 1;
            watched.lookups += answers(&sample, counters);
        }
        Ok(Watched { time: begun.elapsed(), ..watched })
    }

    /// Detaches and leaves the target without an anchor.
    pub(super) fn end(mut self) -> Result<(), Trouble> {
        let refused = |rejection: framewalk::rejection::Rejection| Trouble::Refused(rejection.to_string());
        match &mut self.walks {
            Walks::Own(walker) => walker.detach(&mut self.memory).map_err(refused),
            Walks::Cpython(unwinder) => {
                unwinder.close(soon())?;
                // CPython's unwinder leaves its anchors in the target.
                if self.kind.is_cached() {
                    own_walker(WalkerKind::OwnCached, self.site)?.detach(&mut self.memory).map_err(refused)?;
                }
                Ok(())
            }
        }
    }
}
