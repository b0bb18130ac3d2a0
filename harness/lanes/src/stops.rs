//! Where the stopped lane stops its target.

#[cfg(target_arch = "x86_64")]
use model::workload::family::FamilyThreads;
use model::workload::{Family, Mode};

/// A kind of stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stops {
    /// At the gates of its program.
    Gates,
    /// After a random time, at whatever instruction the target has reached.
    Moments,
    /// Right after a store to `current_frame`: a frame was just entered or left.
    #[cfg(target_arch = "x86_64")]
    Stores,
}

impl Stops {
    /// The kinds of stop for a family.
    pub(super) fn of(family: Family) -> &'static [Self] {
        let spec = family.spec();
        if spec.exceeds_limits {
            return &[Self::Gates];
        }
        // A watchpoint stops one thread: the others of a target would go on.
        #[cfg(target_arch = "x86_64")]
        if spec.threads == FamilyThreads::Main {
            return &[Self::Gates, Self::Stores, Self::Moments];
        }
        &[Self::Gates, Self::Moments]
    }

    /// The kinds of stop for a user's program. Those that every program reaches come first.
    pub(super) fn of_program() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        return &[Self::Moments, Self::Stores, Self::Gates];
        #[cfg(not(target_arch = "x86_64"))]
        &[Self::Moments, Self::Gates]
    }

    /// The mode of the program for this kind of stop.
    pub(super) fn mode(self) -> Mode {
        match self {
            Self::Gates => Mode::Gated,
            Self::Moments => Mode::Free,
            #[cfg(target_arch = "x86_64")]
            Self::Stores => Mode::Free,
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use at_stores::AtStores;

#[cfg(target_arch = "x86_64")]
mod at_stores {
    use std::time::{Duration, Instant};

    use framewalk::thread_state::thread_states;
    use model::run::cell::Inconclusive;
    use process::trace::{Resume, Stop, TraceError, Traced, Watchdog, Watched};

    use crate::cell::{Cell, CellError, PATIENCE};
    use crate::session::Session;

    /// A working target does a store within this. The wait is never shorter, however little of the run's time is left.
    const LEAST: Duration = Duration::from_millis(100);

    /// A user's program that does no store within this waits, or loops without a call.
    const PATIENCE_WITH_PROGRAM: Duration = Duration::from_secs(1);

    /// Stops the main thread of a target by a hardware watchpoint on its `current_frame`. The thread is stopped except
    /// while [`AtStores::run_on`] runs, and goes on when this is dropped.
    pub(crate) struct AtStores {
        traced: Traced,
        watchdog: Watchdog,
    }

    impl AtStores {
        /// Takes over the running target of `session`.
        pub(crate) fn new(cell: &Cell<'_>, session: &mut Session) -> Result<Self, CellError> {
            // A user's program may wait for something that never comes.
            let patience = if cell.program.is_some() { PATIENCE_WITH_PROGRAM } else { PATIENCE };
            let pid = session.target.pid();
            let unreadable = |error: String| CellError::from(Inconclusive::Unreadable(error));
            let threads = thread_states(&mut session.memory, &session.site.layout, session.site.runtime)
                .map_err(|rejection| unreadable(rejection.to_string()))?;
            let id = u64::from(pid.cast_unsigned());
            // The main thread can have a state in several interpreters. The main interpreter is last in the list.
            let main = threads.iter().rfind(|thread| thread.native_thread_id == id);
            let main = main.ok_or_else(|| unreadable("the target has no main thread".into()))?;
            let watchdog = Watchdog::new(patience.min(cell.limit.saturating_duration_since(Instant::now()).max(LEAST)))
                .map_err(|error| CellError::SetUp(error.to_string()))?;
            let mut traced = Traced::attach(pid, pid)?;
            let offset = session.site.layout.thread.current_frame;
            traced.watch(&[Watched { address: main.address.wrapping_add(offset), loads: false }])?;
            Ok(Self { traced, watchdog })
        }

        /// Lets the target do this many stores.
        pub(crate) fn run_on(&mut self, stores: u32) -> Result<(), CellError> {
            let mut left = stores;
            while left > 0 {
                self.traced.resume(Resume::Freely)?;
                if self.traced.wait(&self.watchdog)? == Stop::Trap && self.traced.watchpoints_hit()? != 0 {
                    left -= 1;
                }
            }
            Ok(())
        }
    }

    impl From<TraceError> for CellError {
        fn from(error: TraceError) -> Self {
            let text = error.to_string();
            match error {
                TraceError::Ended { .. } => Inconclusive::TargetEnded(text).into(),
                TraceError::Blocked { .. } | TraceError::Loops { .. } => Self::NotStopped(text),
                TraceError::Denied { .. } | TraceError::NoWatchpoints { .. } => Self::SetUp(text),
                TraceError::Memory(_) | TraceError::System { .. } => Inconclusive::Unreadable(text).into(),
            }
        }
    }
}
