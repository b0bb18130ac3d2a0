//! Keeps everything that takes part in a schedule on one processor. The parts take turns anyway, and waking another
//! processor for each turn costs several times as much.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::error::RigError;

/// The number of rigs on each processor.
static TAKEN: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());

/// The processor of a rig. When this is dropped, the harness's own thread gets back the processors that it had before.
pub(super) struct RunKey {
    cpu: usize,
    own: CpuSet,
    before: CpuSet,
}

impl RunKey {
    /// Puts the calling thread on the processor with the fewest rigs.
    pub(super) fn take() -> Result<Self, RigError> {
        let system = |errno| RigError::System { action: "place a thread on a processor", errno };
        let before = sched_getaffinity(Pid::from_raw(0)).map_err(system)?;
        let allowed: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| before.is_set(cpu).unwrap_or(false)).collect();
        let cpu = {
            let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
            let fewest = allowed.into_iter().min_by_key(|cpu| taken.get(cpu).copied().unwrap_or(0));
            let cpu = fewest.ok_or_else(|| system(Errno::EINVAL))?;
            *taken.entry(cpu).or_default() += 1;
            cpu
        };
        // From here on, the processor is given back whatever fails.
        let mut place = Self { cpu, own: CpuSet::new(), before };
        place.own.set(cpu).map_err(system)?;
        place.put(0)?;
        Ok(place)
    }

    /// Puts a thread on this processor; 0 is the calling thread.
    pub(super) fn put(&self, thread: i32) -> Result<(), RigError> {
        sched_setaffinity(Pid::from_raw(thread), &self.own)
            .map_err(|errno| RigError::System { action: "place a thread on a processor", errno })
    }
}

impl Drop for RunKey {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.entry(self.cpu).and_modify(|rigs| *rigs = rigs.saturating_sub(1));
    }
}
