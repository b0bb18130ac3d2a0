//! CPython's own tests of remote inspection, run by the build under test.
//!
//! The driver (`pyscripts/peer_tests.py`) runs them with `unittest` and sends one JSON document per event. Most tests start
//! further interpreters by `sys.executable`, which must therefore be the build under test: see [`Build::executable`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fmt, io};

use framewalk::printable::{excerpt, last_words};
use process::build::{Build, FetchError, Progress, fetch_tests};
use process::script::Script;
use process::target::End;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::group::{Group, Next};

static DRIVER: Script = Script::new("peer_tests.py", include_str!("../../../../pyscripts/peer_tests.py"));

/// The module with all of them.
const MODULE: &str = "test.test_external_inspection";

/// The longest that an interpreter may take to say whether it has the module.
const ASKING: Duration = Duration::from_secs(20);

/// Which tests to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// `test.test_external_inspection.TestFrameCaching`: the tests of the frame cache.
    FrameCaching,
    /// All of `test.test_external_inspection`, the tests of the frame cache among them.
    ExternalInspection,
}

impl Which {
    /// What `unittest` calls them.
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
pub struct Failure {
    /// The test, as `unittest` names it; what fails outside a test (`setUpClass`) has a name that no test has.
    pub test: String,
    /// The end of the traceback.
    pub text: String,
}

/// How a run of tests ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Every test ran.
    Complete,
    /// The process that runs the tests died.
    Died {
        /// How.
        end: End,
        /// In which test; none if it was between two.
        during: Option<String>,
        /// The end of its error output.
        stderr: String,
    },
    /// It still ran at the deadline.
    TimedOut {
        /// In which test; none if it was between two.
        during: Option<String>,
    },
}

/// What came of a run of tests.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many tests ran to their end and were not skipped.
    pub ran: usize,
    /// The tests that passed.
    pub passed: BTreeSet<String>,
    /// Those with a failed assertion.
    pub failed: Vec<Failure>,
    /// Those that raised something else.
    pub errored: Vec<Failure>,
    /// How many did not run, for lack of something.
    pub skipped: usize,
    /// How long it took.
    pub time: Duration,
    /// How it ended.
    pub finish: Finish,
}

impl Outcome {
    /// The tests that failed or raised here and passed in every run of `original`: what tells this build from the original
    /// one. A death is not among them, and neither is what the original does not pass.
    #[must_use]
    pub fn broke<'a>(&'a self, original: &[Self]) -> Vec<&'a Failure> {
        let passes = |failure: &&Failure| original.iter().all(|run| run.passed.contains(&failure.test));
        self.failed.iter().chain(&self.errored).filter(|_| !original.is_empty()).filter(passes).collect()
    }

    /// Whether every test ran and none failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.finish == Finish::Complete && self.failed.is_empty() && self.errored.is_empty()
    }
}

/// Why there is no outcome.
#[derive(Debug, Error)]
pub enum PeerError {
    /// The interpreter could not be started.
    #[error("cannot start {} for CPython's own tests: {source}", python.display())]
    Start {
        /// The interpreter.
        python: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tests are not there, and cannot be had.
    #[error("CPython's own tests are not available: {0}")]
    Fetch(#[from] FetchError),
    /// The module does not load.
    #[error("{which} cannot be loaded from {}: {text}", folder.as_ref().map_or("the interpreter's own library".into(), |folder| folder.display().to_string()))]
    NotLoaded {
        /// The tests.
        which: Which,
        /// The folder with the tests.
        folder: Option<PathBuf>,
        /// The end of the error.
        text: String,
    },
    /// No test ran.
    #[error("of {which} nothing ran, {skipped} tests were skipped: {reason}")]
    NothingRan {
        /// The tests.
        which: Which,
        /// How many were skipped.
        skipped: usize,
        /// Why the first of them was.
        reason: String,
    },
    /// The driver's output makes no sense.
    #[error("the driver of CPython's own tests sent something that makes no sense: {0}")]
    Malformed(String),
    /// A system call failed.
    #[error("cannot run CPython's own tests: {0}")]
    System(#[from] io::Error),
    /// The caller wanted to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Where the tests of a build are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suite {
    /// In its own library.
    Own,
    /// In this folder, with files that the package `test` of its own library lacks.
    Folder(PathBuf),
}

impl Suite {
    /// The build's own tests if it has them, else those fetched into `cache`, now if need be.
    ///
    /// # Errors
    /// The interpreter cannot be asked, or the tests cannot be fetched.
    pub fn of(build: &Build, cache: &Path, progress: &mut dyn Progress) -> Result<Self, PeerError> {
        if has_own(build, progress)? {
            return Ok(Self::Own);
        }
        Ok(Self::Folder(fetch_tests(build.version, cache, progress)?))
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Own => None,
            Self::Folder(folder) => Some(folder),
        }
    }
}

/// Whether the interpreter can import the module without help.
fn has_own(build: &Build, progress: &mut dyn Progress) -> Result<bool, PeerError> {
    let script = format!("import importlib.util; print('has', importlib.util.find_spec('{MODULE}') is not None)");
    let mut command = command(build, None);
    command.args(["-c", &script]);
    let mut group = spawn(build, command)?;
    let deadline = Instant::now() + ASKING;
    let mut answer = false;
    loop {
        match group.next(deadline, &|| progress.interrupted())? {
            Next::Line(line) => answer |= line.trim_ascii() == b"has True",
            // A library without the package `test` raises.
            Next::Ended(_) => return Ok(answer),
            Next::Deadline => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Next::Interrupted => return Err(PeerError::Interrupted),
        }
    }
}

/// One line of the driver.
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

/// Runs `which` of `suite` on `build`, with the JIT as `jit` says, until `deadline` at most. No process is left behind.
///
/// # Errors
/// Nothing ran: the tests are not there, do not load or were all skipped; or `interrupted` says to stop.
pub fn run(
    build: &Build,
    jit: Option<bool>,
    suite: &Suite,
    which: Which,
    deadline: Instant,
    interrupted: &dyn Fn() -> bool,
) -> Result<Outcome, PeerError> {
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
            Next::Ended(End::Exited(0)) if tally.over => break Finish::Complete,
            Next::Ended(End::Exited(_)) if tally.is_empty() => {
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
        let reason = tally.skipped_for.unwrap_or_else(|| "there are none".to_owned());
        return Err(PeerError::NothingRan { which, skipped: tally.skipped, reason });
    }
    let Tally { passed, failed, errored, skipped, .. } = tally;
    Ok(Outcome { ran, passed, failed, errored, skipped, time, finish })
}

/// An interpreter that the user's environment does not disturb. Not one without `site`: tests may need its names.
fn command(build: &Build, jit: Option<bool>) -> Command {
    let mut command = Command::new(&build.python);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PYTHON")) {
        command.env_remove(name);
    }
    // The interpreters that tests start must not write into the cache folder either.
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
    text.trim_end().lines().next_back().map_or("it wrote nothing to stderr".to_owned(), excerpt)
}

/// What is known of a run so far.
#[derive(Debug, Default)]
struct Tally {
    finished: BTreeSet<String>,
    passed: BTreeSet<String>,
    failed: Vec<Failure>,
    errored: Vec<Failure>,
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
                    Word::Failed => self.failed.push(Failure { test: test.clone(), text }),
                    Word::Errored => self.errored.push(Failure { test: test.clone(), text }),
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

    fn outcome(passed: &[&str], failed: &[&str], errored: &[&str]) -> Outcome {
        let failures = |tests: &[&str]| {
            tests.iter().map(|test| Failure { test: (*test).to_owned(), text: String::new() }).collect::<Vec<_>>()
        };
        Outcome {
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
    fn what_the_original_does_not_always_pass_tells_nothing() {
        let originals = [outcome(&["a", "b", "c"], &["d"], &[]), outcome(&["a", "b"], &[], &["c"])];
        let changed = outcome(&[], &["a", "c", "d"], &["b", "e"]);
        let broke: Vec<_> = changed.broke(&originals).into_iter().map(|failure| failure.test.as_str()).collect();
        assert_eq!(broke, ["a", "b"]);
        assert!(changed.broke(&[]).is_empty());
    }

    #[test]
    fn a_line_that_is_no_event_is_refused() {
        let mut tally = Tally::default();
        for line in [&b"{}"[..], b"Hello", br#"{"test": 1}"#, b""] {
            assert!(matches!(tally.take(line), Err(PeerError::Malformed(_))), "{line:?}");
        }
        assert!(tally.is_empty());
    }

    #[test]
    fn a_test_that_was_skipped_did_not_run() {
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
