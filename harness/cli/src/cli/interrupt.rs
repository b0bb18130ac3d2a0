//! Handles Ctrl-C and other requests to terminate.

use std::sync::atomic::{AtomicBool, Ordering};

use process::deadline::interrupt;
use process::limits;

use crate::cli::exit;
use crate::cli::output::Failure;

/// Set by the first request. Long-running code checks it.
pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// After this call, the first request ends the current work and keeps its results. The second ends the process.
pub(super) fn install() -> Result<(), Failure> {
    let installed = ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::Relaxed);
        // After the flag is set: a woken thread checks it at once.
        interrupt();
        if again {
            // The second request. Every child process dies with this one.
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    });
    // It starts a thread; nothing else can fail at this time.
    installed.map_err(|error| format!("cannot handle signals: {error}; {}", limits::exhausted()).into())
}
