//! Exit codes. Scripts rely on them, so their meaning never changes.

use model::run::document::Document;
use model::run::verdict::Verdict;

/// Everything planned ran and was compared, and no unknown clause broke. A live comparison with too few samples does
/// not change this code; the report lists it as advice.
pub const PASS: u8 = 0;
/// A clause broke that is not a known failure (with `--strict`: any clause; with `--baseline`: one that the base does not
/// break).
pub const VIOLATION: u8 = 1;
/// The command line is wrong, or no build or target could be set up. Clap uses the same code for usage errors.
pub const USAGE: u8 = 2;
/// Nothing broke, but the run proves too little: a spent budget, a missed deadline, a vacuous run, or a replayed
/// failure that did not appear again or appeared only on another interpreter.
pub const INCONCLUSIVE: u8 = 3;
/// The user interrupted the run (128 + SIGINT), whatever it had found. The report lists what it had found.
pub const INTERRUPTED: u8 = 130;

/// The table of the exit codes for `--help`.
pub const HELP: &str = "\
Exit codes:
  0    pass: everything planned ran and was compared, and nothing unknown broke
       (a live comparison that too few samples leave undecided is advice only)
  1    violation: a clause broke that is not known to break (with --strict: any; with
       --baseline: one that the base does not break)
  2    usage or set-up: wrong arguments, no usable build, no permission
  3    inconclusive: nothing broke, but not everything was shown (budget spent,
       deadline passed, cache not exercised, nothing ran, base not tested; what --until or `replay`
       is to show again was not seen, or the build that it is of is not here)
  130  interrupted";

/// How a verb ended. Exit codes are made here and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did what it was asked to do. A verb that judges nothing passes.
    Judged(Verdict),
    /// Part of what it was asked for could not be set up; the error was printed.
    NotSetUp,
    /// The user interrupted it.
    Interrupted,
}

impl Ending {
    /// Everything that ran was judged, and nothing is wrong.
    pub const PASS: Self = Self::Judged(Verdict::Pass);
    /// Something is wrong, and no known failure excuses it.
    pub const FAIL: Self = Self::Judged(Verdict::Fail);
    /// Nothing is wrong, but not everything was shown.
    pub const INCONCLUSIVE: Self = Self::Judged(Verdict::Inconclusive);

    /// The ending of a run of `check`.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        if document.interrupted { Self::Interrupted } else { Self::Judged(document.judgement.verdict) }
    }

    /// The exit code of the process; see [`HELP`].
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Judged(Verdict::Pass) => PASS,
            Self::Judged(Verdict::Fail) => VIOLATION,
            Self::Judged(Verdict::Inconclusive) => INCONCLUSIVE,
            Self::NotSetUp => USAGE,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// The word for it in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Judged(verdict) => verdict.name(),
            Self::NotSetUp => "not set up",
            Self::Interrupted => "interrupted",
        }
    }

    /// Combines the endings of two steps. A failure takes precedence over everything else.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if self == Self::FAIL || other == Self::FAIL {
            Self::FAIL
        } else if self.code() >= other.code() {
            self
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use framewalk::sample::WalkerKind;
    use model::lane::Lane;
    use model::run::event::Event;
    use model::run::fixtures::{cache_worse, few, finding, run, started, summary, with_tally};

    use super::*;

    #[test]
    fn every_verdict_has_its_code() {
        let violation = |finding| Event::Violation(Box::new(finding));
        let over = |interrupted| Event::RunFinished { interrupted };
        for (events, strict, expected) in [
            (run(vec![]), false, PASS),
            (with_tally(Lane::Live, WalkerKind::CpythonCached, &few()), false, PASS),
            (run(vec![violation(finding())]), false, VIOLATION),
            (run(vec![violation(cache_worse("stale-full-hit"))]), false, PASS),
            (run(vec![violation(cache_worse("stale-full-hit"))]), true, VIOLATION),
            (vec![started(&[]), over(false)], false, INCONCLUSIVE),
            (vec![started(&[]), violation(finding()), over(true)], false, INTERRUPTED),
        ] {
            assert_eq!(Ending::of(&Document::from(&summary(&events, strict))).code(), expected);
        }
    }

    #[test]
    fn the_help_names_every_code() {
        for code in [PASS, VIOLATION, USAGE, INCONCLUSIVE, INTERRUPTED] {
            assert!(HELP.lines().any(|line| line.split_whitespace().next() == Some(&code.to_string())), "{code}");
        }
    }
}
