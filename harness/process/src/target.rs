//! Launches a build on a workload, stops it and resumes it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, io};

use framewalk::printable::excerpt;
use model::account::AccountFrame;
use model::workload::grammar::WORKLOAD_FILE;
use model::workload::user_program::UserProgram;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use tempfile::TempDir;
use thiserror::Error;

use super::build::sanitizer::without_leak_search;
use super::child::{Child, ChildError};
pub use super::child::{ChildEnd, Ended};
use super::confined;
use super::deadline::Deadline;
use super::gate::{ACCOUNT, ACCOUNT_LIMIT, GO, Gate, GateError, HELLO, parse_account};
use super::own_stops::{self, OwnAccount, OwnStops};
pub use super::runtime::{RuntimeError, RuntimeLocation, runtime_address};
use crate::memory::ProcessMemory;

/// The target's working folder under a name that is the same in every run.
const OWN_FOLDER: &str = "/proc/self/cwd";
/// Waits shorter than this spin instead of sleeping, because timer slack is of this size.
const SPUN: Duration = Duration::from_micros(150);

/// Why a target could not be launched.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The workload's file could not be written.
    #[error("cannot write the workload into {}: {source}; free some space there, or choose another folder", folder.display())]
    Folder {
        /// The folder that was to hold the workload's file.
        folder: PathBuf,
        /// The error of the write.
        source: io::Error,
    },
    /// The interpreter could not be started.
    #[error("cannot start {}: {source}", python.display())]
    Spawn {
        /// The interpreter that should run the workload.
        python: PathBuf,
        /// The error of the spawn.
        source: io::Error,
    },
    /// The interpreter started, but did not report that it is ready.
    #[error("{} did not start the workload: {source}", python.display())]
    NotReady {
        /// The interpreter that should run the workload.
        python: PathBuf,
        /// What went wrong while waiting for it.
        source: GateError,
    },
}

/// Why a target could not be stopped or resumed.
#[derive(Debug, Error)]
pub enum StopError {
    /// The target ended before it could be stopped or resumed.
    #[error(transparent)]
    Ended(Ended),
    /// A system call failed.
    #[error("cannot stop or resume the target: {0}")]
    System(io::Error),
}

impl From<ChildError> for StopError {
    fn from(error: ChildError) -> Self {
        match error {
            ChildError::Ended(ended) => Self::Ended(ended),
            ChildError::System(error) => Self::System(error),
            ChildError::Deadline => Self::System(io::ErrorKind::TimedOut.into()),
            ChildError::CalledOff(why) => Self::System(io::Error::other(why)),
        }
    }
}

/// An interpreter and its arguments before the program.
#[derive(Clone, Copy, Debug)]
pub struct PythonCommand<'a> {
    /// The file to execute.
    pub path: &'a Path,
    /// For example `-X perf`.
    pub arguments: &'a [String],
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for PythonCommand<'a> {
    fn from(path: &'a P) -> Self {
        Self { path: path.as_ref(), arguments: &[] }
    }
}

/// A running build with its workload. Dropping it kills and reaps the process, stopped or not. The process also dies
/// when the harness ends for any reason.
pub struct Target {
    child: Child,
    stopped: bool,
    gate: Option<Gate>,
    /// Present only if the target runs a user program.
    own_stops: Option<OwnStops>,
    folder: TempDir,
}

impl Target {
    /// Starts `python` on the workload `source` and waits until the target reports that it is ready. The target then
    /// waits for [`Target::start`].
    ///
    /// `jit` sets the run mode; `None` leaves the choice to the build. The workload is written to a new folder inside
    /// `folder`.
    ///
    /// # Errors
    /// The folder is not writable, the interpreter does not start, or it is not ready before `deadline`.
    pub fn launch<'a>(
        python: impl Into<PythonCommand<'a>>,
        jit: Option<bool>,
        source: &str,
        folder: &Path,
        deadline: impl Into<Deadline>,
    ) -> Result<Self, LaunchError> {
        let python = python.into();
        Self::launch_command(python.path, isolated(python, jit), source, folder, deadline.into())
    }

    /// Like [`Target::launch`], but with the same addresses in every run if the kernel allows it.
    ///
    /// # Errors
    /// As [`Target::launch`].
    pub fn launch_repeatable<'a>(
        python: impl Into<PythonCommand<'a>>,
        jit: Option<bool>,
        source: &str,
        folder: &Path,
        deadline: impl Into<Deadline>,
    ) -> Result<Self, LaunchError> {
        let python = python.into();
        let mut command = isolated(python, jit);
        confined::fix_addresses(&mut command);
        Self::launch_command(python.path, command, source, folder, deadline.into())
    }

    fn launch_command(
        python: &Path,
        mut command: Command,
        source: &str,
        folder: &Path,
        deadline: Deadline,
    ) -> Result<Self, LaunchError> {
        let not_written = |source| LaunchError::Folder { folder: folder.to_owned(), source };
        let folder = fresh_folder(folder)?;
        let file = folder.path().join(WORKLOAD_FILE);
        fs::write(&file, source).map_err(not_written)?;
        // A fixed name, because walkers compare file names of frames, and the folder's real name may not be valid
        // UTF-8.
        command.arg(Path::new(OWN_FOLDER).join(WORKLOAD_FILE)).current_dir(folder.path());
        Self::spawn(python, command, folder, deadline)
    }

    /// Starts `python` on a user program. The program waits for [`Target::start`] before its first line.
    ///
    /// It runs in the folder in which the harness was started. It can import from its own folder and from its
    /// interpreter's packages. Environment variables that start with `PYTHON` are removed. If `stops` is set, the
    /// program stops itself at its gates.
    ///
    /// # Errors
    /// As [`Target::launch`].
    pub fn launch_program<'a>(
        python: impl Into<PythonCommand<'a>>,
        jit: Option<bool>,
        program: &UserProgram,
        stops: bool,
        folder: &Path,
        deadline: impl Into<Deadline>,
    ) -> Result<Self, LaunchError> {
        let not_written = |source| LaunchError::Folder { folder: folder.to_owned(), source };
        let folder = fresh_folder(folder)?;
        let python = python.into();
        let mut command = undisturbed(python, jit, &["-s", "-B", "-u"]);
        let python = python.path;
        own_stops::prepare(&mut command, program, folder.path(), stops).map_err(not_written)?;
        let mut target = Self::spawn(python, command, folder, deadline.into())?;
        // The program may leave processes behind.
        target.child.kill_all_at_end(own_stops::marker(target.folder.path()));
        let own_stops = OwnStops::new(target.child.pid(), target.folder.path());
        target.own_stops = Some(own_stops.map_err(|source| LaunchError::Spawn { python: python.to_owned(), source })?);
        Ok(target)
    }

    fn spawn(python: &Path, command: Command, folder: TempDir, deadline: Deadline) -> Result<Self, LaunchError> {
        let child = Child::spawn(command).map_err(|source| LaunchError::Spawn { python: python.to_owned(), source })?;
        let mut target = Self { child, stopped: false, gate: None, own_stops: None, folder };
        match target.receive_hello(deadline) {
            Ok(()) => Ok(target),
            Err(source) => Err(LaunchError::NotReady { python: python.to_owned(), source }),
        }
    }

    /// The target's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.pid().as_raw()
    }

    /// The workload's file name in the target, as in `co_filename`. It is the same for every target.
    #[must_use]
    pub fn workload_file() -> String {
        format!("{OWN_FOLDER}/{WORKLOAD_FILE}")
    }

    /// The folder that holds the workload's file. It is removed when the target is dropped.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The last part of the target's standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.child.stderr()
    }

    /// Access to the target's memory.
    #[must_use]
    pub fn memory(&self) -> ProcessMemory {
        ProcessMemory::new(self.pid())
    }

    /// Lets a target that is ready start.
    ///
    /// # Errors
    /// The target ended, or does not take the command before `deadline`.
    pub fn start(&mut self, deadline: impl Into<Deadline>) -> Result<(), GateError> {
        self.ask(|child| child.send(&[GO], deadline.into()))
    }

    /// Receives the next gate announcement without waiting for the target to block at that gate.
    ///
    /// # Errors
    /// The target ended, or announces no gate before `deadline`.
    pub fn announced(&mut self, deadline: impl Into<Deadline>) -> Result<Gate, GateError> {
        self.ask(|child| child.receive_array(deadline.into())).map(Gate::from_bytes)
    }

    /// Lets the target pass `count` gates, including the one it waits at now, and waits until it blocks at the next
    /// one.
    ///
    /// # Errors
    /// The target ended, or does not arrive before `deadline`.
    pub fn pass_gates(&mut self, count: usize, deadline: impl Into<Deadline>) -> Result<Gate, GateError> {
        // Nobody drains the pipes during a batch, so the commands and the announcements of one batch must fit into
        // them.
        const AT_ONCE: usize = 1000;
        let deadline = deadline.into();
        let mut left = count;
        while left > 0 {
            let some = left.min(AT_ONCE);
            self.ask(|child| child.send(&vec![GO; some], deadline))?;
            for _ in 1..some {
                self.announced(deadline)?;
            }
            left -= some;
            if left > 0 {
                self.announced(deadline)?;
            }
        }
        self.next_gate(deadline)
    }

    /// Waits until the target has announced a gate and blocks there. It stays there until [`Target::go`].
    ///
    /// # Errors
    /// The target ended, or does not arrive before `deadline`.
    pub fn next_gate(&mut self, deadline: impl Into<Deadline>) -> Result<Gate, GateError> {
        let deadline = deadline.into();
        let gate = self.ask(|child| child.receive_array(deadline)).map(Gate::from_bytes)?;
        self.gate = Some(gate);
        self.settle(gate, deadline)?;
        Ok(gate)
    }

    /// Lets the target leave its gate.
    ///
    /// # Errors
    /// The target ended, or does not take the command before `deadline`.
    pub fn go(&mut self, deadline: impl Into<Deadline>) -> Result<(), GateError> {
        self.gate = None;
        self.start(deadline)
    }

    /// Asks the thread at the gate for its own account of its stack, leaf first.
    ///
    /// # Errors
    /// The target ended, does not answer before `deadline`, or sends an answer that is not an account.
    pub fn account(&mut self, deadline: impl Into<Deadline>) -> Result<Vec<AccountFrame>, GateError> {
        let deadline = deadline.into();
        let length = self.ask(|child| {
            child.send(&[ACCOUNT], deadline)?;
            child.receive_array(deadline)
        })?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > ACCOUNT_LIMIT {
            return Err(GateError::Malformed(format!("an account of {length} bytes")));
        }
        let account = parse_account(&self.ask(|child| child.receive(length, deadline))?)?;
        if let Some(gate) = self.gate {
            self.settle(gate, deadline)?;
        }
        Ok(account)
    }

    /// Stops the target. When this returns, none of its threads is running.
    ///
    /// # Errors
    /// The target ended.
    pub fn stop(&mut self) -> Result<(), StopError> {
        if self.stopped {
            return Ok(self.child.check()?);
        }
        self.child.signal(Signal::SIGSTOP)?;
        // The kernel reports the stop after the last thread has stopped.
        while !matches!(self.child.wait_status(WaitPidFlag::WUNTRACED)?, WaitStatus::Stopped(..)) {}
        self.stopped = true;
        Ok(())
    }

    /// Resumes a stopped target.
    ///
    /// # Errors
    /// The target ended.
    pub fn resume(&mut self) -> Result<(), StopError> {
        if self.stopped {
            self.child.signal(Signal::SIGCONT)?;
            self.stopped = false;
            // The report is available as soon as the signal is sent. Take it now, so that a later wait does not see it.
            self.child.wait_status(WaitPidFlag::WCONTINUED | WaitPidFlag::WNOHANG)?;
        }
        Ok(self.child.check()?)
    }

    /// Lets the target run for `duration`, then stops it.
    ///
    /// # Errors
    /// The target ended.
    pub fn run_for(&mut self, duration: Duration) -> Result<(), StopError> {
        let until = Instant::now() + duration;
        self.resume()?;
        if duration > SPUN {
            self.child.run_until(until.into())?;
        }
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        self.stop()
    }

    /// Waits until a user program has stopped itself, and returns the accounts that its threads gave at their
    /// gates. The list is empty if the program stopped for another reason. The target stays stopped until
    /// [`Target::resume`].
    ///
    /// # Errors
    /// The target ended, does not stop before `deadline`, or sends something that is not an account.
    pub fn next_own_stop(&mut self, deadline: impl Into<Deadline>) -> Result<Vec<OwnAccount>, GateError> {
        let deadline = deadline.into();
        let Self { child, stopped, own_stops, .. } = self;
        let Some(own_stops) = own_stops else {
            return Err(GateError::Malformed("generated programs do not stop themselves".to_owned()));
        };
        let begun = Instant::now();
        let pid = child.pid().as_raw();
        let failed =
            |error: ChildError, child: &Child| GateError::from_child(error, pid, begun.elapsed(), &child.stderr());
        loop {
            own_stops.wait(deadline).map_err(|over| failed(over.into(), child))?;
            match child.wait_status(WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG) {
                Ok(WaitStatus::Stopped(..)) => break,
                Ok(_) => {}
                Err(error) => return Err(failed(error, child)),
            }
        }
        *stopped = true;
        own_stops.accounts()
    }

    /// Whether a user program has imported the module with the gates.
    #[must_use]
    pub fn has_gates(&self) -> bool {
        self.own_stops.as_ref().is_some_and(OwnStops::are_imported)
    }

    /// How the target ended, or `None` if it still runs.
    pub fn ended(&mut self) -> Option<Ended> {
        match self.child.check() {
            Err(ChildError::Ended(ended)) => Some(ended),
            _ => None,
        }
    }

    /// Lets the target run until it ends or until `deadline`. Returns how it ended, or `None` if it has not.
    pub fn run_to_end(&mut self, deadline: impl Into<Deadline>) -> Option<Ended> {
        let resumed = self.resume();
        match (resumed, self.child.run_until(deadline.into())) {
            (Err(StopError::Ended(ended)), _) | (_, Err(ChildError::Ended(ended))) => Some(ended),
            _ => None,
        }
    }

    /// Whether [`Target::stop`] has stopped the target.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Waits until the thread at `gate` is blocked in its read. The announcement arrives before the thread blocks. A
    /// target stopped in between would be on another line, or inside the code that writes its account.
    fn settle(&mut self, gate: Gate, deadline: Deadline) -> Result<(), GateError> {
        // Not below the target's own `/proc` entry: the thread may be in a process that the target forked.
        let path = format!("/proc/{}/syscall", gate.native_thread_id);
        self.ask(|child| {
            loop {
                match fs::read_to_string(&path) {
                    Ok(call) if is_read(&call) => return Ok(()),
                    Ok(_) => {
                        if let Some(over) = deadline.over() {
                            return Err(over.into());
                        }
                    }
                    Err(error) => {
                        // The file disappears with the process. If the process ended, that is the better error.
                        child.check()?;
                        return Err(io::Error::new(error.kind(), format!("cannot read {path}: {error}")).into());
                    }
                }
                std::thread::yield_now();
            }
        })
    }

    fn receive_hello(&mut self, deadline: Deadline) -> Result<(), GateError> {
        let hello: [u8; 8] = self.ask(|child| child.receive_array(deadline))?;
        if hello == HELLO {
            return Ok(());
        }
        Err(GateError::Malformed(format!("it starts with {}", excerpt(&String::from_utf8_lossy(&hello)))))
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut Child) -> Result<T, ChildError>) -> Result<T, GateError> {
        if self.stopped {
            return Err(GateError::Stopped { pid: self.pid() });
        }
        let begun = Instant::now();
        ask(&mut self.child)
            .map_err(|error| GateError::from_child(error, self.pid(), begun.elapsed(), &self.child.stderr()))
    }
}

/// Whether a task's `syscall` file shows that it is blocked in a read.
fn is_read(call: &str) -> bool {
    call.split_ascii_whitespace().next().and_then(|number| number.parse().ok()) == Some(libc::SYS_read)
}

fn fresh_folder(parent: &Path) -> Result<TempDir, LaunchError> {
    let not_written = |source| LaunchError::Folder { folder: parent.to_owned(), source };
    tempfile::Builder::new().prefix("framediff-").tempdir_in(parent).map_err(not_written)
}

/// A command for an interpreter that ignores the user's environment and folders.
pub(super) fn isolated(python: PythonCommand<'_>, jit: Option<bool>) -> Command {
    // Not -I: it would also ignore the variables set here, PYTHON_JIT among them.
    undisturbed(python, jit, &["-s", "-P", "-S", "-B", "-u"])
}

/// A command for an interpreter with these options and without the user's `PYTHON*` variables.
fn undisturbed(PythonCommand { path, arguments }: PythonCommand<'_>, jit: Option<bool>, options: &[&str]) -> Command {
    // The child's working folder is another one, so a relative path must be made absolute. A bare name is looked up in
    // `PATH`.
    let absolute = path.parent().filter(|parent| *parent != Path::new("")).and_then(|_| std::path::absolute(path).ok());
    let mut command = Command::new(absolute.as_deref().unwrap_or(path));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PYTHON")) {
        command.env_remove(name);
    }
    command.args(options).args(arguments).env("PYTHONHASHSEED", "0").env("PYTHONUTF8", "1");
    without_leak_search(&mut command);
    if let Some(jit) = jit {
        command.env("PYTHON_JIT", if jit { "1" } else { "0" });
    }
    command
}
