//! What a verdict says, in words: what is behind `verdict: pass`, `verdict: fail` and `verdict: inconclusive`.
//!
//! Somebody who has never seen this project reads this and nothing else. So it names what broke and where, does not call CPython
//! wrong for what only this project's walkers show, and does not let "pass" hide what a release is known to get wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::group::{self, Group};
use crate::report::json::Document;
use crate::report::summary::DistinctViolation;
use crate::report::text::plural;
use crate::report::verdict::{Doubt, Failure, Judgement, Verdict};
use crate::report::words::Sign;

/// The verdict in a sentence, to stand behind its word. `listed` tells where the reader finds the violations: "listed above".
#[must_use]
pub fn sentence(document: &Document, listed: &str) -> String {
    let Judgement { verdict, advice, .. } = &document.judgement;
    let known = known_kinds(document);
    let said = match verdict {
        Verdict::Pass if known == 0 => {
            let samples: u64 = document.table.iter().map(|line| line.tally.samples).sum();
            format!("nothing wrong in {samples} samples")
        }
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
    match advice.len() {
        0 => said,
        undecided => format!("{said}; {} undecided", plural(undecided, "comparison")),
    }
}

/// What there is to say below the sentence: what broke, why it proves too little, and what is known if the verdict is another.
#[must_use]
pub fn grounds(document: &Document) -> Vec<String> {
    let Judgement { verdict, failures, .. } = &document.judgement;
    let mut grounds: Vec<String> = group::of(document).iter().filter(|group| group.fails).map(new(document)).collect();
    let undescribed = failures.iter().filter(|failure| matches!(failure, Failure::Undescribed { .. }));
    grounds.extend(undescribed.map(ToString::to_string));
    let doubts = doubts(document);
    // The only doubt is in the sentence.
    if *verdict == Verdict::Fail || doubts.len() > 1 {
        grounds.extend(doubts);
    }
    if *verdict != Verdict::Pass && !document.strict && known_kinds(document) > 0 {
        grounds.push(format!("as known, {}", known_effects(document)));
    }
    grounds
}

fn new(document: &Document) -> impl Fn(&Group) -> String {
    |group| format!("{}; on {}", group.headline, places(document, &group.rows))
}

fn failed(document: &Document, known: usize) -> String {
    let undescribed =
        document.judgement.failures.iter().filter(|failure| matches!(failure, Failure::Undescribed { .. })).count();
    let new = document.violations.iter().filter(|violation| violation.known.is_none()).count() + undescribed;
    let causes = group::of(document).iter().filter(|group| group.fails).count() + undescribed;
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

/// The worst of what is known of a row: the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// This project's walkers alone return wrong stacks.
    OwnWalkers,
    /// A field is not what it should be.
    Fields,
    /// CPython's walkers return wrong stacks.
    WrongStacks,
}

impl Effect {
    fn of(violation: &DistinctViolation) -> Self {
        match (Sign::of(&violation.first.violation), violation.first.walker.is_cpythons()) {
            (Sign::WrongStack, true) => Self::WrongStacks,
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
            (Self::Fields, false) => format!("{places} leaves last_profiled_frame where it should not be"),
            (Self::Fields, true) => format!("{places} leave last_profiled_frame where it should not be"),
            (Self::OwnWalkers, _) => format!("framediff's own walkers return wrong stacks on {places}"),
        }
    }
}

/// What is known of each row that shows it, the worst first.
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

/// Rows by their names, in the order of the report; all rows of a version are that version.
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

/// Why nothing can be concluded; cells that did not run are counted, since the report lists them.
fn doubts(document: &Document) -> Vec<String> {
    let doubts = &document.judgement.doubts;
    let mut said: Vec<String> = doubts.iter().filter_map(in_words).collect();
    match doubts.iter().filter(|doubt| matches!(doubt, Doubt::NotRun { .. })).count() {
        0 => {}
        unrun => said.push(format!("{} of the plan did not run", plural(unrun, "cell"))),
    }
    said
}

fn in_words(doubt: &Doubt) -> Option<String> {
    Some(match doubt {
        Doubt::NotRun { .. } => return None,
        Doubt::Interrupted | Doubt::Unfinished | Doubt::NothingRan | Doubt::ShardsMissing { .. } => doubt.to_string(),
        Doubt::Inconclusive { cell, why } => format!("{cell} ended without a result: {why}"),
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
