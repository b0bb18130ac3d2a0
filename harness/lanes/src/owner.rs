//! The owner of a stopped target's anchors.

use framewalk::sample::{Counters, Sample, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::walker::Walker;
use model::workload::Family;
use process::memory::ProcessMemory;
use process::unwinder::{CountedSample, ToldThread};
use smallvec::SmallVec;

use crate::agreement::Standing;
use crate::asked::Asked;
use crate::cell::{Cell, CellError};
use crate::drivers::{RenewedUnwinder, UnwinderPool};
use crate::expected::{Expected, Owed};
use crate::listing::{Listing, has_raised};
use crate::recorder::CellRecorder;
use crate::session::Session;
use crate::stops::Stops;

/// A sample, and what CPython's unwinder reports besides.
pub(super) struct Taken {
    pub(super) sample: Sample,
    pub(super) unwinder: Option<UnwinderReport>,
}

/// What CPython's unwinder reports besides frames.
pub(super) struct UnwinderReport {
    pub(super) counters: Option<Counters>,
    /// The details of each thread in the sample.
    pub(super) threads: SmallVec<[ToldThread; 1]>,
    /// What its protocol owes, if the unwinder has a cache and lists what it is expected to.
    pub(super) owed: Option<Owed>,
    /// Which interpreters the unwinder can list.
    pub(super) listing: Listing,
}

/// The cached walker that owns the target's anchors.
pub(super) enum Owner<'a> {
    Own(Vec<Box<dyn Walker>>),
    /// CPython's unwinders, each with the model of what it owes.
    Cpython(Vec<(RenewedUnwinder<'a>, Expected)>),
    /// Nobody: only uncached walkers look.
    Nobody,
}

impl<'a> Owner<'a> {
    /// Creates `turns` walkers of this kind, which take turns.
    pub(super) fn new(
        cell: &'a Cell<'a>,
        drivers: &mut UnwinderPool,
        recorder: &mut CellRecorder<'_>,
        session: &Session,
        walker: Option<WalkerKind>,
        turns: usize,
    ) -> Result<Self, CellError> {
        let site = session.site;
        Ok(match walker {
            Some(kind @ WalkerKind::OwnCached) => {
                let spec = WalkerSpec { kind, weakenings: cell.weakenings.clone() };
                Self::Own((0..turns).map(|_| spec.build(site)).collect::<Result<_, _>>()?)
            }
            Some(kind @ WalkerKind::OwnReference) => Self::Own(vec![WalkerSpec::from(kind).build(site)?]),
            Some(kind @ WalkerKind::CpythonCached) => {
                let target = session.observed();
                // The second unwinder is created without counters. Nothing else about it may differ.
                let open = |turn| Ok((drivers.open(cell, recorder, target, kind, turn == 0)?, Expected::new(site)?));
                Self::Cpython((0..turns).map(open).collect::<Result<_, CellError>>()?)
            }
            Some(WalkerKind::OwnUncached | WalkerKind::CpythonUncached) | None => Self::Nobody,
        })
    }

    /// The walker that wrote the anchors, for reports.
    pub(super) fn kind(&self) -> WalkerKind {
        match self {
            Self::Own(walkers) => walkers.first().map_or(WalkerKind::OwnUncached, |walker| walker.kind()),
            Self::Cpython(_) => WalkerKind::CpythonCached,
            Self::Nobody => WalkerKind::OwnUncached,
        }
    }

    /// How many walkers take turns.
    pub(super) fn turns(&self) -> usize {
        match self {
            Self::Own(walkers) => walkers.len().max(1),
            Self::Cpython(unwinders) => unwinders.len().max(1),
            Self::Nobody => 1,
        }
    }

    /// Whether the walkers have cleared the anchors at their start. An unwinder that died may not have got that far.
    pub(super) fn begins(&self) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Cpython(unwinders) => unwinders.iter().all(|(unwinder, _)| unwinder.is_open()),
            Self::Nobody => false,
        }
    }

    /// Clears the anchors. CPython's unwinder did so when it was created.
    pub(super) fn attach(&mut self, memory: &mut ProcessMemory) -> Result<(), CellError> {
        if let Self::Own(walkers) = self
            && let Some(first) = walkers.first_mut()
        {
            first.attach(memory)?;
        }
        Ok(())
    }

    /// Takes a sample with the walker whose turn it is. `None` if there is no walker, or it died.
    pub(super) fn sample(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        turn: usize,
        memory: &mut ProcessMemory,
        standings: &[Standing],
    ) -> Result<Option<Taken>, CellError> {
        match self {
            Self::Own(walkers) => {
                let Some(walker) = walkers.get_mut(turn) else { return Ok(None) };
                Ok(Some(Taken { sample: walker.sample(memory)?, unwinder: None }))
            }
            Self::Cpython(unwinders) => {
                let Some((unwinder, expected)) = unwinders.get_mut(turn) else { return Ok(None) };
                // An unwinder that replaces a dead one clears the anchors.
                unwinder.opened(recorder)?;
                let listing = unwinder.listing()?;
                let mut owed = expected.look(memory, &listing, unwinder.head())?;
                let Some(CountedSample { sample, counters, told }) = unwinder.sample(recorder)? else {
                    expected.forget();
                    return Ok(None);
                };
                let asked = unwinder.asked();
                let is_owed = owed.as_ref().is_none_or(|owed| lists_the_same(owed, &sample));
                if matches!(listing, Listing::Without(_)) && (!is_owed || !asked.configuration.lists_all()) {
                    // It lists newer interpreters, too.
                    expected.lost();
                    owed = None;
                }
                let ids: Vec<u64> = sample.threads.iter().map(|thread| thread.native_thread_id).collect();
                let owed =
                    owed.map(|owed| expected.of_listed(owed, standings, &asked.list(standings, 0, &ids), counters));
                Ok(Some(Taken { sample, unwinder: Some(UnwinderReport { counters, threads: told, owed, listing }) }))
            }
            Self::Nobody => Ok(None),
        }
    }

    /// What the walker whose turn it is was asked for.
    pub(super) fn asked(&self, turn: usize) -> Asked {
        match self {
            Self::Cpython(unwinders) => unwinders.get(turn).map(|(unwinder, _)| unwinder.asked()).unwrap_or_default(),
            Self::Own(_) | Self::Nobody => Asked::default(),
        }
    }

    /// The latest sample raised at the thread with this index.
    pub(super) fn raised(&mut self, turn: usize, owed: &Owed, number: usize) {
        if let Self::Cpython(unwinders) = self
            && let Some((_, expected)) = unwinders.get_mut(turn)
        {
            expected.raised(&owed.sample, number);
        }
    }

    /// Clears the anchors. Returns whether that was done: an unwinder that died cannot do it.
    pub(super) fn detach(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        memory: &mut ProcessMemory,
    ) -> Result<bool, CellError> {
        Ok(match self {
            Self::Own(walkers) => {
                for walker in walkers {
                    walker.detach(memory)?;
                }
                true
            }
            Self::Cpython(unwinders) => {
                let mut all = true;
                for (unwinder, _) in unwinders {
                    all &= unwinder.close(recorder)?;
                }
                all
            }
            Self::Nobody => true,
        })
    }
}

/// Whether the unwinder's sample is one of the threads that it was expected to list, as far as it shows.
fn lists_the_same(owed: &Sample, sample: &Sample) -> bool {
    let ids = |sample: &Sample| sample.threads.iter().map(|thread| thread.native_thread_id).collect::<Vec<_>>();
    has_raised(&sample.threads) || ids(owed) == ids(sample)
}

/// How many profilers of a kind take turns on one target. Each number gets a run of its own.
pub(super) fn all_turns(walker: Option<WalkerKind>, family: Family, stops: Stops) -> &'static [usize] {
    let has_protocol = walker.is_some_and(WalkerKind::has_cpythons_protocol);
    if has_protocol && takes_turns(family, stops) { &[1, 2] } else { &[1] }
}

/// Whether two profilers of CPython's protocol may take turns on one target.
///
/// With one profiler and a stopped target, the anchor is always exact, so the sequence decides nothing. With two
/// profilers it does: each overwrites the other's anchor. If every frame that leaves the stack moves the anchor, the
/// anchor is always on the stack. An entry was stored with the anchor on its first frame and sequence S. For its frame
/// i to leave, the anchor must have moved down past that frame. That takes at least i + 1 moves, so the sequence can
/// never be S + i again.
///
/// A shim frame that leaves moves no anchor, so this holds only for families that do not call through C. Nor does it
/// hold where a stop may come between a return's store to the current frame and its check of the anchor. A walker that
/// writes the anchor there takes it away from the leaving frame, which is then not counted.
fn takes_turns(family: Family, stops: Stops) -> bool {
    stops == Stops::Gates && family.spec().is_straight
}
