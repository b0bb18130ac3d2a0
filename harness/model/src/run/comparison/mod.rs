//! Compares two reports: which failures are new, which remain, and which are gone.
//!
//! A failure is gone only if the part of the earlier run that showed it ran again. It is new even if the earlier run
//! could not have shown it. The unit of comparison is the *place* where something ran. For `check` it is row, lane,
//! family and walker; for a search of schedules, all its bounds; for a mutant, row and name (a mutant fails by
//! surviving).
//!
//! A failure fails the comparison only if the earlier run proves that it is new:
//!
//! - It is not known, and no place of the earlier run shows it.
//! - It is known, or the earlier run has it elsewhere, and it is now in a place where the earlier run did not show it. In
//!   the live lane the rates of both places must differ by more than the margins of [`LiveBounds`]. In the stopped lane a
//!   known failure must be too frequent to have been missed by chance, because not every stop is at a gate. Known
//!   failures that are seen by luck never count. Those of schedules count only if the schedules are the same ones.
//! - A schedule that passed fails now: the same moves of the target, after the same accesses of the profilers.
//! - Where both runs took the same set of schedules in a search, more of them fail.
//!
//! What is merely more frequent is advice. Whatever the later report leaves open prevents a pass.

mod comparable;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use comparable::{ComparableReport, FailureFound, Key, RanPlace};
pub(in crate::run) use comparable::{key, kind, undescribed_key};

use crate::oracle::proportion::Proportion;
use crate::oracle::statistics::Demand;
use crate::oracle::tally::Tally;
use crate::run::bounds::LiveBounds;
use crate::run::change::{Change, Fate, ReportComparison};
use crate::run::schedules::ScheduleId;

/// The confidence that rates differ, over all comparisons.
const CONFIDENCE: f64 = 0.9999;
/// At most this many cases are kept of the schedules that fail in the same way; the shortest.
const MOST_CASES: usize = 5;

/// Compares two reports of the same verb. The margins of `bounds` say when two rates of the live lane differ.
#[must_use]
pub fn compare(old: &ComparableReport, new: &ComparableReport, bounds: &LiveBounds) -> ReportComparison {
    let comparison = Comparison::new(old, new, bounds);
    let ran_before = &comparison.ran_before;
    let keys: BTreeSet<&Key> = comparison.found_before.keys().chain(new.found.keys()).collect();
    let mut changes: Vec<Change> = keys.into_iter().filter_map(|key| comparison.change(key)).collect();
    changes.sort_by(|left, right| (left.fate, &left.fingerprint).cmp(&(right.fate, &right.fingerprint)));
    ReportComparison {
        changes,
        ran_before_only: shown(ran_before.difference(&new.ran)),
        ran_now_only: shown(new.ran.difference(ran_before)),
        ran_both: ran_before.intersection(&new.ran).count(),
        doubts: new.doubts.clone(),
        renamed: comparison.renamed.clone(),
    }
}

fn shown<'a>(places: impl Iterator<Item = &'a RanPlace>) -> BTreeSet<String> {
    places.map(|(row, rest)| format!("{row}, {rest}")).collect()
}

/// Two reports. The places of the earlier one have the row names of the later one.
struct Comparison<'a> {
    new: &'a ComparableReport,
    bounds: &'a LiveBounds,
    /// The error that the bound of one rate may have.
    error: f64,
    renamed: BTreeMap<String, String>,
    ran_before: BTreeSet<RanPlace>,
    schedules_before: BTreeMap<RanPlace, &'a String>,
    passed_before: BTreeMap<RanPlace, &'a BTreeSet<ScheduleId>>,
    tallies_before: BTreeMap<RanPlace, &'a Tally>,
    found_before: BTreeMap<Key, (&'a FailureFound, BTreeSet<RanPlace>)>,
}

impl<'a> Comparison<'a> {
    fn new(old: &'a ComparableReport, new: &'a ComparableReport, bounds: &'a LiveBounds) -> Self {
        let renamed = renamed(&old.rows, &new.rows);
        let now = |(row, rest): &RanPlace| (renamed.get(row).unwrap_or(row).clone(), rest.clone());
        let found = old.found.iter().map(|(key, found)| (now(key), (found, found.places.iter().map(now).collect())));
        Self {
            new,
            bounds,
            error: Demand::new(CONFIDENCE, new.tallies.len() as u64).error_per_bound(),
            ran_before: old.ran.iter().map(now).collect(),
            schedules_before: old.schedules.iter().map(|(place, text)| (now(place), text)).collect(),
            passed_before: old.passed.iter().map(|(place, passed)| (now(place), passed)).collect(),
            tallies_before: old.tallies.iter().map(|(place, tally)| (now(place), tally)).collect(),
            found_before: found.collect(),
            renamed,
        }
    }

    fn change(&self, key: &Key) -> Option<Change> {
        let before = self.found_before.get(key);
        let Some(after) = self.new.found.get(key) else {
            let (before, places) = before?;
            let fate = if !places.iter().all(|place| self.new.ran.contains(place)) {
                Fate::NotLookedFor
            } else if before.rate.as_ref().is_some_and(|what| !self.is_less(what, places)) {
                Fate::StillThere
            } else {
                Fate::Gone
            };
            return Some(change(key, fate, before.known.as_ref(), [before.count, 0], shown(places.iter())));
        };
        let old_places = before.map(|(_, places)| places);
        let added = after.places.iter().filter(|place| old_places.is_none_or(|old| !old.contains(*place)));
        let added: BTreeSet<&RanPlace> = added.filter(|place| self.ran_before.contains(*place)).collect();
        // What the base shows nowhere is judged in all places together.
        let proved = match before {
            None if self.is_proved(after, &added, false) => added,
            None => BTreeSet::new(),
            Some(_) => added.into_iter().filter(|place| self.is_proved(after, &[*place].into(), true)).collect(),
        };
        let mut cases: Vec<&String> = after
            .schedules
            .iter()
            .filter(|(place, failed)| self.passed_before.get(place).is_some_and(|passed| passed.contains(&failed.id)))
            .map(|(_, failed)| &failed.case)
            .collect();
        cases.sort_by_key(|case| (case.len(), *case));
        let looked = after.places.iter().any(|place| self.ran_before.contains(place));
        let (fate, fails) = match before {
            // The earlier run looked nowhere, so only what is not known is new.
            None => (Fate::New, !proved.is_empty() || !cases.is_empty() || (!looked && after.known.is_none())),
            Some(_) if !proved.is_empty() => (Fate::New, true),
            Some((before, places)) => {
                let mut all = places.iter().chain(&after.places);
                let more = after.count > before.count && all.all(|place| self.is_same_set(place));
                let worse = !cases.is_empty() || more;
                (if worse { Fate::Worse } else { Fate::StillThere }, worse)
            }
        };
        let places = if proved.is_empty() { shown(after.places.iter()) } else { shown(proved.into_iter()) };
        let counts = [before.map_or(0, |(before, _)| before.count), after.count];
        Some(Change {
            fails,
            schedules: cases.len() as u64,
            cases: cases.into_iter().take(MOST_CASES).cloned().collect(),
            ..change(key, fate, after.known.as_ref(), counts, places)
        })
    }

    /// Whether the earlier run, which ran at these places, proves that a failure is new there. `elsewhere`: it shows the
    /// failure at another one.
    fn is_proved(&self, found: &FailureFound, places: &BTreeSet<&RanPlace>, elsewhere: bool) -> bool {
        if places.is_empty() {
            return false;
        }
        if let Some(what) = &found.rate {
            return places.iter().any(|place| {
                let both = self.tallies_before.get(*place).zip(self.new.tallies.get(*place));
                both.is_some_and(|(before, now)| self.bounds.is_beyond(what, now, before, self.error))
            });
        }
        let is_of_schedules =
            !found.schedules.is_empty() || places.iter().any(|place| self.new.schedules.contains_key(*place));
        if is_of_schedules && (found.known.is_some() || elsewhere) {
            // Which of other schedules show it is chance.
            return places.iter().any(|place| self.is_same_set(place));
        }
        found.known.is_none() || (!found.by_chance && self.is_more(found, places))
    }

    /// Whether a rate of the live lane is lower at all these places than in the earlier run. That one run counts it among
    /// the failures and another does not is chance.
    fn is_less(&self, what: &str, places: &BTreeSet<RanPlace>) -> bool {
        places.iter().all(|place| {
            let both = self.tallies_before.get(place).zip(self.new.tallies.get(place));
            both.is_some_and(|(before, now)| LiveBounds::is_less(what, now, before, self.error))
        })
    }

    /// Whether a failure that the earlier run did not show at these places is too frequent there to have been missed by
    /// chance: not every stop is at a gate.
    fn is_more(&self, found: &FailureFound, places: &BTreeSet<&RanPlace>) -> bool {
        let samples = |tally: Option<&Tally>| tally.map_or(0, |tally| tally.samples);
        let (mut count, mut now, mut before) = (0, 0, 0);
        for place in places {
            count += found.counts.get(*place).copied().unwrap_or(0);
            now += samples(self.new.tallies.get(*place));
            before += samples(self.tallies_before.get(*place).copied());
        }
        Proportion::new(count, now).at_least(self.error) > Proportion::new(0, before).at_most(self.error)
    }

    /// Whether both runs took the same, complete set of schedules at a place.
    fn is_same_set(&self, place: &RanPlace) -> bool {
        self.new.schedules.get(place).is_some_and(|text| self.schedules_before.get(place) == Some(&text))
    }
}

fn change(key: &Key, fate: Fate, known: Option<&String>, counts: [u64; 2], places: BTreeSet<String>) -> Change {
    let (row, name) = key;
    let [old_count, new_count] = counts;
    Change {
        fate,
        fingerprint: if row.is_empty() { name.clone() } else { format!("{name} ({row})") },
        known: known.cloned(),
        old_count,
        new_count,
        places,
        fails: false,
        schedules: 0,
        cases: Vec::new(),
    }
}

/// Matches rows whose name exists in only one of the reports, for example the next version of the same build. Two such
/// rows match if each is the only one of its kind in its report.
fn renamed(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let lone = |rows: &BTreeMap<String, String>, others: &BTreeMap<String, String>, kind: &String| {
        let mut names = rows.iter().filter(|(name, its)| *its == kind && !others.contains_key(*name));
        let name = names.next().map(|(name, _)| name.clone());
        name.filter(|_| names.next().is_none())
    };
    let kinds: BTreeSet<&String> = old.values().collect();
    kinds.into_iter().filter_map(|kind| Some((lone(old, new, kind)?, lone(new, old, kind)?))).collect()
}
