//! Annotations for GitHub Actions: workflow commands that the runner reads from a step's output.

use std::fmt::Write;

use framewalk::printable::{clean, excerpt};
use model::run::change::Fate;
use model::run::document::Document;
use model::run::group::Group;
use model::run::results::Results;
use model::run::verdict::{Doubt, Failure, Verdict};

use crate::report::human;

/// GitHub shows at most this many annotations of each kind for a step.
const SHOWN: usize = 10;

/// The kind of an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Notice,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// The commands, one a line. What fails the run comes first, then what keeps it from passing, then known failures and
/// remarks.
#[must_use]
pub fn annotations(document: &Document) -> String {
    let (failing, known): (Vec<Group>, Vec<Group>) = document.grouped().into_iter().partition(|group| group.fails);
    let told = |group: Group| told(document, &group);
    let judgement = &document.judgement;
    let undescribed = judgement.failures.iter().filter(|failure| matches!(failure, Failure::Undescribed { .. }));
    let errors = failing.into_iter().map(told).chain(undescribed.map(|failure| said("wrong samples", failure)));
    let others = judgement.doubts.iter().filter(|doubt| !matches!(doubt, Doubt::NotRun { .. }));
    let not_run = human::by_reason(judgement.doubts.iter().filter_map(|doubt| match doubt {
        Doubt::NotRun { cell, why } => Some((cell, why)),
        _ => None,
    }));
    let not_run =
        not_run.into_iter().map(|(place, families)| said("not run", &format!("{place}: {}", families.join(", "))));
    let warnings = others.map(|doubt| said("inconclusive", doubt)).chain(not_run);
    let notices = gone(document)
        .into_iter()
        .chain(known.into_iter().map(told))
        .chain(judgement.advice.iter().map(|advice| said(advice.name(), advice)));
    let mut out = String::new();
    push(&mut out, Level::Error, errors.collect());
    push(&mut out, Level::Warning, warnings.collect());
    push(&mut out, Level::Notice, notices.collect());
    out
}

/// The commands of a run that judged items, or of its document: an error for each failure, a warning for whatever else
/// keeps it from passing.
#[must_use]
pub fn annotations_of_items(results: &Results) -> String {
    let of = |verdict| {
        let items = results.items.iter().filter(move |item| item.verdict == verdict);
        items.map(|item| (format!("{}: {}, {}", results.verb, item.of, item.name), item.short.clone())).collect()
    };
    let mut out = String::new();
    push(&mut out, Level::Error, of(Verdict::Fail));
    push(&mut out, Level::Warning, of(Verdict::Inconclusive));
    out
}

/// Wraps `text` so that the runner does not interpret any of it as a command, since names come from targets. Nobody
/// else may know `token`.
#[must_use]
pub fn guarded(text: &str, token: &str) -> String {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    format!("::stop-commands::{token}\n{text}{end}::{token}::\n")
}

/// One annotation for a whole group: GitHub shows only ten, and a single bug must not use them up.
fn told(document: &Document, group: &Group) -> (String, String) {
    let mut text = String::new();
    for violation in group.violations(&document.violations) {
        let first = &violation.first;
        if text.is_empty() {
            let _ = write!(text, "{} ({} lane, {}, on {})", first.violation, first.lane, first.walker, first.row);
            let known = violation.known.as_ref().filter(|_| !violation.fails(document.strict));
            match known {
                Some(known) => {
                    let _ = write!(text, "\nknown: {} {}", known.id, known.link);
                }
                None => {
                    let _ = write!(text, "\nreplay: {}", first.replay);
                }
            }
            if let Some(change) = document.change_of(violation).filter(|change| change.schedules > 0) {
                let _ = write!(text, "\nschedules that passed on the base and fail now: {}", change.schedules);
                for replay in document.replays_of(change) {
                    let _ = write!(text, "\nreplay: {replay}");
                }
            }
        }
        let _ = write!(text, "\nkind: {}", violation.fingerprint);
    }
    let title = match (&document.baseline, group.fails) {
        (None, _) => group.headline.clone(),
        (Some(_), true) => format!("new in this change: {}", group.headline),
        (Some(_), false) => format!("not new: {}", group.headline),
    };
    (title, text)
}

/// A notice for what the change mends.
fn gone(document: &Document) -> Option<(String, String)> {
    let changes = &document.baseline.as_ref()?.comparison.changes;
    let gone: Vec<&str> =
        changes.iter().filter(|change| change.fate == Fate::Gone).map(|change| change.fingerprint.as_str()).collect();
    (!gone.is_empty()).then(|| ("gone with this change".to_owned(), gone.join("\n")))
}

fn said(title: &str, text: &impl ToString) -> (String, String) {
    (title.to_owned(), text.to_string())
}

fn push(out: &mut String, level: Level, annotations: Vec<(String, String)>) {
    let more = annotations.len().saturating_sub(SHOWN);
    let shown = if more > 0 { SHOWN - 1 } else { SHOWN };
    for (title, text) in annotations.iter().take(shown) {
        let text: Vec<String> = text.lines().map(clean).collect();
        let _ = writeln!(out, "::{} title={}::{}", level.name(), property(&excerpt(title)), data(&text.join("\n")));
    }
    if more > 0 {
        let text = format!("{} more; the report has them", annotations.len() - shown);
        let _ = writeln!(out, "::{} title=framediff::{}", level.name(), data(&text));
    }
}

/// Escapes a message the way the runner unescapes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property the way the runner unescapes it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use framewalk::sample::WalkerKind;
    use model::lane::Lane;
    use model::run::cell::{CellId, CellOutcome, Inconclusive, NotRun};
    use model::run::event::Event;
    use model::run::finding::Finding;
    use model::run::fixtures::{cache_worse, cell, few, finding, run, summary, with_tally};

    use super::*;

    fn lines(events: &[Event]) -> Vec<String> {
        annotations(&Document::from(&summary(events, false))).lines().map(str::to_owned).collect()
    }

    fn violation(finding: Finding) -> Event {
        Event::Violation(Box::new(finding))
    }

    #[test]
    fn a_clean_run_says_nothing() {
        assert_eq!(lines(&run(vec![])), [""; 0]);
    }

    #[test]
    fn errors_come_first_and_known_failures_are_notices() {
        let lines = lines(&run(vec![
            violation(cache_worse("stale-full-hit")),
            violation(finding()),
            Event::CellFinished {
                cell: cell(Lane::Live),
                outcome: CellOutcome::Inconclusive(Inconclusive::TargetEnded("signal 9".into())),
            },
            Event::CellFinished {
                cell: CellId { family: "deep".into(), ..cell(Lane::Live) },
                outcome: CellOutcome::NotRun(NotRun::BudgetSpent),
            },
        ]));
        let starts = |index: usize, start: &str| {
            assert!(lines[index].starts_with(start), "{start:?} does not start {:?}", lines[index]);
        };
        starts(0, "::error title=probably the profiler (_remote_debugging)%3A cpython-cached returns stacks that mix");
        let replay = "%0Areplay: framediff check --lane live --family alternating --seed 7";
        let kind = "%0Akind: live/cpython-cached/mixed-branches/stale-partial-hit";
        assert!(lines[0].ends_with(&format!("{replay}{kind}")), "{lines:?}");
        starts(1, "::warning title=inconclusive::");
        assert!(lines[1].contains("signal 9"));
        starts(2, "::warning title=not run::3.15.2 release JIT, live: the budget was spent");
        starts(3, "::notice title=known, gh-151613%3A".replace(", ", "%2C ").as_str());
        assert!(lines[3].contains("%0Aknown: live-splice-full-hit https://"), "{lines:?}");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn what_is_undecided_is_a_notice() {
        let lines = lines(&with_tally(Lane::Live, WalkerKind::CpythonCached, &few()));
        assert!(lines.len() == 1 && lines[0].starts_with("::notice title=undecided::"), "{lines:?}");
        let lines = self::lines(&run(vec![model::run::fixtures::unconfirmed()]));
        assert!(lines.len() == 1 && lines[0].starts_with("::notice title=unconfirmed::"), "{lines:?}");
    }

    #[test]
    fn a_message_stays_one_command() {
        let row = "100%\r\n::error::x".to_owned();
        let lines = lines(&run(vec![violation(Finding { row, ..finding() })]));
        assert!(lines.iter().all(|line| line.starts_with("::error title=")), "{lines:?}");
        // Each piece appears as the runner's escaped text, or is spelt out.
        assert!(lines[0].contains("on 100%25%0A::error::x"), "{lines:?}");
        assert_eq!(property("a:b,c%\r\n"), "a%3Ab%2Cc%25%0D%0A");
        assert_eq!(data("a:b,c%\r\n"), "a:b,c%25%0D%0A");
        assert_eq!(guarded("::error::x", "t"), "::stop-commands::t\n::error::x\n::t::\n");
    }

    #[test]
    fn one_bug_is_one_annotation() {
        let own = Finding { walker: WalkerKind::OwnCached, ..finding() };
        let lines = lines(&run(vec![violation(finding()), violation(own)]));
        let [one] = lines.as_slice() else { panic!("{lines:?}") };
        for kind in ["live/cpython-cached/mixed-branches", "live/own-cached/mixed-branches"] {
            assert!(one.contains(kind), "{one}");
        }
    }

    #[test]
    fn more_than_github_shows_are_counted() {
        let mut events = run(vec![]);
        for letter in 'a'..='p' {
            let cell = CellId { family: format!("family-{letter}"), ..cell(Lane::Live) };
            let outcome = CellOutcome::Inconclusive(Inconclusive::Interrupted);
            events.insert(events.len() - 1, Event::CellFinished { cell, outcome });
        }
        let lines = lines(&events);
        assert_eq!(lines.len(), SHOWN);
        assert_eq!(lines[SHOWN - 1], "::warning title=framediff::7 more; the report has them");
    }
}
