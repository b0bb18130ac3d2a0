//! The accesses of CPython's own unwinder to a target's memory.

use std::time::Duration;

use framewalk::sample::{Sample, WalkerKind};
use nix::errno::Errno;
use process::build::Build;
use process::trace::Watchdog;

use super::RigPlan;
use super::access::Part;
use super::cpython::{Access, Cpython};
use super::error::RigError;
use super::place::RunKey;

/// One access: the ranges of the target that one system call names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The call reads the ranges.
    Read(Vec<Part>),
    /// The call writes the ranges.
    Write(Vec<Part>),
}

/// The driver of CPython's unwinder, stopped before each access to a target that stands still. Only the thread that
/// created it can use it.
pub struct Listener {
    unwinder: Cpython,
    watchdog: Watchdog,
}

impl Listener {
    /// Starts the driver on the interpreter of `build`.
    pub fn start(build: &Build, walker: WalkerKind, patience: Duration) -> Result<Self, RigError> {
        // Binds this thread to the driver's processor only until the driver has started.
        let place = RunKey::take()?;
        let watchdog =
            Watchdog::new(patience).map_err(|_| RigError::System { action: "start a thread", errno: Errno::last() })?;
        let plan = RigPlan { patience, ..RigPlan::new(build, walker) };
        let unwinder = Cpython::start(&plan, &place, plan.deadline())?;
        Ok(Self { unwinder, watchdog })
    }

    /// Opens a new unwinder on process `pid`.
    pub fn open(&mut self, pid: i32) -> Result<(), RigError> {
        self.unwinder.open_on(pid, &self.watchdog)
    }

    /// Takes one sample of process `pid`. Also returns every access, in order.
    pub fn sample(&mut self, pid: i32) -> Result<(Sample, Vec<Asked>), RigError> {
        let mut asked = Vec::new();
        let sample = self.unwinder.sample_on(pid, &self.watchdog, &mut |access| {
            asked.push(match access {
                Access::Read(parts) => Asked::Read(parts.to_vec()),
                Access::Write(parts) => Asked::Write(parts.to_vec()),
            });
            Ok(())
        })?;
        Ok((sample, asked))
    }
}
