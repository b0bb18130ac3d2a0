//! Ctrl-C, and a polite request to end.

use std::sync::atomic::{AtomicBool, Ordering};

use process::deadline::interrupt;

use crate::cli::exit;

/// Set by the first request; whoever works looks at it.
pub(super) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// From now on the first request ends the work in hand and keeps what was found; the second ends the process.
pub(super) fn install() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::Relaxed);
        // After the flag: who wakes up looks at it.
        interrupt();
        if again {
            // The second request: every child dies with this process.
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
    })
}
