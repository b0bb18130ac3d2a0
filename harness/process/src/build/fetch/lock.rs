//! A lock that allows one fetch at a time per folder, across processes.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::super::FetchProgress;
use super::FetchError;

/// How often to check for an interruption while waiting.
const ASK: Duration = Duration::from_millis(100);

/// Takes the lock and waits if another process has it. The kernel releases it when the file is closed, even after a
/// kill.
pub(super) fn take(path: &Path, progress: &mut dyn FetchProgress) -> Result<File, FetchError> {
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(FetchError::folder(path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {}
        Err(std::fs::TryLockError::Error(source)) => return Err(FetchError::folder(path)(source)),
    }
    progress.step("Waiting for another framediff that is fetching into the same folder");
    let (send, receive) = mpsc::channel();
    // Locking has no timeout, so a thread waits. It ends when it gets the lock, or with the process.
    thread::spawn(move || send.send(file.lock().map(|()| file)));
    loop {
        match receive.recv_timeout(ASK) {
            Ok(locked) => return locked.map_err(FetchError::folder(path)),
            Err(RecvTimeoutError::Timeout) if !progress.interrupted() => {}
            Err(_) => return Err(FetchError::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Releases the lock when the second fetch reports that it waits, or interrupts that wait.
    struct Waiter {
        held: Option<File>,
        interrupted: bool,
    }

    impl FetchProgress for Waiter {
        fn step(&mut self, text: &str) {
            assert!(text.starts_with("Waiting"));
            if !self.interrupted {
                self.held = None;
            }
        }
        fn bytes(&mut self, _: u64, _: u64) {}
        fn interrupted(&self) -> bool {
            self.interrupted
        }
    }

    #[test]
    fn a_second_process_waits_for_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = take(&path, &mut crate::build::Silent).unwrap();
        let mut waiter = Waiter { held: Some(held), interrupted: false };
        take(&path, &mut waiter).unwrap();
        assert!(waiter.held.is_none());
    }

    #[test]
    fn waiting_can_be_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = take(&path, &mut crate::build::Silent).unwrap();
        let mut waiter = Waiter { held: Some(held), interrupted: true };
        assert!(matches!(take(&path, &mut waiter), Err(FetchError::Interrupted)));
    }
}
