//! Patience for waits that the kernel does not bound.
//!
//! A tracer that waits for its tracee cannot also wait for a clock. So a thread of its own looks at the clock and, when a
//! wait has lasted too long, sends the waited-for thread a signal: it stops, the wait ends, and the signal is never
//! delivered.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;

#[derive(Default)]
struct State {
    /// Process and thread that are waited for, and since when.
    waiting: Option<(i32, i32, Instant)>,
    lost_patience: bool,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    closed: Condvar,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bounds the waits of one tracer, which does one at a time. Dropping it ends its thread.
pub struct Watchdog {
    shared: Arc<Shared>,
    patience: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// What a thread that is waited for in vain is stopped with.
    pub(super) const SIGNAL: Signal = Signal::SIGSTOP;

    /// A watchdog that lets each wait last for `patience`, or up to twice as long.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn new(patience: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), closed: Condvar::new() });
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || guard(&seen, patience))?;
        Ok(Self { shared, patience, thread: Some(thread) })
    }

    /// How long each wait may last.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// A wait for thread `thread` of process `process` begins; it lasts until [`Watch::end`].
    #[must_use]
    pub(super) fn watch(&self, process: i32, thread: i32) -> Watch<'_> {
        let mut state = self.shared.state();
        state.waiting = Some((process, thread, Instant::now()));
        state.lost_patience = false;
        Watch { shared: &self.shared }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.closed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It panics nowhere, and has nothing to tell.
            let _ = thread.join();
        }
    }
}

/// One wait.
pub(super) struct Watch<'a> {
    shared: &'a Shared,
}

impl Watch<'_> {
    /// The wait is over; whether it lasted too long. The signal was sent then, and is to be taken.
    pub(super) fn end(self) -> bool {
        let mut state = self.shared.state();
        state.waiting = None;
        state.lost_patience
    }
}

/// Looks every now and then: beginning and ending a wait then wakes nobody, and there are thousands a second.
fn guard(shared: &Shared, patience: Duration) {
    let mut state = shared.state();
    while !state.closed {
        if let Some((process, thread, since)) = state.waiting
            && since.elapsed() >= patience
            && !state.lost_patience
        {
            state.lost_patience = true;
            // SAFETY: takes three integers. The process is a child that is not reaped while it is waited for, so the
            // numbers are still its own.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, Watchdog::SIGNAL as libc::c_int) };
        }
        state = shared.closed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
    }
}
