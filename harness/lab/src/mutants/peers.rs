//! Runs CPython's own tests against mutants.

use std::time::{Duration, Instant};

use process::build::{Build, BuildVariant};
use serde::{Deserialize, Serialize};

use crate::peers::cpython_tests::{Finish, PeerError, Suite, TestOutcome, Which, run};

/// Time limit for the tests of the frame cache.
const FRAME_CACHING: Duration = Duration::from_secs(60);
/// Time limit for all tests of remote inspection.
const EXTERNAL_INSPECTION: Duration = Duration::from_secs(240);
/// Number of runs on the original. A test that does not pass in all of them shows nothing about a mutant.
const BASELINE: usize = 2;

/// The verdict of a test suite on a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Said {
    /// A test fails that always passes on the original.
    Killed {
        /// The first such test.
        by: String,
    },
    /// All tests that pass on the original pass.
    Survived {
        /// Number of tests that ran.
        ran: usize,
    },
    /// The process of the tests died.
    Died {
        /// How it ended, and in which test.
        how: String,
    },
    /// The tests did not finish in time.
    TimedOut {
        /// The test that was running.
        during: Option<String>,
    },
    /// The tests show nothing.
    Inconclusive {
        /// Why the suite was inconclusive.
        why: String,
    },
}

impl Said {
    /// The outcome in one or two words.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Killed { .. } => "killed",
            Self::Survived { .. } => "survived",
            Self::Died { .. } => "died",
            Self::TimedOut { .. } => "timed out",
            Self::Inconclusive { .. } => "inconclusive",
        }
    }

    /// Compares `outcome` with the runs on the original. A failed test takes precedence over a death, because it came
    /// first.
    #[must_use]
    pub fn of(outcome: &TestOutcome, original: &[TestOutcome]) -> Self {
        if let Some(failure) = outcome.broke(original).first() {
            return Self::Killed { by: failure.test.clone() };
        }
        match &outcome.finish {
            Finish::Complete => Self::Survived { ran: outcome.ran },
            Finish::Died { end, during, .. } => {
                let place = during.as_ref().map(|test| format!(" in {test}")).unwrap_or_default();
                Self::Died { how: format!("{end}{place}") }
            }
            Finish::TimedOut { during } => Self::TimedOut { during: during.clone() },
        }
    }
}

/// The verdicts of both suites on one mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// The verdict of `TestFrameCaching`.
    pub frame_caching: Said,
    /// The verdict of all of `test_external_inspection`. `None` if only the other suite was requested.
    pub external_inspection: Option<Said>,
}

/// The results of a suite on the original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineReport {
    /// The name of the suite.
    pub suite: String,
    /// Number of tests that ran, for each run.
    pub ran: Vec<usize>,
    /// Number of tests that passed in every run.
    pub always_passed: usize,
    /// Duration of the longest run in seconds.
    pub seconds: f64,
}

/// The suites and their results on the original of one build in one run mode.
pub struct Baseline {
    suite: Suite,
    jit: Option<bool>,
    frame_caching: Vec<TestOutcome>,
    external_inspection: Vec<TestOutcome>,
}

impl Baseline {
    /// Runs the suites on the original.
    ///
    /// # Errors
    /// Nothing ran, or `interrupted` returned true.
    pub fn of(row: &BuildVariant, suite: Suite, interrupted: &dyn Fn() -> bool) -> Result<Self, PeerError> {
        let jit = row.jit.switch();
        let mut baseline = Self { suite, jit, frame_caching: Vec::new(), external_inspection: Vec::new() };
        for _ in 0..BASELINE {
            let outcome = baseline.run(&row.build, Which::FrameCaching, interrupted)?;
            baseline.frame_caching.push(outcome);
            let outcome = baseline.run(&row.build, Which::ExternalInspection, interrupted)?;
            baseline.external_inspection.push(outcome);
        }
        Ok(baseline)
    }

    /// The results for the report.
    #[must_use]
    pub fn report(&self) -> Vec<BaselineReport> {
        let of = |suite: &str, outcomes: &[TestOutcome]| {
            let seconds = outcomes.iter().map(|outcome| outcome.time.as_secs_f64()).fold(0.0, f64::max);
            let always = |test: &&String| outcomes.iter().all(|outcome| outcome.passed.contains(*test));
            let always_passed = outcomes.first().map_or(0, |first| first.passed.iter().filter(always).count());
            let ran = outcomes.iter().map(|outcome| outcome.ran).collect();
            BaselineReport { suite: suite.to_owned(), ran, always_passed, seconds }
        };
        vec![of("TestFrameCaching", &self.frame_caching), of("test_external_inspection", &self.external_inspection)]
    }

    /// Runs both suites on a mutant, or only the tests of the frame cache.
    ///
    /// # Errors
    /// Only [`PeerError::Interrupted`]. Other failures are part of the result.
    pub fn judge(&self, build: &Build, both: bool, interrupted: &dyn Fn() -> bool) -> Result<Peers, PeerError> {
        let said = |which, original: &[TestOutcome]| match self.run(build, which, interrupted) {
            Ok(outcome) => Ok(Said::of(&outcome, original)),
            Err(error @ PeerError::Interrupted) => Err(error),
            Err(error) => Ok(Said::Inconclusive { why: error.to_string() }),
        };
        let frame_caching = said(Which::FrameCaching, &self.frame_caching)?;
        let external_inspection =
            if both { Some(said(Which::ExternalInspection, &self.external_inspection)?) } else { None };
        Ok(Peers { frame_caching, external_inspection })
    }

    fn run(&self, build: &Build, which: Which, interrupted: &dyn Fn() -> bool) -> Result<TestOutcome, PeerError> {
        let patience = match which {
            Which::FrameCaching => FRAME_CACHING,
            Which::ExternalInspection => EXTERNAL_INSPECTION,
        };
        run(build, self.jit, &self.suite, which, Instant::now() + patience, interrupted)
    }
}

#[cfg(test)]
mod tests {
    use process::target::ChildEnd;

    use super::*;
    use crate::peers::cpython_tests::TestFailure;

    fn outcome(passed: &[&str], failed: &[&str], finish: Finish) -> TestOutcome {
        let failure = |test: &&str| TestFailure { test: (*test).to_owned(), text: String::new() };
        TestOutcome {
            ran: passed.len() + failed.len(),
            passed: passed.iter().map(|test| (*test).to_owned()).collect(),
            failed: failed.iter().map(failure).collect(),
            errored: Vec::new(),
            skipped: 0,
            time: Duration::ZERO,
            finish,
        }
    }

    #[test]
    fn only_tests_that_the_original_passes_can_kill() {
        let original = [outcome(&["a", "b"], &[], Finish::Complete), outcome(&["a"], &["b"], Finish::Complete)];
        let said = |passed: &[&str], failed: &[&str], finish| Said::of(&outcome(passed, failed, finish), &original);
        assert_eq!(said(&["a"], &["b"], Finish::Complete), Said::Survived { ran: 2 });
        assert_eq!(said(&["b"], &["a"], Finish::Complete), Said::Killed { by: "a".into() });
        assert_eq!(said(&[], &["a"], Finish::TimedOut { during: None }), Said::Killed { by: "a".into() });
        let during = Some("b".to_owned());
        assert_eq!(
            said(&["a"], &[], Finish::TimedOut { during: during.clone() }),
            Said::TimedOut { during: during.clone() }
        );
        let died = Finish::Died { end: ChildEnd::Exited(3), during, stderr: String::new() };
        assert!(matches!(said(&["a"], &[], died), Said::Died { how } if how.ends_with(" in b")));
    }
}
