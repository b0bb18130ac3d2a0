//! All that takes part in a schedule runs on one processor: it takes turns anyway, and waking another processor for each
//! turn costs several times as much.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::error::RigError;

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The processor of a rig. The harness' own thread goes back to where it was when this is dropped.
pub(super) struct Place {
    own: CpuSet,
    before: CpuSet,
}

impl Place {
    /// Puts the calling thread on a processor, another one each time.
    pub(super) fn take() -> Result<Self, RigError> {
        let system = |errno| RigError::System { action: "place a thread on a processor", errno };
        let before = sched_getaffinity(Pid::from_raw(0)).map_err(system)?;
        let allowed: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| before.is_set(cpu).unwrap_or(false)).collect();
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let cpu = allowed.get(turn % allowed.len().max(1)).copied().ok_or_else(|| system(Errno::EINVAL))?;
        let mut own = CpuSet::new();
        own.set(cpu).map_err(system)?;
        let place = Self { own, before };
        place.put(0)?;
        Ok(place)
    }

    /// Puts a thread there; 0 is the calling one.
    pub(super) fn put(&self, thread: i32) -> Result<(), RigError> {
        sched_setaffinity(Pid::from_raw(thread), &self.own)
            .map_err(|errno| RigError::System { action: "place a thread on a processor", errno })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}
