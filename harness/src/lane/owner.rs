//! Who has the anchors of a stopped target.

use crate::lane::cell::{Cell, Cut};
use crate::lane::drivers::{Drivers, RenewedUnwinder};
use crate::lane::recorder::Recorder;
use crate::lane::session::Session;
use crate::lane::stops::Stops;
use crate::memory::process::ProcessMemory;
use crate::sample::{Sample, WalkerKind};
use crate::walk::cached::CachedWalker;
use crate::walk::reference::ReferenceWalker;
use crate::walk::walker::Walker;
use crate::workload::Family;

/// The cached walker that owns the target's anchors.
pub(super) enum Owner<'a> {
    /// This project's.
    Own(Vec<Box<dyn Walker>>),
    /// CPython's.
    Cpython(Vec<RenewedUnwinder<'a>>),
    /// None: only uncached walkers look.
    Nobody,
}

impl<'a> Owner<'a> {
    /// `turns` walkers of this kind, which take turns.
    pub(super) fn new(
        cell: &'a Cell<'a>,
        drivers: &mut Drivers,
        recorder: &mut Recorder<'_>,
        session: &Session,
        walker: Option<WalkerKind>,
        turns: usize,
    ) -> Result<Self, Cut> {
        let site = session.site;
        Ok(match walker {
            Some(WalkerKind::OwnCached) => {
                let new = || CachedWalker::new(site, cell.weakenings.clone());
                let walkers: Result<Vec<_>, _> = (0..turns).map(|_| new()).collect();
                Self::Own(walkers?.into_iter().map(|walker| Box::new(walker) as Box<dyn Walker>).collect())
            }
            Some(WalkerKind::OwnReference) => Self::Own(vec![Box::new(ReferenceWalker::new(site)?)]),
            Some(kind @ WalkerKind::CpythonCached) => {
                let target = session.observed();
                let open = |_| drivers.open(cell, recorder, target, kind);
                Self::Cpython((0..turns).map(open).collect::<Result<_, _>>()?)
            }
            Some(WalkerKind::OwnUncached | WalkerKind::CpythonUncached) | None => Self::Nobody,
        })
    }

    /// Who wrote the anchors, for reports.
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

    /// Clears the anchors, as CPython's did when it was made.
    pub(super) fn attach(&mut self, memory: &mut ProcessMemory) -> Result<(), Cut> {
        if let Self::Own(walkers) = self
            && let Some(first) = walkers.first_mut()
        {
            first.attach(memory)?;
        }
        Ok(())
    }

    /// The sample of the walker whose turn it is, if there is one, and it lives.
    pub(super) fn sample(
        &mut self,
        recorder: &mut Recorder<'_>,
        turn: usize,
        memory: &mut ProcessMemory,
    ) -> Result<Option<Sample>, Cut> {
        Ok(match self {
            Self::Own(walkers) => match walkers.get_mut(turn) {
                Some(walker) => Some(walker.sample(memory)?),
                None => None,
            },
            Self::Cpython(unwinders) => match unwinders.get_mut(turn) {
                Some(unwinder) => unwinder.sample(recorder)?,
                None => None,
            },
            Self::Nobody => None,
        })
    }

    /// Takes the anchors away. Says whether that was done: one that has died cannot.
    pub(super) fn detach(&mut self, recorder: &mut Recorder<'_>, memory: &mut ProcessMemory) -> Result<bool, Cut> {
        Ok(match self {
            Self::Own(walkers) => {
                for walker in walkers {
                    walker.detach(memory)?;
                }
                true
            }
            Self::Cpython(unwinders) => {
                let mut all = true;
                for unwinder in unwinders {
                    all &= unwinder.close(recorder)?;
                }
                all
            }
            Self::Nobody => true,
        })
    }
}

/// How many profilers of a kind take turns on one target, one run after the other.
pub(super) fn all_turns(walker: Option<WalkerKind>, family: Family, stops: Stops) -> &'static [usize] {
    let protocol = matches!(walker, Some(WalkerKind::OwnCached | WalkerKind::CpythonCached));
    if protocol && takes_turns(family, stops) { &[1, 2] } else { &[1] }
}

/// Whether two profilers of CPython's protocol may take turns on one target.
///
/// With one profiler and a stopped target the anchor is always exact, so the sequence decides nothing. With two it does:
/// each overwrites the other's anchor. Where every frame that leaves the stack moves the anchor, the anchor always
/// stands on the stack. An entry was stored with the anchor on its first frame and sequence S; for its frame i to leave,
/// the anchor must have gone down past it, which takes at least i + 1 moves, so the sequence can never be S + i again.
/// Leaving a shim frame moves no anchor, so this holds only for families that do not call through C. Nor does it hold where
/// a stop may come between a return's store to the current frame and its look at the anchor: whoever writes the anchor there
/// takes it from the frame that leaves, which is then not counted.
fn takes_turns(family: Family, stops: Stops) -> bool {
    stops == Stops::Gates && matches!(family, Family::Alternating | Family::Deep | Family::Recursion)
}
