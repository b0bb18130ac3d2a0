//! Judges a run of `check` against its base: the same run on the build that a change is compared with.

use std::collections::BTreeMap;

use framewalk::sample::WalkerKind;

use crate::lane::Lane;
use crate::run::bounds::LiveBounds;
use crate::run::cell::Row;
use crate::run::change::{AgainstBase, BaseComparison, Change, ReportComparison};
use crate::run::comparison::{self, ComparableReport, undescribed_key};
use crate::run::distinct::DistinctViolation;
use crate::run::document::Document;
use crate::run::verdict::{Doubt, Failure, Judgement, LineVerdict};

/// Why a base with these builds cannot be compared with a run on `rows`: each row needs one of its kind in the base.
#[must_use]
pub fn mismatches(rows: &[Row], base: &[Row]) -> Vec<String> {
    let lacks = |row: &&Row| !base.iter().any(|other| comparison::kind(other) == comparison::kind(row));
    let there: Vec<String> = base.iter().map(|row| format!("{} ({})", row.name, comparison::kind(row))).collect();
    let there = if there.is_empty() { "nothing".to_owned() } else { there.join("; ") };
    let said = |row: &Row| {
        let kind = comparison::kind(row);
        format!("{} is {kind}, and the base has no such build or run mode, only {there}", row.name)
    };
    rows.iter().filter(lacks).map(said).collect()
}

impl Document {
    /// Judges the run against its base: only what the base does not show fails. `base` names it in reports, and `before`
    /// is its document. If the base was not tested, the run is inconclusive at best.
    pub fn judge_against(&mut self, base: &str, before: &Self, bounds: &LiveBounds) {
        let (old, new) = (ComparableReport::of_check(before), ComparableReport::of_check(self));
        let mut comparison = comparison::compare(&old, &new, bounds);
        let mut untested = mismatches(&self.builds, &before.builds);
        if let (Some(now), Some(then)) = (&self.architecture, &before.architecture)
            && now != then
        {
            untested.push(format!("it ran on a machine of another architecture, {then}, and this one is {now}"));
        }
        if before.seed != self.seed {
            untested.push(format!("it ran with the seed {}, this run with {}", before.seed, self.seed));
        }
        let is_comparable = untested.is_empty();
        for change in &mut comparison.changes {
            // Where the base did not look, nothing is new.
            let unseen = change.places.iter().all(|place| comparison.ran_now_only.contains(place));
            change.fails &= is_comparable && !unseen;
        }
        untested.extend(old.doubts);
        if untested.is_empty() && !comparison.ran_now_only.is_empty() {
            let first = comparison.ran_now_only.iter().next().cloned().unwrap_or_default();
            let count = comparison.ran_now_only.len();
            untested.push(format!("it has no result for {first} ({count} such places in all)"));
        }
        let fates: BTreeMap<&str, AgainstBase> =
            comparison.changes.iter().map(|change| (change.fingerprint.as_str(), change.against_base())).collect();
        for violation in &mut self.violations {
            let (_, key) = comparison::key(violation);
            violation.against_base = fates.get(key.as_str()).copied();
        }
        let is_new = |failure: &Failure| {
            let key = undescribed_key(failure).map(|(row, name)| format!("{name} ({row})"));
            key.is_none_or(|key| fates.get(key.as_str()).is_none_or(|fate| *fate == AgainstBase::New))
        };
        let undescribed = self.judgement.failures.iter().filter(|one| matches!(one, Failure::Undescribed { .. }));
        let undescribed: Vec<Failure> = undescribed.filter(|failure| is_new(failure)).cloned().collect();
        self.baseline = Some(BaseComparison { base: base.to_owned(), builds: before.builds.clone(), comparison });
        self.judge_lines(&undescribed);

        let failing = self.violations.iter().filter(|violation| violation.fails(self.strict));
        let mut failures: Vec<Failure> =
            failing.map(|violation| Failure::Violation { fingerprint: violation.fingerprint.clone() }).collect();
        failures.extend(undescribed);
        let untested: Vec<Doubt> = untested.into_iter().map(|why| Doubt::BaseNotTested { why }).collect();
        let Judgement { mut doubts, advice, .. } = self.judgement.clone();
        doubts.extend(untested);
        self.judgement = Judgement::new(failures, doubts, advice);
        self.groups = self.grouped();
    }

    /// The change of a violation against the base.
    #[must_use]
    pub fn change_of(&self, violation: &DistinctViolation) -> Option<&Change> {
        let (_, key) = comparison::key(violation);
        self.baseline.as_ref()?.comparison.changes.iter().find(|change| change.fingerprint == key)
    }

    /// The commands that replay the schedules of a change that passed on the base and fail now.
    #[must_use]
    pub fn replays_of(&self, change: &Change) -> Vec<String> {
        let is_its = |violation: &&DistinctViolation| comparison::key(violation).1 == change.fingerprint;
        let replay = self.violations.iter().find(is_its).map(|violation| violation.first.replay.as_str());
        // The command of a failed schedule ends with its case.
        let start = replay.and_then(|replay| replay.rsplit_once(' ')).map_or("framediff replay", |(start, _)| start);
        change.cases.iter().map(|case| format!("{start} {case}")).collect()
    }

    /// Says that the run has no base to be judged against, for these reasons.
    pub fn lacks_base(&mut self, base: &str, why: &[String]) {
        let comparison = ReportComparison::default();
        self.baseline = Some(BaseComparison { base: base.to_owned(), builds: Vec::new(), comparison });
        let Judgement { failures, mut doubts, advice, .. } = self.judgement.clone();
        doubts.retain(|doubt| *doubt != Doubt::NothingRan);
        doubts.extend(why.iter().map(|why| Doubt::BaseNotTested { why: why.clone() }));
        self.judgement = Judgement::new(failures, doubts, advice);
    }

    /// Judges the lines of the table anew: of those with violations, only what is new fails.
    fn judge_lines(&mut self, undescribed: &[Failure]) {
        let is_of = |row: &str, lane: Lane, walker: WalkerKind, failure: &Failure| match failure {
            Failure::Violation { .. } => false,
            Failure::Undescribed { row: of, lane: in_lane, walker: by, .. } => {
                (of.as_str(), *in_lane, *by) == (row, lane, walker)
            }
        };
        for line in &mut self.table {
            match line.verdict {
                LineVerdict::Known | LineVerdict::Fail => {}
                LineVerdict::Pass
                | LineVerdict::Vacuous
                | LineVerdict::Inconclusive
                | LineVerdict::Undecided
                | LineVerdict::NotRun => continue,
            }
            let mut here = self.violations.iter().filter(|violation| {
                let first = &violation.first;
                (first.lane, first.walker) == (line.lane, line.walker) && violation.rows.contains(&line.row)
            });
            let fails = here.any(|violation| violation.fails(self.strict))
                || undescribed.iter().any(|failure| is_of(&line.row, line.lane, line.walker, failure));
            line.verdict = if fails { LineVerdict::Fail } else { LineVerdict::Known };
        }
    }
}
