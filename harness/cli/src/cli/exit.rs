//! Exit codes. Scripts rely on them: they never change meaning.

use model::run::summary::Summary;
use model::run::verdict::Verdict;

/// Everything planned ran and was compared; no unknown clause broke. Too few samples to decide a live comparison change
/// nothing about that: the report names it as advice.
pub const PASS: u8 = 0;
/// A clause broke that is not known to break (with `--strict`: any clause).
pub const VIOLATION: u8 = 1;
/// The command line is wrong, or builds or targets could not be set up at all. Also clap's code for usage errors.
pub const USAGE: u8 = 2;
/// Nothing broke, but not everything was shown: a spent budget, a passed deadline, a vacuous run; a failure that was to be
/// shown again and was not, or on another interpreter only.
pub const INCONCLUSIVE: u8 = 3;
/// Stopped by the user (128 + SIGINT), whatever was found until then; the report says what.
pub const INTERRUPTED: u8 = 130;

/// The table of the exit codes for `--help`.
pub const HELP: &str = "\
Exit codes:
  0    pass: everything planned ran and was compared, and nothing unknown broke
       (a live comparison that too few samples leave undecided is advice only)
  1    violation: a clause broke that is not known to break (with --strict: any)
  2    usage or set-up: wrong arguments, no usable build, no permission
  3    inconclusive: nothing broke, but not everything was shown (budget spent,
       deadline passed, cache not exercised, nothing ran; what --until or `replay`
       is to show again was not seen, or the build that it is of is not here)
  130  interrupted";

/// The exit code of a run.
#[must_use]
pub fn of(summary: &Summary) -> u8 {
    if summary.interrupted() {
        return INTERRUPTED;
    }
    match summary.judgement().verdict {
        Verdict::Pass => PASS,
        Verdict::Fail => VIOLATION,
        Verdict::Inconclusive => INCONCLUSIVE,
    }
}

/// The code of two things that were done: a violation is told whatever else there was.
#[must_use]
pub fn worse(one: u8, other: u8) -> u8 {
    if one == VIOLATION || other == VIOLATION { VIOLATION } else { one.max(other) }
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
            assert_eq!(of(&summary(&events, strict)), expected);
        }
    }

    #[test]
    fn the_help_names_every_code() {
        for code in [PASS, VIOLATION, USAGE, INCONCLUSIVE, INTERRUPTED] {
            assert!(HELP.lines().any(|line| line.split_whitespace().next() == Some(&code.to_string())), "{code}");
        }
    }
}
