//! Keeps CPython's unwinders from cell to cell: starting an interpreter for each cell would cost more than the cell.
//!
//! An unwinder that dies or hangs is a finding, and the cell goes on with a new one: see `RenewedUnwinder`.

use std::collections::HashMap;
use std::path::PathBuf;

use framewalk::layout::header;
use framewalk::memory::{Address, MemoryError, RemoteMemory};
use framewalk::sample::WalkerKind;
use framewalk::walker::Site;
use model::invariants::Violation;
use model::run::cell::Inconclusive;
use model::run::configuration::Configuration;
use model::workload::positions::Positions;
use process::memory::ProcessMemory;
use process::target::Target;
use process::unwinder::{CountedSample, Unwinder, UnwinderError};

use crate::asked::Asked;
use crate::cell::{Cell, CellError};
use crate::listing::{Listing, head_of};
use crate::recorder::{CellRecorder, Evidence};

/// How many deaths are allowed before a cell goes on without the unwinder. By then the violation has been reported.
const MOST_DEATHS: u32 = 20;
/// A hang counts as this many deaths: detecting one takes long, so few are waited for.
const HANG_WEIGHT: u32 = 10;

/// The idle drivers, by interpreter. Each is lent for a session and opened again for it.
#[derive(Default)]
pub struct UnwinderPool {
    idle: HashMap<PathBuf, Vec<Unwinder>>,
}

impl UnwinderPool {
    /// Opens an unwinder of the cell's own build on the target, with or without its cache, and with or without its
    /// counters.
    ///
    /// # Errors
    /// The driver does not start, or `RemoteUnwinder` refuses the process.
    pub(super) fn open<'a>(
        &mut self,
        cell: &'a Cell<'a>,
        recorder: &mut CellRecorder<'_>,
        target: Observed,
        kind: WalkerKind,
        counts: bool,
    ) -> Result<RenewedUnwinder<'a>, CellError> {
        let idle = self.idle.get_mut(&cell.row.build.python).and_then(Vec::pop);
        let mut unwinder = RenewedUnwinder {
            cell,
            target,
            kind,
            counts,
            idle,
            open: None,
            head: None,
            main: None,
            deaths_left: MOST_DEATHS,
        };
        unwinder.opened(recorder)?;
        Ok(unwinder)
    }

    /// The positions of the code in `source`, as the cell's own build compiles it.
    ///
    /// # Errors
    /// The driver does not start, or fails.
    pub(super) fn positions(&mut self, cell: &Cell<'_>, source: &str) -> Result<Positions, CellError> {
        let idle = self.idle.entry(cell.row.build.python.clone()).or_default();
        let mut driver = match idle.pop() {
            Some(driver) => driver,
            None => Unwinder::start(&cell.row.build.python, cell.patience())?,
        };
        let positions = driver.positions(source, &Target::workload_file(), cell.patience())?;
        idle.push(driver);
        Ok(positions)
    }

    /// Takes an unwinder back for later cells.
    ///
    /// # Errors
    /// The target has ended, or the driver fails.
    pub(super) fn give_back(
        &mut self,
        mut unwinder: RenewedUnwinder<'_>,
        recorder: &mut CellRecorder<'_>,
    ) -> Result<(), CellError> {
        unwinder.close(recorder)?;
        let python = &unwinder.cell.row.build.python;
        self.idle.entry(python.clone()).or_default().extend(unwinder.idle);
        Ok(())
    }
}

/// A process to walk.
#[derive(Clone, Copy)]
pub(super) struct Observed {
    pub(super) pid: i32,
    pub(super) site: Site,
}

impl Observed {
    /// Why the program that is walked is gone, if it is.
    pub(super) fn ended(self) -> Option<String> {
        let mut table = [0; 24];
        match ProcessMemory::new(self.pid).read(self.site.runtime, &mut table) {
            Err(error @ MemoryError::Gone { .. }) => return Some(error.to_string()),
            Ok(()) if header(&table) == Ok((self.site.layout.version, self.site.layout.free_threaded)) => return None,
            Ok(()) | Err(_) => {}
        }
        Some(format!("process {} now runs another program", self.pid))
    }
}

/// CPython's unwinder on one target. If it dies or hangs although the target is alive, that is a violation, and the
/// next sample gets a new unwinder with an empty cache. After too many deaths, there is no new one.
pub(super) struct RenewedUnwinder<'a> {
    cell: &'a Cell<'a>,
    target: Observed,
    kind: WalkerKind,
    counts: bool,
    /// A driver without an open unwinder.
    idle: Option<Unwinder>,
    /// A driver with an unwinder that is open on the target.
    open: Option<Unwinder>,
    /// The head of the target's list of interpreters when the unwinder was made, if it could be read.
    head: Option<Address>,
    /// The state of that interpreter's main thread.
    main: Option<Address>,
    deaths_left: u32,
}

impl RenewedUnwinder<'_> {
    /// The pid of the process, which is also the id of its main thread.
    pub(super) fn pid(&self) -> u64 {
        u64::from(self.target.pid.cast_unsigned())
    }

    /// Whether an unwinder is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The unwinder, open on the target. Replaces one that died. `None` after too many deaths.
    pub(super) fn opened(&mut self, recorder: &mut CellRecorder<'_>) -> Result<Option<&mut Unwinder>, CellError> {
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
        let asked = self.cell.id.configuration;
        unwinder.configure(Configuration { statistics: asked.statistics && self.counts, ..asked });
        let Observed { pid, site } = self.target;
        let mut memory = ProcessMemory::new(pid);
        self.head = memory.read_u64(head_of(&site.layout, site.runtime)).ok();
        let main = self.head.zip(site.layout.thread.status).map(|(head, words)| head.wrapping_add(words.threads_main));
        self.main = main.and_then(|main| memory.read_u64(main).ok());
        unwinder.open(self.target.pid, self.kind.is_cached(), self.cell.patience())?;
        Ok(unwinder)
    }

    /// The head of the target's list of interpreters when the unwinder was made, if it could be read.
    pub(super) fn head(&self) -> Option<Address> {
        self.head
    }

    /// What the unwinder is asked for.
    pub(super) fn asked(&self) -> Asked {
        Asked { configuration: self.cell.id.configuration, main: self.main }
    }

    /// What the unwinder can list of the stopped target.
    pub(super) fn listing(&self) -> Result<Listing, CellError> {
        Ok(Listing::of(&mut ProcessMemory::new(self.target.pid), self.target.site, self.head)?)
    }

    /// Takes one sample. `None` if the unwinder dies or hangs, or has done so too often.
    pub(super) fn sample(&mut self, recorder: &mut CellRecorder<'_>) -> Result<Option<CountedSample>, CellError> {
        let deadline = self.cell.patience();
        let Some(unwinder) = self.opened(recorder)? else { return Ok(None) };
        match unwinder.sample(deadline) {
            Ok(counted) => Ok(Some(counted)),
            Err(error) => self.lost(recorder, error).map(|()| None),
        }
    }

    /// Drops the unwinder and returns whether there was one. Its driver is kept for another target.
    pub(super) fn close(&mut self, recorder: &mut CellRecorder<'_>) -> Result<bool, CellError> {
        let Some(mut unwinder) = self.open.take() else { return Ok(false) };
        match unwinder.close(self.cell.patience()) {
            Ok(()) => {
                self.idle = Some(unwinder);
                Ok(true)
            }
            Err(error) => self.lost(recorder, error).map(|()| false),
        }
    }

    /// Discards an unwinder that gave no answer, and reports it if it is to blame.
    ///
    /// # Errors
    /// The unwinder is not to blame.
    pub(super) fn lost(&mut self, recorder: &mut CellRecorder<'_>, error: UnwinderError) -> Result<(), CellError> {
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
