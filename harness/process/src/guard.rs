//! A process that cleans up if this one is killed.
//!
//! The kernel kills the children of a killed harness, but not what a user's program has started in groups of its own.
//! The guard is this program once more, under another name, in its own process group. It waits for the end of a pipe that
//! only the harness holds, and then kills the processes that carry the mark of the run's folder.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{descendants, limits, own_stops, run_folder};

/// The name under which this program is the guard.
const NAME: &str = "framediff-guard";

/// Whether this program knows what to do under that name.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// Waits for the end of the harness and cleans up, if this process was started as a guard. The program calls this before
/// it does anything else. Returns whether it was one.
#[must_use]
pub fn was_guard() -> bool {
    KNOWN.store(true, Ordering::Relaxed);
    let mut arguments = std::env::args_os();
    if arguments.next().as_deref() != Some(OsStr::new(NAME)) {
        return false;
    }
    if let Some(folder) = arguments.next() {
        // Nothing is ever written. Whatever ends the wait, the harness is gone.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        descendants::kill(&own_stops::marker_of_run(Path::new(&folder)), None);
        run_folder::remove_if_abandoned(Path::new(&folder));
    }
    true
}

/// The harness's end of a guard. Dropping it cleans up, too.
#[derive(Debug)]
pub struct RunGuard {
    process: Child,
}

impl RunGuard {
    /// Starts the guard of the programs whose folders are inside `folder`. `None` in a program that cannot be one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(folder: &Path) -> io::Result<Option<Self>> {
        if !KNOWN.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).arg(folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(limits::explained)?;
        Ok(Some(Self { process }))
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        // Waiting closes its standard input.
        let _ = self.process.wait();
    }
}
