//! CPython's own unwinder as the sampler of a stepped target.
//!
//! The driver's process is traced and stops before each of its accesses to the target. If the kernel accepts the
//! seccomp filter, it stops only there. Otherwise it stops at all of its system calls, which is slower and shows the
//! same.

use std::time::Instant;

use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment};
use framewalk::sample::{Counters, Sample, ThreadSample};
use model::schedule::AccessKind;
use nix::libc;
use process::confined::is_filtered;
use process::deadline::Deadline;
use process::memory::ProcessMemory;
use process::trace::{Resume, Stop, SystemCall, TraceError, Traced, Watchdog};
use process::unwinder::{Unwinder, UnwinderError};

use super::RigPlan;
use super::access::Part;
use super::conductor::Conductor;
use super::error::RigError;
use super::place::RunKey;

/// The kernel refuses more parts than this in one call (`UIO_MAXIOV`).
const PART_LIMIT: usize = 1024;
/// The most bytes of one access. The largest copy of an unwinder is that of a chunk, of 16 MiB.
const BYTE_LIMIT: usize = 32 << 20;

/// CPython's unwinder in a traced process.
pub(super) struct Cpython {
    // Dropped before the process is ended.
    traced: Traced,
    unwinder: Unwinder,
    memory: ProcessMemory,
    cached: bool,
    filtered: bool,
}

/// An access of the driver to the target, with the ranges that it names.
pub(super) enum Access<'a> {
    Read(&'a [Part]),
    Write(&'a [Part]),
}

/// The driver's next call.
enum Call {
    Read {
        local: Vec<Part>,
        remote: Vec<Part>,
    },
    Write {
        local: Vec<Part>,
        remote: Vec<Part>,
    },
    /// The unwinder is done.
    Mark,
}

impl Cpython {
    pub(super) fn start(plan: &RigPlan, place: &RunKey, deadline: Deadline) -> Result<Self, RigError> {
        let mut unwinder = Unwinder::start_traceable(&plan.build.python, plan.filter, deadline)?;
        unwinder.configure(plan.configuration);
        let pid = unwinder.pid();
        place.put(pid)?;
        let traced = Traced::attach(pid, pid)?;
        let mut driver = Self {
            traced,
            unwinder,
            memory: ProcessMemory::new(pid),
            cached: plan.walker.is_cached(),
            filtered: is_filtered(pid),
        };
        driver.resume_unseen()?;
        Ok(driver)
    }

    /// The pid of the driver.
    pub(super) fn pid(&self) -> i32 {
        self.unwinder.pid()
    }

    /// Whether the driver stops at its accesses only.
    pub(super) fn is_filtered(&self) -> bool {
        self.filtered
    }

    /// Creates a new unwinder while the target stands still. That sets all anchors to NULL.
    pub(super) fn open(&mut self, conductor: &Conductor<'_>) -> Result<(), RigError> {
        self.open_on(conductor.target.pid(), conductor.target.watchdog())
    }

    /// The same on process `pid`.
    pub(super) fn open_on(&mut self, pid: i32, watchdog: &Watchdog) -> Result<(), RigError> {
        let deadline = Instant::now() + watchdog.patience();
        self.listen()?;
        self.unwinder.ask_to_open(pid, self.cached, true, deadline)?;
        while !matches!(self.next(watchdog, pid)?, Call::Mark) {}
        self.resume_unseen()?;
        Ok(self.unwinder.opened(pid, self.cached, deadline)?)
    }

    /// Takes one sample of process `pid`. Calls `accesses` before each access.
    pub(super) fn sample_on(
        &mut self,
        pid: i32,
        watchdog: &Watchdog,
        accesses: &mut dyn FnMut(Access<'_>) -> Result<(), RigError>,
    ) -> Result<Sample, RigError> {
        let deadline = Instant::now() + watchdog.patience();
        self.listen()?;
        self.unwinder.ask_for_sample(true, deadline)?;
        loop {
            match self.next(watchdog, pid)? {
                Call::Read { remote, .. } => accesses(Access::Read(&remote))?,
                Call::Write { remote, .. } => accesses(Access::Write(&remote))?,
                Call::Mark => break,
            }
        }
        self.resume_unseen()?;
        Ok(self.unwinder.sampled(deadline)?.sample)
    }

    /// Drops the unwinder while the target stands still.
    pub(super) fn close(&mut self, conductor: &Conductor<'_>) -> Result<(), RigError> {
        let (pid, watchdog) = (conductor.target.pid(), conductor.target.watchdog());
        let deadline = Instant::now() + watchdog.patience();
        self.listen()?;
        self.unwinder.ask_to_close(true, deadline)?;
        while !matches!(self.next(watchdog, pid)?, Call::Mark) {}
        self.resume_unseen()?;
        Ok(self.unwinder.closed(deadline)?)
    }

    /// Takes one sample while the target moves.
    pub(super) fn sample(
        &mut self,
        conductor: &mut Conductor<'_>,
    ) -> Result<(ThreadSample, Option<Counters>), RigError> {
        let (pid, id) = (conductor.target.pid(), u64::from(conductor.target.native_thread_id()));
        let deadline = Instant::now() + conductor.target.watchdog().patience();
        self.listen()?;
        self.unwinder.ask_for_sample(true, deadline)?;
        let mut memory = conductor.target.memory();
        loop {
            match self.next(conductor.target.watchdog(), pid)? {
                Call::Read { local, remote } => self.read(conductor, &mut memory, &local, &remote)?,
                Call::Write { local, remote } => self.write(conductor, &local, &remote)?,
                Call::Mark => break,
            }
        }
        self.resume_unseen()?;
        let counted = self.unwinder.sampled(deadline)?;
        let mut threads = counted.sample.threads;
        // An exception is reported as the outcome of the main thread.
        let index = threads.iter().position(|thread| thread.native_thread_id == id).unwrap_or(0);
        if index >= threads.len() {
            return Err(UnwinderError::Malformed("a sample without threads".into()).into());
        }
        Ok((threads.swap_remove(index), counted.counters))
    }

    fn read(
        &mut self,
        conductor: &mut Conductor<'_>,
        memory: &mut ProcessMemory,
        local: &[Part],
        remote: &[Part],
    ) -> Result<(), RigError> {
        let kind = conductor.target.map.read_kind(remote);
        let at = kind.map(|kind| conductor.arrive(kind)).transpose()?;
        conductor.reads(kind, remote);
        let tears = conductor.tears() && at.is_some();
        if !tears && !conductor.is_keeping() {
            return Ok(());
        }
        if remote.iter().fold(0, |sum: usize, (_, length)| sum.saturating_add(*length)) > BYTE_LIMIT {
            return Err(RigError::Access(format!("it reads {remote:x?} at once")));
        }
        let mut buffers: Vec<Vec<u8>> = remote.iter().map(|&(_, length)| vec![0; length]).collect();
        let mut segments: Vec<Segment<'_>> =
            remote.iter().zip(&mut buffers).map(|(&(address, _), buffer)| Segment { address, buffer }).collect();
        let filled = match at.zip(kind).filter(|_| tears) {
            Some((at, kind)) => conductor.read_torn(memory, at, kind, &mut segments)?,
            None => {
                // The target is stopped, so the driver reads the same when it goes on.
                conductor.read_whole(memory, &mut segments)
            }
        };
        if conductor.is_keeping() {
            conductor.did(at, kind.unwrap_or(AccessKind::ReadOther));
        }
        if tears { self.answer(local, &buffers, filled) } else { Ok(()) }
    }

    /// Gives the driver the bytes that were read in its place.
    fn answer(
        &mut self,
        local: &[Part],
        buffers: &[Vec<u8>],
        filled: Result<usize, MemoryError>,
    ) -> Result<(), RigError> {
        let result = match filled {
            Ok(count) => {
                let bytes: Vec<u8> = buffers.iter().take(count).flatten().copied().collect();
                let mut rest = bytes.as_slice();
                for &(address, length) in local {
                    let (part, left) = rest.split_at(length.min(rest.len()));
                    if !part.is_empty() {
                        self.memory.write(address, part)?;
                    }
                    rest = left;
                }
                i64::try_from(bytes.len() - rest.len()).unwrap_or(0)
            }
            Err(MemoryError::Unmapped { .. }) => -i64::from(libc::EFAULT),
            Err(MemoryError::Gone { .. }) => -i64::from(libc::ESRCH),
            Err(error) => return Err(error.into()),
        };
        Ok(self.traced.leave_out_system_call(result)?)
    }

    fn write(&mut self, conductor: &mut Conductor<'_>, local: &[Part], remote: &[Part]) -> Result<(), RigError> {
        let &[part] = remote else { return Err(RigError::Access(format!("it writes {remote:x?} at once"))) };
        let Some(kind) = conductor.target.map.write_kind(part) else { return Ok(()) };
        let at = conductor.arrive(kind)?;
        if let &[(address, length)] = local
            && length <= BYTE_LIMIT
        {
            let mut bytes = vec![0; length];
            self.memory.read(address, &mut bytes)?;
            if let Some(value) = conductor.target.map.anchor_in(part, &bytes) {
                conductor.writes_anchor(value)?;
            }
            if conductor.is_keeping() {
                conductor.did_part(part, 0, &bytes);
            }
        }
        if conductor.is_keeping() {
            conductor.did(Some(at), kind);
        }
        Ok(())
    }

    /// Makes the driver stop at its accesses. It waits for a request, or is about to.
    fn listen(&mut self) -> Result<(), RigError> {
        if !self.filtered {
            self.traced.stop().or_else(|error| self.fail(error))?;
            self.traced.resume(Resume::ToSystemCall).or_else(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Lets the driver answer and wait for the next request.
    fn resume_unseen(&mut self) -> Result<(), RigError> {
        self.traced.resume(Resume::Freely).or_else(|error| self.fail(error))
    }

    /// Lets the driver run to its next access of process `pid`, or to its mark.
    fn next(&mut self, watchdog: &Watchdog, pid: i32) -> Result<Call, RigError> {
        let how = if self.filtered { Resume::Freely } else { Resume::ToSystemCall };
        loop {
            if !self.traced.is_running() {
                self.traced.resume(how).or_else(|error| self.fail(error))?;
            }
            if let Stop::Filtered | Stop::SystemCall = self.traced.wait(watchdog).or_else(|error| self.fail(error))? {
                let call = self.traced.system_call()?;
                if let Some(call) = self.call(&call, pid)? {
                    return Ok(call);
                }
            }
        }
    }

    fn call(&mut self, call: &SystemCall, pid: i32) -> Result<Option<Call>, RigError> {
        let [first, local, locals, remote, remotes, _] = call.arguments;
        if !call.begins {
            return Ok(None);
        }
        match call.number {
            libc::SYS_write if first == 1 && locals == 0 => Ok(Some(Call::Mark)),
            number @ (libc::SYS_process_vm_readv | libc::SYS_process_vm_writev)
                if i32::try_from(first).is_ok_and(|first| first == pid) =>
            {
                let (local, remote) = (self.parts(local, locals)?, self.parts(remote, remotes)?);
                Ok(Some(match number {
                    libc::SYS_process_vm_readv => Call::Read { local, remote },
                    _ => Call::Write { local, remote },
                }))
            }
            _ => Ok(None),
        }
    }

    /// Reads the ranges from an array of `struct iovec` in the driver.
    fn parts(&mut self, address: Address, count: u64) -> Result<Vec<Part>, RigError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > PART_LIMIT {
            return Err(RigError::Access(format!("it names {count} ranges at once")));
        }
        let mut words = vec![[[0; 8]; 2]; count];
        self.memory.read(address, words.as_flattened_mut().as_flattened_mut())?;
        let part = |word: [[u8; 8]; 2]| {
            let [start, length] = word.map(u64::from_le_bytes);
            (start, usize::try_from(length).unwrap_or(usize::MAX))
        };
        Ok(words.into_iter().map(part).collect())
    }

    /// If the driver's process has ended, that says more than the end of its thread.
    fn fail<T>(&mut self, error: TraceError) -> Result<T, RigError> {
        if matches!(error, TraceError::Ended { .. }) {
            self.unwinder.check()?;
        }
        Err(error.into())
    }
}
