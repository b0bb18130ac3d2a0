//! A launched target and where to walk it.

use crate::lane::cell::{Cell, Cut};
use crate::lane::drivers::Observed;
use crate::layout::Layout;
use crate::memory::process::ProcessMemory;
use crate::target::process::Target;
use crate::target::runtime::runtime_address;
use crate::walk::walker::Site;
use crate::workload::Workload;

/// A target that is ready to start.
pub(super) struct Session {
    pub(super) target: Target,
    pub(super) memory: ProcessMemory,
    pub(super) site: Site,
}

impl Session {
    pub(super) fn launch(cell: &Cell<'_>, workload: &Workload) -> Result<Self, Cut> {
        let python = &cell.row.build.python;
        let target = Target::launch(python, cell.jit(), &workload.source, cell.folder, cell.patience())?;
        let runtime = runtime_address(target.pid()).map_err(|error| Cut::SetUp(error.to_string()))?;
        let mut memory = target.memory();
        let layout = Layout::read(&mut memory, runtime.address).map_err(|error| Cut::SetUp(error.to_string()))?;
        Ok(Self { target, memory, site: Site { layout, runtime: runtime.address } })
    }

    /// The target as those see it who only walk it.
    pub(super) fn observed(&self) -> Observed {
        Observed { pid: self.target.pid(), site: self.site }
    }
}
