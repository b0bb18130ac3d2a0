//! A benchmark target, launched and waiting at its first gate.

use std::path::Path;
use std::time::{Duration, Instant};

use framewalk::walker::Site;
use process::build::BuildVariant;
use process::target::Target;

use crate::bench::Failure;

/// After this long without a gate, a launch or an answer, a process is considered hung.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// A target that waits at a gate.
pub(super) struct GatedTarget {
    pub(super) target: Target,
    pub(super) site: Site,
}

impl GatedTarget {
    /// Launches the program and waits for its first gate.
    pub(super) fn launch(row: &BuildVariant, source: &str, folder: &Path) -> Result<Self, Failure> {
        let mut target = Target::launch(row.build.interpreter(), row.jit.switch(), source, folder, soon())?;
        let site = row.build.site(target.pid())?;
        target.start(soon())?;
        target.next_gate(soon())?;
        Ok(Self { target, site })
    }

    /// Lets the target run to its next gate.
    pub(super) fn next(&mut self) -> Result<(), Failure> {
        self.target.pass_gates(1, soon())?;
        Ok(())
    }

    /// Like [`GatedTarget::next`], and returns the gate's context, which this program uses for a number.
    pub(super) fn next_number(&mut self) -> Result<u32, Failure> {
        Ok(self.target.pass_gates(1, soon())?.context)
    }
}
