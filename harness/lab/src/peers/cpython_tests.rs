//! CPython's own tests of remote inspection, run by the build under test.
//!
//! The driver (`pyscripts/peer_tests.py`) runs them with `unittest` and sends one JSON document per event. Most tests
//! start more interpreters through `sys.executable`, which must therefore be the build under test: see
//! [`Build::executable`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fmt, io};

use framewalk::printable::{excerpt, last_words};
use process::build::{Build, Companion, FetchError, FetchProgress, fetch_companion};
use process::script::Script;
use process::target::ChildEnd;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::group::{Group, Next};

static DRIVER: Script = Script::new("peer_tests.py", include_str!("../../pyscripts/peer_tests.py"));

/// The module with all these tests.
const MODULE: &str = "test.test_external_inspection";

/// Time limit for an interpreter to report whether it has the module.
const ASKING: Duration = Duration::from_secs(20);

/// A selection of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// `test.test_external_inspection.TestFrameCaching`: the tests of the frame cache.
    FrameCaching,
    /// All of `test.test_external_inspection`, including the tests of the frame cache.
    ExternalInspection,
}

impl Which {
    /// The name for `unittest`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FrameCaching => "test.test_external_inspection.TestFrameCaching",
            Self::ExternalInspection => MODULE,
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A test that did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestFailure {
    /// The test's name in `unittest`. A failure outside a test (`setUpClass`) has a name that no test has.
    pub test: String,
    /// The last part of the traceback.
    pub text: String,
}

/// How a run of tests ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Every selected test ran or was skipped.
    Complete,
    /// The process that runs the tests died.
    Died {
        /// The exit status or the signal.
        end: ChildEnd,
        /// The test that was running, or `None` if it died between two tests.
        during: Option<String>,
        /// The last part of its standard error.
        stderr: String,
    },
    /// The tests were still running at the deadline.
    TimedOut {
        /// The test that was running, or `None` between two tests.
        during: Option<String>,
    },
}

/// The results of a run of tests.
#[derive(Clone, Debug)]
pub struct TestOutcome {
    /// Number of tests that finished and were not skipped.
    pub ran: usize,
    /// The tests that passed.
    pub passed: BTreeSet<String>,
    /// The tests with a failed assertion.
    pub failed: Vec<TestFailure>,
    /// The tests that raised another exception.
    pub errored: Vec<TestFailure>,
    /// Number of tests that were skipped.
    pub skipped: usize,
    /// The duration of the run.
    pub time: Duration,
    /// How the run ended.
    pub finish: Finish,
}

impl TestOutcome {
    /// The tests that failed or raised here but passed in every run of `original`. They show a difference between the
    /// builds. A death is not included, nor is a test that does not always pass on the original.
    #[must_use]
    pub fn broke<'a>(&'a self, original: &[Self]) -> Vec<&'a TestFailure> {
        let passes = |failure: &&TestFailure| original.iter().all(|run| run.passed.contains(&failure.test));
        self.failed.iter().chain(&self.errored).filter(|_| !original.is_empty()).filter(passes).collect()
    }

    /// Whether every test ran and none failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.finish == Finish::Complete && self.failed.is_empty() && self.errored.is_empty()
    }
}

/// Why a run has no outcome.
#[derive(Debug, Error)]
pub enum PeerError {
    /// The interpreter could not be started.
    #[error("cannot start {} for CPython's own tests: {source}", python.display())]
    Start {
        /// The interpreter that should run the tests.
        python: PathBuf,
        /// The error of the launch.
        source: io::Error,
    },
    /// The tests are missing and cannot be fetched.
    #[error("CPython's own tests are not available: {0}")]
    Fetch(#[from] FetchError),
    /// The test module does not load.
    #[error("{which} cannot be loaded from {}: {text}", folder.as_ref().map_or("the interpreter's own library".into(), |folder| folder.display().to_string()))]
    NotLoaded {
        /// Which of CPython's tests were selected.
        which: Which,
        /// The folder with the tests. `None` means the interpreter's own library.
        folder: Option<PathBuf>,
        /// The last part of the error.
        text: String,
    },
    /// The tests loaded, but none of them ran.
    #[error("no test of {which} ran, {skipped} were skipped: {reason}")]
    NothingRan {
        /// Which of CPython's tests were selected.
        which: Which,
        /// Number of skipped tests.
        skipped: usize,
        /// Why the first of them was skipped.
        reason: String,
    },
    /// The driver's output does not parse.
    #[error("the driver of CPython's own tests sent invalid output: {0}")]
    Malformed(String),
    /// A system call failed.
    #[error("cannot run CPython's own tests: {0}")]
    System(#[from] io::Error),
    /// The caller interrupted the run.
    #[error("interrupted")]
    Interrupted,
}

/// The location of a build's tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suite {
    /// In the build's own library.
    Own,
    /// In this folder, which has the files that the package `test` lacks in the build's own library.
    Folder(PathBuf),
}

impl Suite {
    /// The build's own tests, if it has them. Otherwise those in `cache`, which are fetched now if they are missing.
    ///
    /// # Errors
    /// The interpreter does not answer, or the tests cannot be fetched.
    pub fn of(build: &Build, cache: &Path, progress: &mut dyn FetchProgress) -> Result<Self, PeerError> {
        if has_own(build, progress)? {
            return Ok(Self::Own);
        }
        Ok(Self::Folder(fetch_companion(Companion::Tests, build.version, cache, progress)?))
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Own => None,
            Self::Folder(folder) => Some(folder),
        }
    }
}

/// Whether the interpreter finds the module in its own library.
fn has_own(build: &Build, progress: &mut dyn FetchProgress) -> Result<bool, PeerError> {
    let script = format!("import importlib.util; print('has', importlib.util.find_spec('{MODULE}') is not None)");
    let mut command = command(build, None);
    command.args(["-c", &script]);
    let mut group = spawn(build, command)?;
    let deadline = Instant::now() + ASKING;
    let mut answer = false;
    loop {
        match group.next(deadline, &|| progress.interrupted())? {
            Next::Line(line) => answer |= line.trim_ascii() == b"has True",
            // If the library has no package `test`, the script raises.
            Next::Ended(_) => return Ok(answer),
            Next::Deadline => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Next::Interrupted => return Err(PeerError::Interrupted),
        }
    }
}

/// One event from the driver.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Event {
    Over { over: bool },
    Came { test: String, came: Word, text: String },
    Starts { test: String },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Passed,
    Failed,
    Errored,
    Skipped,
}

/// Runs `which` of `suite` on `build`, with the JIT set by `jit`, until `deadline` at most. Leaves no process behind.
///
/// # Errors
/// Nothing ran: the tests are missing, do not load, or were all skipped. Or `interrupted` returned true.
pub fn run(
    build: &Build,
    jit: Option<bool>,
    suite: &Suite,
    which: Which,
    deadline: Instant,
    interrupted: &dyn Fn() -> bool,
) -> Result<TestOutcome, PeerError> {
    // Tests that are killed leave their files behind.
    let folder = tempfile::tempdir()?;
    let mut command = command(build, jit);
    let path = suite.folder().unwrap_or(Path::new(""));
    let script = DRIVER.file()?;
    command.arg(script.path()).arg(path).arg(which.name());
    command.current_dir(folder.path()).env("TMPDIR", folder.path());
    let started = Instant::now();
    let mut group = spawn(build, command)?;

    let mut tally = Tally::default();
    let finish = loop {
        match group.next(deadline, interrupted)? {
            Next::Line(line) => tally.take(&line)?,
            Next::Ended(ChildEnd::Exited(0)) if tally.over => break Finish::Complete,
            Next::Ended(ChildEnd::Exited(_)) if tally.is_empty() => {
                let folder = suite.folder().map(Path::to_path_buf);
                return Err(PeerError::NotLoaded { which, folder, text: last_line(&group.stderr()) });
            }
            Next::Ended(end) => break Finish::Died { end, during: tally.current.take(), stderr: group.stderr() },
            Next::Deadline => break Finish::TimedOut { during: tally.current.take() },
            Next::Interrupted => return Err(PeerError::Interrupted),
        }
    };
    let time = started.elapsed();
    drop(group);
    if let Some(text) = tally.not_loaded {
        return Err(PeerError::NotLoaded { which, folder: suite.folder().map(Path::to_path_buf), text });
    }
    let ran = tally.finished.len();
    if finish == Finish::Complete && ran == 0 && tally.errored.is_empty() {
        let reason = tally.skipped_for.unwrap_or_else(|| "there are no tests".to_owned());
        return Err(PeerError::NothingRan { which, skipped: tally.skipped, reason });
    }
    let Tally { passed, failed, errored, skipped, .. } = tally;
    Ok(TestOutcome { ran, passed, failed, errored, skipped, time, finish })
}

/// A command for an interpreter without the user's `PYTHON*` variables. It imports `site`, because tests may need the
/// names that `site` defines.
fn command(build: &Build, jit: Option<bool>) -> Command {
    let mut command = Command::new(&build.python);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PYTHON")) {
        command.env_remove(name);
    }
    // The interpreters that tests start must not write bytecode into the cache folder either.
    command.args(["-s", "-P"]).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    if let Some(jit) = jit {
        command.env("PYTHON_JIT", if jit { "1" } else { "0" });
    }
    command
}

fn spawn(build: &Build, command: Command) -> Result<Group, PeerError> {
    Group::spawn(command).map_err(|source| PeerError::Start { python: build.python.clone(), source })
}

fn last_line(text: &str) -> String {
    text.trim_end().lines().next_back().map_or("stderr is empty".to_owned(), excerpt)
}

/// The results of a run so far.
#[derive(Debug, Default)]
struct Tally {
    finished: BTreeSet<String>,
    passed: BTreeSet<String>,
    failed: Vec<TestFailure>,
    errored: Vec<TestFailure>,
    skipped: usize,
    skipped_for: Option<String>,
    not_loaded: Option<String>,
    current: Option<String>,
    over: bool,
}

impl Tally {
    fn is_empty(&self) -> bool {
        self.current.is_none() && self.finished.is_empty() && self.errored.is_empty() && self.skipped == 0
    }

    fn take(&mut self, line: &[u8]) -> Result<(), PeerError> {
        let malformed = |error| PeerError::Malformed(excerpt(&format!("{error} in {}", String::from_utf8_lossy(line))));
        match serde_json::from_slice(line).map_err(malformed)? {
            Event::Over { over } => {
                self.current = None;
                self.over = over;
            }
            Event::Starts { test } => self.current = Some(test),
            Event::Came { test, came, text } => {
                let is_test = self.current.as_ref() == Some(&test);
                match came {
                    Word::Skipped => {
                        self.skipped += 1;
                        self.skipped_for.get_or_insert_with(|| excerpt(&text));
                    }
                    Word::Errored if test.starts_with("unittest.loader.") => {
                        self.not_loaded.get_or_insert_with(|| last_words(&text));
                    }
                    Word::Passed => {
                        self.passed.insert(test.clone());
                    }
                    Word::Failed => self.failed.push(TestFailure { test: test.clone(), text }),
                    Word::Errored => self.errored.push(TestFailure { test: test.clone(), text }),
                }
                if is_test && !matches!(came, Word::Skipped) {
                    self.finished.insert(test);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(passed: &[&str], failed: &[&str], errored: &[&str]) -> TestOutcome {
        let failures = |tests: &[&str]| {
            tests.iter().map(|test| TestFailure { test: (*test).to_owned(), text: String::new() }).collect::<Vec<_>>()
        };
        TestOutcome {
            ran: passed.len() + failed.len() + errored.len(),
            passed: passed.iter().map(|test| (*test).to_owned()).collect(),
            failed: failures(failed),
            errored: failures(errored),
            skipped: 0,
            time: Duration::ZERO,
            finish: Finish::Complete,
        }
    }

    #[test]
    fn tests_that_the_original_sometimes_fails_are_ignored() {
        let originals = [outcome(&["a", "b", "c"], &["d"], &[]), outcome(&["a", "b"], &[], &["c"])];
        let changed = outcome(&[], &["a", "c", "d"], &["b", "e"]);
        let broke: Vec<_> = changed.broke(&originals).into_iter().map(|failure| failure.test.as_str()).collect();
        assert_eq!(broke, ["a", "b"]);
        assert!(changed.broke(&[]).is_empty());
    }

    #[test]
    fn a_line_that_is_not_an_event_is_refused() {
        let mut tally = Tally::default();
        for line in [&b"{}"[..], b"Hello", br#"{"test": 1}"#, b""] {
            assert!(matches!(tally.take(line), Err(PeerError::Malformed(_))), "{line:?}");
        }
        assert!(tally.is_empty());
    }

    #[test]
    fn a_skipped_test_does_not_count_as_run() {
        let mut tally = Tally::default();
        for line in [
            r#"{"test": "a"}"#,
            r#"{"test": "a", "came": "skipped", "text": "no permission"}"#,
            r#"{"test": "b"}"#,
            r#"{"test": "b", "came": "passed", "text": ""}"#,
            r#"{"over": true}"#,
        ] {
            tally.take(line.as_bytes()).unwrap();
        }
        assert_eq!((tally.finished.len(), tally.skipped, tally.over), (1, 1, true));
        assert_eq!(tally.skipped_for.as_deref(), Some("no permission"));
    }
}
