//! A thread of the target that ends while it is sampled: after CPython's unwinder has read its state, and before the
//! unwinder writes the anchor.
//!
//! The unwinder looks up a thread's state once per sample, and writes 8 bytes to it at the end. Nothing keeps the state
//! from being freed in between. The target decides what is there by then: free memory, other data, or the state of a
//! new thread. The rest of the lane moves one thread from store to store. Here several threads come and go, from gate
//! to gate.

use std::time::{Duration, Instant};

use framewalk::memory::{Address, RemoteMemory};
use framewalk::sample::{Sample, WalkerKind};
use framewalk::thread_state::{ThreadState, thread_states};
use framewalk::walker::{Site, Unsupported};
use nix::errno::Errno;
use process::build::Build;
use process::gate::Gate;
use process::target::Target;
use process::trace::Watchdog;

use super::RigPlan;
use super::cpython::{Access, Cpython};
use super::error::RigError;
use super::place::RunKey;

const PROGRAM: &str = include_str!("../../pyscripts/processes/thread_ends.py");
/// The contexts of the program's gates; its docstring lists them.
const OF_NEW_THREAD: u32 = 2;
const DAMAGED: u32 = 5;

/// What the target does with the memory of the ended thread before the anchor is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// Nothing: the memory stays free.
    Nothing,
    /// It creates byte arrays, which it never changes.
    Bytes,
    /// It starts another thread.
    Thread,
}

impl Successor {
    /// The name that the program expects.
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bytes => "bytes",
            Self::Thread => "thread",
        }
    }
}

/// The result of [`thread_ends`].
#[derive(Clone, Debug)]
pub struct Exit {
    /// The state of the thread that ended, read while it existed.
    pub ended: ThreadState,
    /// The thread states of the target when the anchor was about to be written.
    pub there: Vec<ThreadState>,
    /// The address that the unwinder wrote. `None` if it wrote nothing to that thread state.
    pub written: Option<Address>,
    /// The word at that address, right before and right after the write.
    pub word: (u64, u64),
    /// The sample during which the thread ended.
    pub sample: Sample,
    /// The samples after it, each with the gate at which the target waited.
    pub later: Vec<(Gate, Sample)>,
    /// Whether byte arrays that the target never changed have changed.
    pub is_damaged: bool,
}

/// Makes a thread of a target on `python` end between the reads of a sample and the write of its anchor.
///
/// # Errors
/// See [`RigError`].
pub fn thread_ends(build: &Build, successor: Successor, patience: Duration) -> Result<Exit, RigError> {
    let place = RunKey::take()?;
    let deadline = Instant::now() + patience;
    let source = format!("AFTER = {:?}\n{PROGRAM}", successor.name());
    let plan = RigPlan { patience, ..RigPlan::new(build, WalkerKind::CpythonCached) };
    let mut target = Target::launch_repeatable(build.interpreter(), None, &source, &plan.folder, deadline)?;
    target.start(deadline)?;
    let gate = target.next_gate(deadline)?;
    let site = build.site(target.pid())?;
    let anchor = site.cache().map_err(Unsupported::from)?.anchor;
    let watchdog =
        Watchdog::new(patience).map_err(|_| RigError::System { action: "start a thread", errno: Errno::last() })?;
    let ended = states(&target, site)?
        .into_iter()
        .find(|state| state.native_thread_id == u64::from(gate.native_thread_id))
        .ok_or(RigError::NoThread(gate.native_thread_id))?;
    let at = ended.address.wrapping_add(anchor);
    let mut unwinder = Cpython::start(&plan, &place, deadline.into())?;
    let pid = target.pid();
    unwinder.open_on(pid, &watchdog)?;
    let (mut there, mut written, mut before) = (Vec::new(), None, 0);
    let mut gate = gate;
    let sample = unwinder.sample_on(pid, &watchdog, &mut |access| {
        let writes = matches!(access, Access::Write(parts) if parts.iter().any(|&(address, _)| address == at));
        if !writes || written.is_some() {
            return Ok(());
        }
        target.go(deadline)?;
        gate = target.next_gate(deadline)?;
        there = states(&target, site)?;
        before = target.memory().read_u64(at)?;
        written = Some(at);
        Ok(())
    })?;
    let word = (before, target.memory().read_u64(at)?);
    let mut later = Vec::new();
    loop {
        later.push((gate, unwinder.sample_on(pid, &watchdog, &mut |_| Ok(()))?));
        if gate.context > OF_NEW_THREAD + 1 {
            break;
        }
        target.go(deadline)?;
        gate = target.next_gate(deadline)?;
    }
    target.go(deadline)?;
    let is_damaged = target.next_gate(deadline)?.context == DAMAGED;
    Ok(Exit { ended, there, written, word, sample, later, is_damaged })
}

fn states(target: &Target, site: Site) -> Result<Vec<ThreadState>, RigError> {
    Ok(thread_states(&mut target.memory(), &site.layout, site.runtime)?)
}
