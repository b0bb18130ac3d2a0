//! CPython's unwinders, kept from cell to cell: starting an interpreter for each would cost more than the cell.
//!
//! One that dies or hangs is a finding, and the cell goes on with a new one: see [`RenewedUnwinder`].

use std::collections::HashMap;
use std::path::PathBuf;

use framewalk::layout::{Layout, LayoutError};
use framewalk::memory::MemoryError;
use framewalk::sample::WalkerKind;
use framewalk::walker::Site;
use model::invariants::Violation;
use model::run::cell::Inconclusive;
use model::workload::positions::Positions;
use process::memory::ProcessMemory;
use process::target::Target;
use process::unwinder::{CountedSample, Unwinder, UnwinderError};

use crate::cell::{Cell, Cut};
use crate::recorder::{Evidence, Recorder};

/// How often an unwinder is replaced before a cell goes on without: by then the violation is there.
const MOST_DEATHS: u32 = 20;
/// A hang costs as much time as it takes to be sure of it, so few are waited for.
const HANG_WEIGHT: u32 = 10;

/// The idle drivers, by interpreter. Each is lent for a session and opened anew for it.
#[derive(Default)]
pub struct Drivers {
    idle: HashMap<PathBuf, Vec<Unwinder>>,
}

impl Drivers {
    /// An unwinder of the cell's own build, open on the target, with or without its cache, and with or without its counters.
    ///
    /// # Errors
    /// The driver does not start, or `RemoteUnwinder` refuses the process.
    pub(super) fn open<'a>(
        &mut self,
        cell: &'a Cell<'a>,
        recorder: &mut Recorder<'_>,
        target: Observed,
        kind: WalkerKind,
        counts: bool,
    ) -> Result<RenewedUnwinder<'a>, Cut> {
        let idle = self.idle.get_mut(&cell.row.build.python).and_then(Vec::pop);
        let mut unwinder = RenewedUnwinder { cell, target, kind, counts, idle, open: None, deaths_left: MOST_DEATHS };
        unwinder.opened(recorder)?;
        Ok(unwinder)
    }

    /// Where the code of `source` stands, as the cell's own build compiles it.
    ///
    /// # Errors
    /// The driver does not start, or fails.
    pub(super) fn positions(&mut self, cell: &Cell<'_>, source: &str) -> Result<Positions, Cut> {
        let idle = self.idle.entry(cell.row.build.python.clone()).or_default();
        let mut driver = match idle.pop() {
            Some(driver) => driver,
            None => Unwinder::start(&cell.row.build.python, cell.patience())?,
        };
        let positions = driver.positions(source, &Target::workload_file(), cell.patience())?;
        idle.push(driver);
        Ok(positions)
    }

    /// Takes an unwinder back.
    ///
    /// # Errors
    /// The target has ended, or the driver fails.
    pub(super) fn give_back(
        &mut self,
        mut unwinder: RenewedUnwinder<'_>,
        recorder: &mut Recorder<'_>,
    ) -> Result<(), Cut> {
        unwinder.close(recorder)?;
        let python = &unwinder.cell.row.build.python;
        self.idle.entry(python.clone()).or_default().extend(unwinder.idle);
        Ok(())
    }
}

/// A process that is walked.
#[derive(Clone, Copy)]
pub(super) struct Observed {
    pub(super) pid: i32,
    pub(super) site: Site,
}

impl Observed {
    /// Why what is walked is not there any more, if it is not.
    pub(super) fn ended(self) -> Option<String> {
        match Layout::read(&mut ProcessMemory::new(self.pid), self.site.runtime) {
            Ok(layout) if layout == self.site.layout => None,
            Err(LayoutError::Memory(error @ MemoryError::Gone { .. })) => Some(error.to_string()),
            _ => Some(format!("process {} runs another program now", self.pid)),
        }
    }
}

/// CPython's unwinder on one target. If it dies or hangs although the target lives, that is a violation, and there is a new
/// one for the next sample; its cache is empty. After too many deaths there is none any more.
pub(super) struct RenewedUnwinder<'a> {
    cell: &'a Cell<'a>,
    target: Observed,
    kind: WalkerKind,
    counts: bool,
    /// A driver that is open on nothing.
    idle: Option<Unwinder>,
    /// A driver that is open on the target.
    open: Option<Unwinder>,
    deaths_left: u32,
}

impl RenewedUnwinder<'_> {
    /// The process that it walks; the id of its main thread, too.
    pub(super) fn pid(&self) -> u64 {
        u64::from(self.target.pid.cast_unsigned())
    }

    /// Whether there is one that lives.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The unwinder, open on the target; a new one if the last one died, and none after too many deaths.
    pub(super) fn opened(&mut self, recorder: &mut Recorder<'_>) -> Result<Option<&mut Unwinder>, Cut> {
        while self.open.is_none() && self.deaths_left > 0 {
            match self.open_another() {
                Ok(unwinder) => self.open = Some(unwinder),
                Err(error) => self.lost(recorder, error)?,
            }
        }
        Ok(self.open.as_mut())
    }

    fn open_another(&mut self) -> Result<Unwinder, UnwinderError> {
        let mut unwinder = match self.idle.take() {
            Some(unwinder) => unwinder,
            None => Unwinder::start(&self.cell.row.build.python, self.cell.patience())?,
        };
        unwinder.count(self.counts);
        unwinder.open(self.target.pid, self.kind.is_cached(), self.cell.patience())?;
        Ok(unwinder)
    }

    /// Takes one sample; none if the unwinder dies of it, or has died too often.
    pub(super) fn sample(&mut self, recorder: &mut Recorder<'_>) -> Result<Option<CountedSample>, Cut> {
        let deadline = self.cell.patience();
        let Some(unwinder) = self.opened(recorder)? else { return Ok(None) };
        match unwinder.sample(deadline) {
            Ok(counted) => Ok(Some(counted)),
            Err(error) => self.lost(recorder, error).map(|()| None),
        }
    }

    /// Drops the unwinder, and says whether there was one; its driver is kept for another target.
    pub(super) fn close(&mut self, recorder: &mut Recorder<'_>) -> Result<bool, Cut> {
        let Some(mut unwinder) = self.open.take() else { return Ok(false) };
        match unwinder.close(self.cell.patience()) {
            Ok(()) => {
                self.idle = Some(unwinder);
                Ok(true)
            }
            Err(error) => self.lost(recorder, error).map(|()| false),
        }
    }

    /// The unwinder gave no answer, and is done with: reports it, if it is to blame.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn lost(&mut self, recorder: &mut Recorder<'_>, error: UnwinderError) -> Result<(), Cut> {
        self.open = None;
        let Some(violation) = error.violation() else { return Err(error.into()) };
        if let Some(why) = self.target.ended() {
            return Err(Inconclusive::TargetEnded(why).into());
        }
        let weight = if violation == Violation::UnwinderHung { HANG_WEIGHT } else { 1 };
        self.deaths_left = self.deaths_left.saturating_sub(weight);
        recorder.violation(self.kind, violation, Evidence::default());
        Ok(())
    }
}
