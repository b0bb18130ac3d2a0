//! One fetch at a time per folder, also between processes.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::super::Progress;
use super::FetchError;

/// How often the user is asked while waiting.
const ASK: Duration = Duration::from_millis(100);

/// Takes the lock, waiting for another process that has it. The kernel frees it when the file is closed, even by a kill.
pub(super) fn take(path: &Path, progress: &mut dyn Progress) -> Result<File, FetchError> {
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(FetchError::folder(path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {}
        Err(std::fs::TryLockError::Error(source)) => return Err(FetchError::folder(path)(source)),
    }
    progress.step("Waiting for another framediff that is fetching into the same folder");
    let (send, receive) = mpsc::channel();
    // The lock cannot be waited for with a deadline, so a thread waits; it ends with the lock or with the process.
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

    /// Frees the lock when it hears of the waiting, or does not want to wait.
    struct Waiter {
        held: Option<File>,
        interrupted: bool,
    }

    impl Progress for Waiter {
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
    fn who_comes_second_waits_until_the_first_is_done() {
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
