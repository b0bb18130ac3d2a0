//! Explains a verdict in words: the reasons behind `verdict: pass`, `verdict: fail` and `verdict: inconclusive`.
//!
//! Many readers see this text and nothing else of the report. It therefore names what broke and where. It does not
//! blame CPython for wrong stacks that only this project's walkers return, and "pass" does not hide the known faults
//! of a release.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use model::oracle::tally::Tally;
use model::run::cell::{CellId, Inconclusive};
use model::run::change::{AgainstBase, BaseComparison, Fate};
use model::run::distinct::DistinctViolation;
use model::run::document::Document;
use model::run::group::Group;
use model::run::verdict::{Doubt, Failure, Judgement, Verdict};
use model::run::words::Sign;

use crate::report::text::plural;

/// The one-sentence summary printed after the verdict. `listed` says where the violations are listed, as in "listed
/// above".
#[must_use]
pub fn sentence(document: &Document, listed: &str) -> String {
    let Judgement { verdict, advice, .. } = &document.judgement;
    let known = known_kinds(document);
    let baseline = document.baseline.as_ref().filter(|_| *verdict != Verdict::Inconclusive);
    let said = match verdict {
        _ if let Some(baseline) = baseline => against_base(document, baseline),
        Verdict::Pass if known == 0 => unharmed(document),
        Verdict::Pass => {
            let kinds = [plural(known, "kind"), listed.to_owned()].into_iter().filter(|part| !part.is_empty());
            format!("nothing new; {}, as known ({})", known_effects(document), kinds.collect::<Vec<_>>().join(", "))
        }
        Verdict::Fail => failed(document, known),
        Verdict::Inconclusive => {
            let mut doubts = doubts(document);
            match (doubts.pop(), doubts.len()) {
                (Some(only), 0) => format!("nothing new broke, but {only}"),
                (Some(_), more) => format!("nothing new broke, but it proves too little, for {} reasons", more + 1),
                (None, _) => "nothing new broke".to_owned(),
            }
        }
    };
    let remarks =
        [("undecided", "comparison"), ("unconfirmed", "measurement")].into_iter().filter_map(|(name, noun)| {
            let count = advice.iter().filter(|advice| advice.name() == name).count();
            (count > 0).then(|| format!("; {} {name}", plural(count, noun)))
        });
    remarks.fold(said, |said, remark| said + &remark)
}

/// The lines below the sentence: what broke, why the run proves too little, and the known failures unless the verdict
/// is pass.
#[must_use]
pub fn grounds(document: &Document) -> Vec<String> {
    let Judgement { verdict, failures, .. } = &document.judgement;
    let mut grounds: Vec<String> =
        document.grouped().iter().filter(|group| group.fails).map(|group| broke(document, group)).collect();
    let undescribed = failures.iter().filter(|failure| matches!(failure, Failure::Undescribed { .. }));
    grounds.extend(undescribed.map(ToString::to_string));
    let doubts = doubts(document);
    // A single doubt is already part of the sentence.
    if *verdict == Verdict::Fail || doubts.len() > 1 {
        grounds.extend(doubts);
    }
    if *verdict != Verdict::Pass && !document.strict && document.baseline.is_none() && known_kinds(document) > 0 {
        grounds.push(format!("as known, {}", known_effects(document)));
    }
    grounds
}

/// How the run differs from its base.
fn against_base(document: &Document, baseline: &BaseComparison) -> String {
    let comparison = &baseline.comparison;
    let new = comparison.failing().count();
    let said = match new {
        0 => "nothing new in this change".to_owned(),
        1 => "1 kind of failure is new in this change".to_owned(),
        new => format!("{new} kinds of failure are new in this change"),
    };
    let others = [
        (comparison.count(Fate::StillThere), "also in the base"),
        (
            comparison.changes.iter().filter(|change| change.against_base() == AgainstBase::NotProved).count(),
            "unproved",
        ),
        (comparison.count(Fate::Gone), "gone"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let others = others.collect::<Vec<_>>().join(", ");
    let schedules: u64 = comparison.failing().map(|change| change.schedules).sum();
    let schedules = match schedules {
        0 => String::new(),
        1 => "; 1 schedule passed on the base and fails now".to_owned(),
        more => format!("; {more} schedules passed on the base and fail now"),
    };
    match (others.is_empty(), document.violations.is_empty()) {
        (true, true) => format!("{said}: {}", unharmed(document)),
        (true, false) => format!("{said}{schedules}"),
        (false, _) => format!("{said} ({others}){schedules}"),
    }
}

/// What a group of violations is, and the builds that show it.
pub(super) fn broke(document: &Document, group: &Group) -> String {
    format!("{}; on {}", group.headline, places(document, &group.rows))
}

/// Impossible stacks from a live walker are not violations by themselves, but the sentence still counts them.
fn unharmed(document: &Document) -> String {
    let sum = |count: fn(&Tally) -> u64| document.table.iter().map(|line| count(&line.tally)).sum::<u64>();
    match (sum(|tally| tally.samples), sum(Tally::impossible)) {
        (samples, 0) => format!("nothing wrong in {samples} samples"),
        (samples, impossible) => format!(
            "no violation in {samples} samples ({impossible} impossible, but not provably more with a cache than without)"
        ),
    }
}

fn failed(document: &Document, known: usize) -> String {
    let undescribed =
        document.judgement.failures.iter().filter(|failure| matches!(failure, Failure::Undescribed { .. })).count();
    let new = document.violations.iter().filter(|violation| violation.known.is_none()).count() + undescribed;
    let causes = document.grouped().iter().filter(|group| group.fails).count() + undescribed;
    let kinds = |count: usize, which: &str| match count {
        1 => format!("1 {which} kind of failure"),
        count => format!("{count} {which} kinds of failure"),
    };
    let with_causes = match (new, causes) {
        (..2, _) => String::new(),
        (_, 1) => ", probably of one cause".to_owned(),
        (new, causes) if causes < new => format!(", probably of {causes} causes"),
        _ => String::new(),
    };
    match (new, known, document.strict) {
        (0, known, _) => format!("nothing new, but {}, and --strict excuses none", kinds(known, "known")),
        (new, 0, _) => format!("{}{with_causes}", kinds(new, "new")),
        (new, known, true) => format!("{} (and {known} known, which --strict does not excuse)", kinds(new, "new")),
        (new, known, false) => format!("{}{with_causes} (and {known} known)", kinds(new, "new")),
    }
}

fn known_kinds(document: &Document) -> usize {
    document.violations.iter().filter(|violation| violation.known.is_some()).count()
}

/// The effect of the known failures on a row, mildest first. If a row has several, the last variant is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// Only this project's own walkers return wrong stacks.
    OwnWalkers,
    /// A field has a wrong value.
    Fields,
    /// The reads and writes of a profiler do not match its answers.
    Costs,
    /// A profiler crashes or hangs.
    Deaths,
    /// CPython's walkers return wrong stacks.
    WrongStacks,
}

impl Effect {
    fn of(violation: &DistinctViolation) -> Self {
        match (Sign::of(&violation.first.violation), violation.first.walker.is_cpythons()) {
            (Sign::WrongStack, true) => Self::WrongStacks,
            (Sign::Died, _) => Self::Deaths,
            (Sign::Cost, _) => Self::Costs,
            (Sign::WrongStack | Sign::HitMissed | Sign::NotWritten, false) => Self::OwnWalkers,
            (Sign::HitMissed | Sign::NotWritten, true) | (Sign::Miscounted | Sign::OffChain | Sign::LeftBehind, _) => {
                Self::Fields
            }
        }
    }

    fn say(self, places: &str, several: bool) -> String {
        match (self, several) {
            (Self::WrongStacks, false) => format!("{places} returns wrong stacks"),
            (Self::WrongStacks, true) => format!("{places} return wrong stacks"),
            (Self::Deaths, _) => format!("a profiler of {places} dies or hangs"),
            (Self::Costs, _) => format!("what a profiler of {places} reads and writes does not fit to its answers"),
            (Self::Fields, false) => format!("{places} leaves last_profiled_frame where it should not be"),
            (Self::Fields, true) => format!("{places} leave last_profiled_frame where it should not be"),
            (Self::OwnWalkers, _) => format!("framediff's own walkers return wrong stacks on {places}"),
        }
    }
}

/// The worst known effect of each affected row, worst first.
fn known_effects(document: &Document) -> String {
    let mut worst: BTreeMap<&str, Effect> = BTreeMap::new();
    for violation in document.violations.iter().filter(|violation| violation.known.is_some()) {
        for row in &violation.rows {
            let effect = worst.entry(row).or_insert(Effect::of(violation));
            *effect = (*effect).max(Effect::of(violation));
        }
    }
    let mut rows: BTreeMap<Effect, BTreeSet<String>> = BTreeMap::new();
    for (row, effect) in worst {
        rows.entry(effect).or_default().insert(row.to_owned());
    }
    let said = rows.iter().rev().map(|(effect, rows)| {
        let places = named(document, rows);
        effect.say(&join(&places), places.len() > 1)
    });
    said.collect::<Vec<_>>().join(", ")
}

fn places(document: &Document, rows: &BTreeSet<String>) -> String {
    join(&named(document, rows))
}

/// The names of `rows` in report order. If every row of a version is affected, the version is named instead.
fn named(document: &Document, rows: &BTreeSet<String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for build in document.builds.iter().filter(|build| rows.contains(&build.name)) {
        let mut version = document.builds.iter().filter(|other| other.version == build.version);
        let is_whole = !build.version.is_empty() && version.all(|other| rows.contains(&other.name));
        let name = if is_whole { &build.version } else { &build.name };
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let unplanned = rows.iter().filter(|row| !document.builds.iter().any(|build| build.name == **row));
    names.extend(unplanned.cloned());
    names
}

fn join(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// The reasons why the run is inconclusive. Programs that ended for the same reason share an entry. Programs that did
/// not run are only counted, because the report lists them.
fn doubts(document: &Document) -> Vec<String> {
    let doubts = &document.judgement.doubts;
    let mut said: Vec<String> = doubts.iter().filter_map(in_words).collect();
    let mut ended: Vec<(&CellId, &Inconclusive, Vec<&str>)> = Vec::new();
    for doubt in doubts {
        let Doubt::Inconclusive { cell, why } = doubt else { continue };
        let same = |(other, reason, _): &&mut (&CellId, &Inconclusive, Vec<&str>)| {
            (&other.row, other.lane, discriminant(*reason)) == (&cell.row, cell.lane, discriminant(why))
        };
        match ended.iter_mut().find(same) {
            Some((.., families)) => families.push(&cell.family),
            None => ended.push((cell, why, vec![&cell.family])),
        }
    }
    said.extend(ended.into_iter().map(|(CellId { row, lane, .. }, why, families)| {
        let programs = plural(families.len(), "program");
        let first = if families.len() > 1 { " (the first of them)" } else { "" };
        format!("{programs} on {row} ({lane} lane) ended without a result: {}: {why}{first}", families.join(", "))
    }));
    match doubts.iter().filter(|doubt| matches!(doubt, Doubt::NotRun { .. })).count() {
        0 => {}
        unrun => said.push(format!("{} of the plan did not run", plural(unrun, "program"))),
    }
    said
}

/// A doubt about the whole run or about a walker. `doubts` merges the doubts about single programs.
fn in_words(doubt: &Doubt) -> Option<String> {
    Some(match doubt {
        Doubt::NotRun { .. } | Doubt::Inconclusive { .. } => return None,
        Doubt::Interrupted
        | Doubt::Unfinished
        | Doubt::BaseNotTested { .. }
        | Doubt::NothingRan
        | Doubt::NotSeen { .. }
        | Doubt::ShardsMissing { .. } => doubt.to_string(),
        Doubt::NoStacks { row, lane, walker } => format!("{walker} returned not one stack on {row} ({lane} lane)"),
        Doubt::NothingToCompare { row, walker } => {
            format!("there is no stack without a cache that {walker} on {row} (live lane) could be compared with")
        }
        Doubt::Vacuous { row, lane, walker, missing } => format!(
            "the cache of {walker} was not tested on {row} ({lane} lane): no {}, so that the run is vacuous",
            missing.join(", no ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use framewalk::sample::WalkerKind;
    use model::invariants::Violation;
    use model::lane::Lane;
    use model::oracle::cause::Cause;
    use model::run::cell::{CellId, CellOutcome, NotRun};
    use model::run::event::Event;
    use model::run::finding::Finding;
    use model::run::fixtures::{ROW, cache_worse, cell, finding, row, run, summary, with_tally};

    use super::*;

    fn document(events: &[Event], strict: bool) -> Document {
        let mut document = Document::from(&summary(events, strict));
        let mut debug = row();
        debug.name = "3.15.2 debug".into();
        document.builds.push(debug);
        document
    }

    fn of(findings: Vec<Finding>) -> Document {
        document(&run(findings.into_iter().map(|finding| Event::Violation(Box::new(finding))).collect()), false)
    }

    fn on(row: &str, finding: Finding) -> Finding {
        Finding { row: row.into(), ..finding }
    }

    fn dead_shim() -> Finding {
        let violation = Violation::AnchorOnDeadShim { anchor: 8 };
        Finding { lane: Lane::Stopped, violation, cause: None, ..finding() }
    }

    #[test]
    fn a_pass_names_everything_that_is_known_of_each_row() {
        let known = |row| on(row, cache_worse("stale-full-hit"));
        let own = Finding { walker: WalkerKind::OwnCached, ..known(ROW) };
        for (findings, expected) in [
            (vec![], "nothing wrong in 80000 samples"),
            (vec![known(ROW)], "nothing new; 3.15.2 release JIT returns wrong stacks, as known (1 kind, listed above)"),
            (
                vec![known(ROW), known("3.15.2 debug")],
                "nothing new; 3.15.2 returns wrong stacks, as known (1 kind, listed above)",
            ),
            (
                vec![own],
                "nothing new; framediff's own walkers return wrong stacks on 3.15.2 release JIT, as known (1 kind, listed above)",
            ),
            (
                vec![on("3.15.2 debug", dead_shim()), known(ROW), dead_shim()],
                "nothing new; 3.15.2 release JIT returns wrong stacks, 3.15.2 debug leaves last_profiled_frame where it \
                 should not be, as known (2 kinds, listed above)",
            ),
        ] {
            let document = of(findings);
            assert_eq!(document.judgement.verdict, Verdict::Pass);
            assert_eq!(sentence(&document, "listed above"), expected);
            assert_eq!(grounds(&document), [""; 0], "a pass is one sentence");
        }
    }

    #[test]
    fn impossible_stacks_that_decide_nothing_are_named_all_the_same() {
        let mut tally = Tally::default();
        tally.count_impossible(Cause::TornRead);
        let event = Event::Samples { cell: cell(Lane::Live), walker: WalkerKind::CpythonUncached, tally };
        let document = document(&run(vec![event]), false);
        assert_eq!(document.judgement.verdict, Verdict::Pass);
        let expected = "no violation in 80000 samples (1 impossible, but not provably more with a cache than without)";
        assert_eq!(sentence(&document, ""), expected);
    }

    #[test]
    fn a_failure_says_how_many_are_new_and_what_broke_where() {
        let own = Finding { walker: WalkerKind::OwnReference, ..finding() };
        let known = cache_worse("stale-full-hit");
        let one = of(vec![finding()]);
        assert_eq!(sentence(&one, ""), "1 new kind of failure");
        let all = of(vec![finding(), own, known.clone()]);
        assert_eq!(sentence(&all, ""), "2 new kinds of failure, probably of one cause (and 1 known)");
        assert_eq!(
            grounds(&all),
            [
                "probably the interpreter, or the protocol itself: cpython-cached returns stacks that mix two branches of the \
                 program; on 3.15.2 release JIT",
                "as known, 3.15.2 release JIT returns wrong stacks"
            ]
        );
        let strict = document(&run(vec![Event::Violation(Box::new(known))]), true);
        assert_eq!(sentence(&strict, ""), "nothing new, but 1 known kind of failure, and --strict excuses none");
    }

    #[test]
    fn wrong_samples_that_nothing_describes_are_a_kind_of_failure() {
        let tally = Tally { differences: 4, ..model::run::fixtures::tally() };
        let document = document(&with_tally(Lane::Stopped, WalkerKind::CpythonCached, &tally), false);
        assert_eq!(sentence(&document, ""), "1 new kind of failure");
        assert!(grounds(&document)[0].contains("4 wrong samples"), "{:?}", grounds(&document));
    }

    #[test]
    fn programs_that_ended_for_one_reason_are_one_doubt() {
        let ended = |family: &str, why| Event::CellFinished {
            cell: CellId { family: family.into(), ..cell(Lane::Live) },
            outcome: CellOutcome::Inconclusive(why),
        };
        let late = |text: &str| Inconclusive::Deadline(text.into());
        let gone = Inconclusive::TargetEnded("signal 11".into());
        let events = vec![ended("deep", late("a")), ended("threads", gone), ended("recursion", late("b"))];
        assert_eq!(
            grounds(&document(&run(events), false)),
            [
                "2 programs on 3.15.2 release JIT (live lane) ended without a result: deep, recursion: deadline passed: a (the \
                 first of them)",
                "1 program on 3.15.2 release JIT (live lane) ended without a result: threads: the target ended early: signal 11"
            ]
        );
    }

    #[test]
    fn what_proves_too_little_says_why() {
        let unrun = |family: &str| Event::CellFinished {
            cell: CellId { family: family.into(), ..cell(Lane::Live) },
            outcome: CellOutcome::NotRun(NotRun::BudgetSpent),
        };
        let one = document(&run(vec![unrun("deep"), unrun("threads")]), false);
        assert_eq!(sentence(&one, ""), "nothing new broke, but 2 programs of the plan did not run");
        assert_eq!(grounds(&one), [""; 0]);

        let tally = Tally { full_hits: 0, ..model::run::fixtures::tally() };
        let mut events = with_tally(Lane::Stopped, WalkerKind::CpythonCached, &tally);
        events.insert(1, unrun("deep"));
        events.insert(1, Event::Violation(Box::new(cache_worse("stale-full-hit"))));
        let several = document(&events, false);
        assert_eq!(sentence(&several, ""), "nothing new broke, but it proves too little, for 2 reasons");
        assert_eq!(
            grounds(&several),
            [
                "the cache of cpython-cached was not tested on 3.15.2 release JIT (stopped lane): no full hit, so that the run \
                 is vacuous",
                "1 program of the plan did not run",
                "as known, 3.15.2 release JIT returns wrong stacks"
            ]
        );
    }
}
