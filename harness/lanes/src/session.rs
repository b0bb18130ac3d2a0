//! A launched target, and where to walk it.

use std::fs;

use framewalk::memory::{Address, RemoteMemory};
use framewalk::walker::Site;
use model::workload::Workload;
use model::workload::user_program::UserProgram;
use process::memory::ProcessMemory;
use process::program::Program;
use process::target::Target;

use crate::cell::{Cell, CellError};
use crate::drivers::Observed;

/// A target that is ready to start.
pub(super) struct Session {
    pub(super) target: Target,
    pub(super) memory: ProcessMemory,
    pub(super) site: Site,
}

impl Session {
    pub(super) fn launch(cell: &Cell<'_>, workload: &Workload) -> Result<Self, CellError> {
        let python = cell.row.build.interpreter();
        Self::of(cell, Target::launch(python, cell.jit(), &workload.source, cell.folder, cell.patience())?)
    }

    /// Launches a user's program, which stops itself at its gates if `stops` is set.
    pub(super) fn launch_program(cell: &Cell<'_>, program: &UserProgram, stops: bool) -> Result<Self, CellError> {
        let python = cell.row.build.interpreter();
        Self::of(cell, Target::launch_program(python, cell.jit(), program, stops, cell.folder, cell.patience())?)
    }

    fn of(cell: &Cell<'_>, target: Target) -> Result<Self, CellError> {
        let site = cell.row.build.site(target.pid()).map_err(|error| CellError::SetUp(error.to_string()))?;
        Ok(Self { memory: target.memory(), target, site })
    }

    /// The target as its walkers see it.
    pub(super) fn observed(&self) -> Observed {
        Observed { pid: self.target.pid(), site: self.site }
    }
}

/// Whether a process is traced, by whatever process.
fn has_tracer(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("TracerPid:")).any(|tracer| tracer.trim() != "0")
}

/// Checks whether a user's program is still the one that was launched, and whether its interpreter can be walked.
pub(super) struct Vitality {
    program: Program,
    finalizing: Address,
}

/// Why there is nothing to walk although the process exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// The interpreter is finalizing.
    Finalizing,
    /// The process runs another program.
    Replaced,
    /// Another process traces it, or it asked its parent to. A signal to stop or to go on has no effect then.
    Traced,
}

impl Vitality {
    /// Remembers the program as it starts.
    pub(super) fn new(session: &Session) -> Result<Self, CellError> {
        let program = Program::of(session.target.pid()).map_err(|error| CellError::SetUp(error.to_string()))?;
        Ok(Self { program, finalizing: session.site.runtime.wrapping_add(session.site.layout.finalizing) })
    }

    /// Looks at the stopped process. Returns why it cannot be walked or stopped again, if it cannot. `is_traced` says
    /// whether framediff traces it.
    pub(super) fn look(&self, session: &mut Session, is_traced: bool) -> Option<Gone> {
        if Program::of(session.target.pid()).ok().as_ref() != Some(&self.program) {
            return Some(Gone::Replaced);
        }
        if !is_traced && has_tracer(session.target.pid()) {
            return Some(Gone::Traced);
        }
        let head = session.site.runtime.wrapping_add(session.site.layout.interpreters_head);
        let mut word = |address| session.memory.read_u64(address).ok();
        let lives = word(self.finalizing) == Some(0) && word(head).is_some_and(|head| head != 0);
        (!lives).then_some(Gone::Finalizing)
    }
}
