//! What a night of runs found: the failures of all its reports, compared with those of the night before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use framewalk::printable::clean;
#[cfg(target_arch = "x86_64")]
use lab::mutants::judge::Judged;
use model::run::change::Fate;
use model::run::verdict::Verdict;

use crate::report::saved::{Content, Saved};
use crate::report::text::{paragraph, plural};

/// A failure of one night, over all its reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NightFailure {
    /// What broke, in words.
    pub what: String,
    /// The matching known failure, if it excuses the failure wherever it was seen.
    pub known: Option<String>,
    /// How often it was seen.
    pub count: u64,
    /// The build on which it was seen first.
    pub build: String,
    /// The command that shows it again.
    pub replay: String,
}

/// The reports of one night.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Night {
    /// The number of reports.
    pub reports: usize,
    /// What the night leaves open: reports that are inconclusive or cannot be read.
    pub open: Vec<String>,
    /// The failures, by fingerprint.
    pub failures: BTreeMap<String, NightFailure>,
}

impl Night {
    /// Adds a report.
    pub fn add(&mut self, saved: &Saved) {
        self.reports += 1;
        if saved.report().verdict() == Verdict::Inconclusive {
            self.open.push(format!("{} is inconclusive", saved.name));
        }
        for (fingerprint, failure) in failures(&saved.content) {
            match self.failures.get_mut(&fingerprint) {
                Some(known) => {
                    known.count += failure.count;
                    known.known = known.known.take().and(failure.known);
                }
                None => drop(self.failures.insert(fingerprint, failure)),
            }
        }
    }

    /// What changed since the night before: each failure that is not known, and each known one that is not seen any more.
    #[must_use]
    pub fn since<'a>(&'a self, before: &'a Self) -> Vec<(Fate, &'a str)> {
        let mut changes = Vec::new();
        for (fingerprint, failure) in &self.failures {
            if failure.known.is_none() {
                let fate = if before.failures.contains_key(fingerprint) { Fate::StillThere } else { Fate::New };
                changes.push((fate, fingerprint.as_str()));
            }
        }
        // A night draws other programs than the one before, so it may only have had less luck.
        let gone = before.failures.keys().filter(|fingerprint| !self.failures.contains_key(*fingerprint));
        changes.extend(gone.map(|fingerprint| (Fate::NotLookedFor, fingerprint.as_str())));
        changes.sort();
        changes
    }

    /// The verdict of the night: what is not known fails it, whether it is new or not.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.failures.values().any(|failure| failure.known.is_none()) {
            Verdict::Fail
        } else if self.reports == 0 || !self.open.is_empty() {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// The night as text, in lines of `width` columns.
    #[must_use]
    pub fn text(&self, before: &Self, width: u16) -> String {
        let mut out = String::new();
        let known = self.failures.values().filter(|failure| failure.known.is_some()).count();
        let _ = writeln!(
            out,
            "{}: {}, {known} of them known",
            plural(self.reports, "report"),
            plural(self.failures.len(), "kind") + " of failure"
        );
        for (fate, fingerprint) in self.since(before) {
            let failure = self.failures.get(fingerprint).or_else(|| before.failures.get(fingerprint));
            let Some(failure) = failure else { continue };
            let label = match fate {
                Fate::New | Fate::Worse => "new        ",
                Fate::StillThere => "still      ",
                Fate::Gone | Fate::NotLookedFor => "not seen   ",
            };
            let times = if failure.count == 1 { "once".to_owned() } else { format!("{} times", failure.count) };
            paragraph(&mut out, label, fingerprint, width);
            paragraph(
                &mut out,
                "           ",
                &format!("{}; {times}, first on {}", failure.what, failure.build),
                width,
            );
            if fate != Fate::NotLookedFor {
                let _ = writeln!(out, "           {}", clean(&failure.replay));
            }
        }
        for open in &self.open {
            paragraph(&mut out, "open       ", open, width);
        }
        let _ = writeln!(out, "verdict: {}", self.verdict());
        out
    }
}

/// The failures of one report, by fingerprint.
fn failures(content: &Content) -> Vec<(String, NightFailure)> {
    match content {
        Content::Check(document) => {
            let groups = document.grouped();
            let headline = |index: usize| groups.iter().find(|group| group.members.contains(&index));
            let of = |(index, violation): (usize, &model::run::distinct::DistinctViolation)| {
                let failure = NightFailure {
                    what: headline(index).map(|group| group.headline.clone()).unwrap_or_default(),
                    known: violation
                        .known
                        .as_ref()
                        .filter(|_| !violation.fails(document.strict))
                        .map(|one| one.id.clone()),
                    count: violation.count,
                    build: violation.first.row.clone(),
                    replay: violation.first.replay.clone(),
                };
                (violation.fingerprint.to_string(), failure)
            };
            document.violations.iter().enumerate().map(of).collect()
        }
        Content::Searches(document) => {
            let all = document.searches.iter().flat_map(|search| search.failures.iter().map(move |one| (search, one)));
            let of = |(search, one): (&crate::report::searches::Search, &crate::report::searches::SearchFailure)| {
                let failure = NightFailure {
                    what: format!("a wrong stack of {} on {}", search.walker, search.family),
                    known: one.known.clone(),
                    count: one.schedules,
                    build: search.build.clone(),
                    replay: format!("framediff replay {}", one.case),
                };
                (one.fingerprint.clone(), failure)
            };
            all.map(of).collect()
        }
        #[cfg(target_arch = "x86_64")]
        Content::Mutants(report) => {
            let rows = report.rows.iter().map(|row| (&row.row, &row.mutants));
            let all = rows.chain(report.unwinder.iter().map(|one| (&one.row, &one.mutants)));
            let survived = all.flat_map(|(row, mutants)| {
                let survived = mutants.iter().filter(|one| matches!(one.judged, Judged::Survived { .. }));
                survived.map(move |one| (row, one))
            });
            let of = |(row, one): (&String, &lab::mutants::report::MutantReport)| {
                let failure = NightFailure {
                    what: format!("the harness does not notice {}", one.mutant),
                    known: None,
                    count: 1,
                    build: row.clone(),
                    replay: format!("framediff mutants --mutant {}", one.mutant),
                };
                (format!("mutants/{} survived", one.mutant), failure)
            };
            survived.map(of).collect()
        }
        Content::Results(results) => {
            let failed = results.items.iter().filter(|item| item.verdict == Verdict::Fail);
            let of = |item: &model::run::item::Item| {
                let failure = NightFailure {
                    what: item.short.clone(),
                    known: None,
                    count: 1,
                    build: item.of.clone(),
                    replay: format!("framediff {}", results.verb),
                };
                (format!("{}/{}, {}", results.verb, item.of, item.name), failure)
            };
            failed.map(of).collect()
        }
        // Measurements, comparisons and single cases are not runs of a night.
        Content::Bench(_) | Content::Comparison(_) | Content::Explanation(_) | Content::Case(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use model::run::document::Document;
    use model::run::event::Event;
    use model::run::finding::Finding;
    use model::run::fixtures::{cache_worse, finding, run, summary};

    use super::*;

    fn night(findings: Vec<Finding>) -> Night {
        let events = findings.into_iter().map(|finding| Event::Violation(Box::new(finding))).collect();
        let document = Document::from(&summary(&run(events), false));
        let mut night = Night::default();
        night.add(&Saved { name: "a.json".into(), content: Content::Check(Box::new(document)) });
        night
    }

    #[test]
    fn what_is_not_known_fails_and_is_compared_with_the_night_before() {
        let (quiet, loud) = (night(vec![cache_worse("stale-full-hit")]), night(vec![finding()]));
        assert_eq!((quiet.verdict(), loud.verdict()), (Verdict::Pass, Verdict::Fail));
        let fate = |now: &Night, before: &Night| now.since(before).first().map(|(fate, _)| *fate);
        assert_eq!(fate(&loud, &quiet), Some(Fate::New));
        assert_eq!(fate(&loud, &loud), Some(Fate::StillThere));
        assert_eq!(fate(&quiet, &loud), Some(Fate::NotLookedFor));
        assert_eq!(fate(&quiet, &quiet), None, "what is known is no change");
        let text = loud.text(&quiet, 80);
        assert!(text.contains("new        live/cpython-cached/mixed-branches/stale-partial-hit"), "{text}");
        assert!(text.contains("framediff check --lane live --family alternating --seed 7"), "{text}");
    }

    #[test]
    fn a_night_without_reports_proves_nothing() {
        assert_eq!(Night::default().verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn the_counts_of_reports_are_added() {
        let mut both = night(vec![finding()]);
        let events = run(vec![Event::Violation(Box::new(finding()))]);
        let document = Document::from(&summary(&events, false));
        both.add(&Saved { name: "b.json".into(), content: Content::Check(Box::new(document)) });
        let counts: Vec<u64> = both.failures.values().map(|failure| failure.count).collect();
        assert_eq!((both.reports, counts), (2, vec![2 * finding().count]));
    }
}
