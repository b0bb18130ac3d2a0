//! Runs the command the way users do.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::run::document::Document;
use process::build::CACHE_VARIABLE;

use super::target::Watched;

/// The deadline for a refusal, on a loaded machine.
pub const REFUSAL: Duration = Duration::from_secs(20);

/// The result of a run of the command.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The report of a run with `--format json`, which is all of stdout.
    pub fn document(&self) -> Document {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that the command refused to start with a message that contains `words`, and printed nothing to stdout.
    pub fn assert_refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(i32::from(framediff::cli::exit::USAGE)), "{self:?}");
        assert_eq!(self.stdout, "");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
    }
}

/// The command, isolated from the user's environment except for the cache folder.
pub fn framediff<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framediff"));
    command.args(arguments).stdin(Stdio::null()).env_remove("GITHUB_ACTIONS");
    command
}

/// A running command. Its output is collected.
pub struct Running {
    child: Child,
    end: Watched,
    outputs: [JoinHandle<String>; 2],
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let outputs = [read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap())];
        let end = Watched::new(i32::try_from(child.id()).unwrap());
        Self { child, end, outputs }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn has_ended(&self) -> bool {
        self.end.ends_before(Instant::now())
    }

    /// Kills the command with `SIGKILL` and reaps it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The result, if the command ends by itself in time. Fails if the run panicked.
    pub fn ends_within(mut self, time: Duration) -> Outcome {
        let ended = self.end.ends_before(Instant::now() + time);
        if !ended {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        let [stdout, stderr] = self.outputs.map(|output| output.join().unwrap());
        let outcome = Outcome { code: status.code(), stdout, stderr };
        assert!(ended, "still running after {time:?}: {outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
        // Only a terminal may get anything other than text.
        let is_text = |text: &str| text.chars().all(|c| c == '\n' || !c.is_control());
        assert!(is_text(&outcome.stderr) && is_text(&outcome.stdout), "{outcome:?}");
        outcome
    }
}

fn read(mut output: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

/// Runs the command to its end. Fails if that takes longer than `time`.
pub fn outcome<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, time: Duration) -> Outcome {
    Running::start(framediff(arguments)).ends_within(time)
}

/// Runs the command with an empty cache folder, as if nothing had ever been fetched.
pub fn with_nothing_fetched(mut command: Command, time: Duration) -> Outcome {
    let cache = tempfile::tempdir().unwrap();
    command.env(CACHE_VARIABLE, cache.path());
    Running::start(command).ends_within(time)
}

/// The state letter of a process, or `None` if there is no such process.
pub fn state(pid: i32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

/// The state and the parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses can contain anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A child of the command, at the time of the look.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    pub state: char,
    pub command_line: String,
}

/// The current children of `parent`.
pub fn children(parent: i32) -> Vec<Process> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let (state, of) = stat(pid)?;
            let command_line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let command_line = String::from_utf8_lossy(&command_line).into_owned();
            (of == parent).then_some(Process { pid, state, command_line })
        })
        .collect()
}

/// Asserts that `check` refuses this build with a message that contains `words`.
pub fn assert_build_refused(python: &Path, words: &[&str]) {
    let path = python.to_str().unwrap();
    outcome(["check", "--python", path], REFUSAL).assert_refused(&[&[path], words].concat());
}
