//! Time limits for waits on which the kernel has none.
//!
//! A tracer that waits for its tracee cannot also watch a clock. So a separate thread does that. When a wait has lasted
//! too long, it sends a signal to the awaited thread. That thread stops, the wait ends, and the signal is never
//! delivered.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;

use crate::deadline::within_run;

#[derive(Default)]
struct State {
    /// Process and thread that are waited for, and the start of the wait.
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

/// Limits the waits of one tracer, which waits for one thread at a time. Dropping it ends the watchdog's thread.
pub struct Watchdog {
    shared: Arc<Shared>,
    patience: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// The signal that stops a thread that is waited for too long.
    pub(super) const SIGNAL: Signal = Signal::SIGSTOP;

    /// A watchdog that ends each wait after between one and two times `patience`.
    ///
    /// # Errors
    /// The watchdog's thread could not be started.
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

    /// Begins a wait for thread `thread` of process `process`, which lasts until [`Watch::end`].
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
            // The thread cannot panic and returns nothing.
            let _ = thread.join();
        }
    }
}

pub(super) struct Watch<'a> {
    shared: &'a Shared,
}

impl Watch<'_> {
    /// Ends the wait and returns whether it lasted too long. In that case the signal was sent, and the caller has to
    /// consume it.
    pub(super) fn end(self) -> bool {
        let mut state = self.shared.state();
        state.waiting = None;
        state.lost_patience
    }
}

/// A wait lasts at least this long, even when the run is over.
const LEAST: Duration = Duration::from_millis(10);

/// Polls, so that beginning and ending a wait need no wakeup: there are thousands of waits a second.
fn guard(shared: &Shared, patience: Duration) {
    let mut state = shared.state();
    while !state.closed {
        let patience = within_run(patience).max(LEAST);
        if let Some((process, thread, since)) = state.waiting
            && since.elapsed() >= patience
            && !state.lost_patience
        {
            state.lost_patience = true;
            // SAFETY: the call takes three integers. The process is a child that is not reaped while it is waited for,
            // so the ids are still its own.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, Watchdog::SIGNAL as libc::c_int) };
        }
        state = shared.closed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
    }
}
