//! Bounds for every build in the live lane, taken from what the released builds were seen to do.
//!
//! In the live lane, zero tolerance is impossible: CPython's walkers read a target that moves. Instead there are
//! bounds. For each family and walker, they record the largest share of each cause of impossible stacks and of each
//! reason for rejections that the released builds showed, and the smallest share of hits. Shares are shares of episodes
//! (see [`crate::oracle::episodes`]), so they depend little on the load of the machine. A violation is reported when
//! the confidence bound of a share exceeds the recorded bound and its margin. A few samples are therefore never enough,
//! and a share beyond the margin is never excused.

use std::collections::{BTreeMap, BTreeSet};

use framewalk::rejection::RAISED;
use framewalk::sample::WalkerKind;
use semver::VersionReq;
use serde::{Deserialize, Serialize};

use crate::invariants::Violation;
use crate::oracle::cause::Cause;
use crate::oracle::proportion::Proportion;
use crate::oracle::statistics::Demand;
use crate::oracle::tally::Tally;
use crate::run::version::PythonVersion;

/// The bounds of all families and walkers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveBounds {
    /// How far a walker may exceed what was seen.
    #[serde(default)]
    margin: Margin,
    /// What was seen over all families of a row.
    #[serde(default)]
    row: Option<RowBound>,
    /// What was seen, by family and walker.
    #[serde(default)]
    bound: Vec<Bound>,
}

/// How far a walker may exceed what was seen. The margin allows for other machines, and for other programs of the same
/// family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Margin {
    /// The releases that were measured. If one of them raises an error that was never seen, that error is new.
    versions: VersionReq,
    /// A share may be this many times the largest that was seen,
    times: f64,
    /// plus this much for torn reads. Their share depends so strongly on the machine that a row is also compared with
    /// framediff's own walker;
    torn: f64,
    /// plus this much for other impossible stacks;
    impossible: f64,
    /// plus this much for rejections, for each reason.
    rejected: f64,
    /// Over all families of a row, the share of rejected samples may grow by this fraction of its distance from one.
    rest: f64,
    /// The excess of the cached walker's rejections over the uncached one's may grow by this much.
    excess: f64,
    /// The excess of torn stacks over those of framediff's uncached walker may grow by this much.
    #[serde(default)]
    beyond_own: f64,
    /// The excess of stale stacks over those of framediff's cached walker may grow by this much.
    #[serde(default)]
    beyond_own_stale: f64,
    /// A share of hits must be at least this fraction of the smallest that was seen.
    part: f64,
    /// The cached walker must see at least this share of the changes of leaves that it and the uncached walker see
    /// together.
    #[serde(default)]
    changes: f64,
    /// Errors that the unwinders of these releases can raise, in addition to those that were seen. Each entry is a
    /// prefix of `Type: text` or of the text alone, with numbers written as `N`.
    #[serde(default)]
    raises: BTreeSet<String>,
}

impl Default for Margin {
    fn default() -> Self {
        Self {
            versions: VersionReq::STAR,
            times: 1.0,
            torn: 0.0,
            impossible: 0.0,
            rejected: 0.0,
            rest: 0.0,
            excess: 0.0,
            beyond_own: 0.0,
            beyond_own_stale: 0.0,
            part: 1.0,
            changes: 0.0,
            raises: BTreeSet::new(),
        }
    }
}

/// What one walker was seen to do with one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    /// The family's name.
    family: String,
    /// The walker that was measured.
    walker: WalkerKind,
    /// The largest share in one run, by cause of impossible stacks or reason for rejections.
    #[serde(default)]
    seen: BTreeMap<String, f64>,
    /// The smallest share of hits in one run, full and partial: see [`hits`]. Without it, no hits are required.
    #[serde(default)]
    hits: Option<f64>,
}

/// What CPython's walkers were seen to do over all families of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowBound {
    /// A row with fewer families is not judged.
    families: usize,
    /// The largest share of rejected samples over all reasons: see [`Tally::rejected_of_samples`].
    rejected: f64,
    /// The largest excess of that share with the cache over that without it, reached in at least half of the families:
    /// see [`RowPool::rejected_beyond_uncached`].
    excess: f64,
    /// The largest excess of the share of torn stacks over that of framediff's uncached walker, reached in at least
    /// half of the families: see [`RowPool::torn_beyond_own`].
    #[serde(default)]
    beyond_own: f64,
    /// The largest excess of the share of stale stacks over that of framediff's cached walker, reached in at least half
    /// of the families: see [`RowPool::stale_beyond_own`]. Without it, stale stacks are not judged over a row.
    #[serde(default)]
    beyond_own_stale: Option<f64>,
}

/// The counts of one row so far, by family.
#[derive(Clone, Debug, Default)]
pub struct RowPool {
    /// The counts of each family.
    pub families: BTreeMap<String, Beside>,
}

/// The counts of several walkers with one family, on processes that run the same programs.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// CPython's cached walker.
    pub cached: Tally,
    /// CPython's uncached walker.
    pub uncached: Tally,
    /// framediff's cached walker.
    pub own_cached: Tally,
    /// framediff's uncached walker.
    pub own_uncached: Tally,
}

impl RowPool {
    /// Adds a cell of CPython's walkers.
    pub fn add(&mut self, family: &str, cached: &Tally, uncached: &Tally) {
        let counted = self.families.entry(family.to_owned()).or_default();
        counted.cached += cached;
        counted.uncached += uncached;
    }

    /// Adds a cell of framediff's walkers.
    pub fn add_own(&mut self, family: &str, cached: &Tally, uncached: &Tally) {
        let counted = self.families.entry(family.to_owned()).or_default();
        counted.own_cached += cached;
        counted.own_uncached += uncached;
    }

    /// The share of samples that one walker rejected, over all families: see [`Tally::rejected_of_samples`].
    #[must_use]
    pub fn rejected(&self, walker: fn(&Beside) -> &Tally) -> Proportion {
        let mut sum = Tally::default();
        self.families.values().for_each(|counted| sum += walker(counted));
        sum.rejected_of_samples()
    }

    /// The cached walker's share of the changes of leaves that it and the uncached walker saw on the same targets at the
    /// same time, over all families.
    ///
    /// A cached walker is at least as fast as an uncached one, so it sees about as many changes. One that returns the
    /// same stack again and again sees none, and each of its stacks can be legal.
    #[must_use]
    pub fn changes(&self) -> Proportion {
        let sum = |walker: fn(&Beside) -> &Tally| -> u64 {
            self.families.values().map(|counted| walker(counted).leaf_changes).sum()
        };
        let cached = sum(|counted| &counted.cached);
        Proportion::new(cached, cached + sum(|counted| &counted.uncached))
    }

    /// The excess of the share of torn stacks over that of framediff's uncached walker, reached in at least half of the
    /// families. This is a lower bound: it is too large with a probability of at most `error`. Returns `None` if fewer
    /// than `families` families have enough samples.
    ///
    /// How often a target moves during a walk depends on the machine, its load, and the program. The first two affect
    /// framediff's walker as well. One noisy program does not move the median.
    #[must_use]
    pub fn torn_beyond_own(&self, walker: fn(&Beside) -> &Tally, families: usize, error: f64) -> Option<f64> {
        let torn = |tally: &Tally| tally.impossible_share(Cause::TornRead);
        self.beyond(|counted| [torn(walker(counted)), torn(&counted.own_uncached)], families, error)
    }

    /// The same for the stale stacks of CPython's cached walker and those of framediff's, which has the same protocol:
    /// see [`Tally::stale_share`].
    #[must_use]
    pub fn stale_beyond_own(&self, families: usize, error: f64) -> Option<f64> {
        self.beyond(|counted| [counted.cached.stale_share(), counted.own_cached.stale_share()], families, error)
    }

    /// The same for the rejections of CPython's cached walker and those of its uncached one, which runs on the same
    /// process at the same time: see [`Tally::rejected_of_samples`].
    #[must_use]
    pub fn rejected_beyond_uncached(&self, families: usize, error: f64) -> Option<f64> {
        let rejected = |counted: &Beside| [&counted.cached, &counted.uncached].map(Tally::rejected_of_samples);
        self.beyond(rejected, families, error)
    }

    /// The excess of the first of two shares over the second, reached in at least half of the families.
    fn beyond(&self, shares: impl Fn(&Beside) -> [Proportion; 2], families: usize, error: f64) -> Option<f64> {
        let both: Vec<_> = self.families.values().map(shares).collect();
        let both = both.iter().filter(|[one, own]| one.samples.min(own.samples) >= FEW_STACKS);
        let error = each_of_half(error, both.clone().count());
        let mut beyond: Vec<f64> = both.map(|[one, own]| one.at_least(error) - own.at_most(error)).collect();
        beyond.sort_by(f64::total_cmp);
        beyond.get(beyond.len() / 2).copied().filter(|_| beyond.len() >= families)
    }
}

/// A family with fewer stacks is left out of the comparison with framediff's walkers.
const FEW_STACKS: u64 = 100;

/// The error that each of `count` bounds may have if half of them must be wrong at once. There are fewer than `2^n`
/// ways to choose half of `n` things.
fn each_of_half(error: f64, count: usize) -> f64 {
    let count = i32::try_from(count.max(1)).unwrap_or(i32::MAX);
    (error / 2_f64.powi(count)).powf(2.0 / f64::from(count)).min(0.05)
}

/// A walker, what it is judged for, the lower bound of its share, and the largest share allowed.
type Limit = (WalkerKind, &'static str, f64, f64);

/// The name of hits in [`Violation::LessThanReleased`].
pub(super) const HITS: &str = "hits";
/// The name of [`RowPool::changes`] there.
const CHANGES: &str = "leaf changes";
/// The names in [`Violation::MoreThanReleased`] of all rejections together, and of their excess over those without the
/// cache.
const REJECTIONS: &str = "rejections";
const EXCESS: &str = "rejections beyond those without the cache, in half of the families";
/// The names of the torn and stale stacks of a row there.
const TORN: &str = "torn stacks beyond those of the own walker, in half of the families";
const STALE: &str = "stale stacks beyond those of the own walker, in half of the families";

/// Whether the violation is about a whole row, so that one family alone cannot show it.
#[must_use]
pub fn is_of_row(violation: &Violation) -> bool {
    matches!(violation, Violation::MoreThanReleased { what, .. } | Violation::LessThanReleased { what, .. }
        if [REJECTIONS, EXCESS, TORN, STALE, CHANGES].contains(&what.as_str()))
}

/// The share of a cached walker's lookups that took something from the cache.
///
/// Full and partial hits are counted together. How many hits are full depends on how long the target stays in place
/// between two samples, and so on the machine. Whether there are hits at all does not, as long as some caller stays on
/// the stack.
#[must_use]
pub fn hits(tally: &Tally) -> Proportion {
    let hits = tally.full_hits + tally.partial_hits;
    Proportion::new(hits, hits + tally.misses())
}

/// The share of a cause of impossible stacks, or of a reason for rejections.
fn share_of(what: &str, tally: &Tally) -> Proportion {
    let none = Proportion::new(0, tally.samples);
    tally.shares().into_iter().find(|(name, _)| name == what).map_or(none, |(_, share)| share)
}

/// The family, walker and version that a tally is judged for.
#[derive(Clone, Copy, Debug)]
pub struct BoundJudgement<'a> {
    /// The workload's family. A family without bounds of its own gets the loosest of all.
    pub family: &'a str,
    /// The walker that is judged.
    pub walker: WalkerKind,
    /// The interpreter's version, as it prints it.
    pub version: &'a str,
}

impl LiveBounds {
    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bound.is_empty()
    }

    /// The largest share allowed for `what`: a cause, a reason for rejections, or the text of an exception.
    #[must_use]
    pub fn most(&self, judged: BoundJudgement<'_>, what: &str) -> f64 {
        let seen = self.of(judged).filter_map(|bound| bound.seen.get(what)).copied().fold(0.0, f64::max);
        if what.starts_with(RAISED) && seen == 0.0 && !self.is_raised_by_releases(judged.version, what) {
            return 0.0;
        }
        seen.mul_add(self.margin.times, self.plus(what)).min(1.0)
    }

    /// What the margin adds to a share of `what`.
    fn plus(&self, what: &str) -> f64 {
        match Cause::ALL.into_iter().find(|cause| cause.name() == what) {
            Some(Cause::TornRead) => self.margin.torn,
            Some(_) => self.margin.impossible,
            None => self.margin.rejected,
        }
    }

    /// The smallest share of hits required, if hits are required.
    #[must_use]
    pub fn least(&self, judged: BoundJudgement<'_>) -> Option<f64> {
        let seen: Option<Vec<f64>> = self.of(judged).map(|bound| bound.hits).collect();
        let least = seen?.into_iter().reduce(f64::min)?;
        Some(least * self.margin.part)
    }

    /// Whether the share `what` of one tally is beyond that of `base` by more than the margins allow. The base takes the
    /// place of the released builds. Each of the two bounds may have this error.
    #[must_use]
    pub(super) fn is_beyond(&self, what: &str, tally: &Tally, base: &Tally, error: f64) -> bool {
        if what == HITS {
            return hits(tally).at_most(error) < hits(base).at_least(error) * self.margin.part;
        }
        let most = share_of(what, base).at_most(error).mul_add(self.margin.times, self.plus(what));
        share_of(what, tally).at_least(error) > most
    }

    /// Whether a failure that is about the rate `what` is provably less frequent than in `base`.
    #[must_use]
    pub(super) fn is_less(what: &str, tally: &Tally, base: &Tally, error: f64) -> bool {
        if what == HITS {
            return hits(tally).at_least(error) > hits(base).at_most(error);
        }
        share_of(what, tally).at_most(error) < share_of(what, base).at_least(error)
    }

    /// The shares in `tally` that exceed the bounds. The permitted error is divided among all comparisons.
    ///
    /// framediff's own walkers are not judged here: what they reject or tear depends on their speed, not on the build.
    ///
    /// A process that runs no generated workload may have no hits, and it may show stacks that no run has measured. It
    /// is rejected for as long as one of its threads runs no Python code. For such a process only rejections count.
    /// They must be ones that no release raises, or be more frequent than in the tally of the `uncached` walker.
    #[must_use]
    pub fn judge(&self, judged: BoundJudgement<'_>, tally: &Tally, uncached: &Tally, demand: Demand) -> Vec<Violation> {
        if self.is_empty() || !judged.walker.is_cpythons() {
            return Vec::new();
        }
        let is_workload = self.has(judged);
        let shares = tally.shares();
        let comparisons = demand.comparisons.max(1).saturating_mul(shares.len() as u64 + 1);
        let error = Demand { comparisons, ..demand }.error_per_bound();
        let more = shares.into_iter().filter_map(|(what, share)| {
            let (at_least, most) = (share.at_least(error), self.most(judged, &what));
            let counts = is_workload
                || tally.rejected_episodes.contains_key(&what)
                    && (most == 0.0 || at_least > uncached.rejected_share(&what).at_most(error));
            (counts && at_least > most).then_some(Violation::MoreThanReleased { what, at_least, most })
        });
        let owed = self.least(judged).filter(|_| is_workload && judged.walker.is_cached());
        let less = owed.and_then(|least| {
            let at_most = hits(tally).at_most(error);
            (at_most < least).then_some(Violation::LessThanReleased { what: HITS.to_owned(), at_most, least })
        });
        more.chain(less).collect()
    }

    /// What CPython's two walkers get wrong too often over all families of a row.
    ///
    /// Rejections are judged over all reasons. Each reason alone can stay within its bound while nearly every sample is
    /// rejected. A bound per family is not possible, because one family varies too much from program to program. They are
    /// also compared with those without the cache: see [`RowPool::rejected_beyond_uncached`].
    ///
    /// Torn and stale stacks are compared with those of framediff's walkers: see [`RowPool::torn_beyond_own`] and
    /// [`RowPool::stale_beyond_own`].
    ///
    /// Only the pool of all cells of a row may be judged. If it were judged after each cell, the order of the cells, and
    /// the luck of the first ones, would decide.
    #[must_use]
    pub fn judge_row(&self, pool: &RowPool, demand: Demand) -> Vec<(WalkerKind, Violation)> {
        let Some(row) = self.row.as_ref().filter(|row| pool.families.len() >= row.families) else { return Vec::new() };
        let error = Demand { comparisons: demand.comparisons.max(1).saturating_mul(7), ..demand }.error_per_bound();
        let limits = self.rejections(row, pool, error).into_iter();
        let limits = limits.chain(self.torn(row, pool, error)).chain(self.stale(row, pool, error));
        let beyond = limits.filter(|(_, _, at_least, most)| at_least > most);
        let violation = |(walker, what, at_least, most): Limit| {
            (walker, Violation::MoreThanReleased { what: what.to_owned(), at_least, most })
        };
        let (at_most, least) = (pool.changes().at_most(error), self.margin.changes);
        let fewer = (at_most < least).then(|| {
            let violation = Violation::LessThanReleased { what: CHANGES.to_owned(), at_most, least };
            (WalkerKind::CpythonCached, violation)
        });
        beyond.map(violation).chain(fewer).collect()
    }

    fn rejections(&self, row: &RowBound, pool: &RowPool, error: f64) -> Vec<Limit> {
        let most = (1.0 - row.rejected).mul_add(self.margin.rest, row.rejected);
        let limit = |kind, walker| (kind, REJECTIONS, pool.rejected(walker).at_least(error), most);
        let beyond = pool.rejected_beyond_uncached(row.families, error);
        let beyond = beyond.map(|beyond| (WalkerKind::CpythonCached, EXCESS, beyond, row.excess + self.margin.excess));
        let cached = limit(WalkerKind::CpythonCached, |counted: &Beside| &counted.cached);
        let uncached = limit(WalkerKind::CpythonUncached, |counted: &Beside| &counted.uncached);
        [cached, uncached].into_iter().chain(beyond).collect()
    }

    fn torn(&self, row: &RowBound, pool: &RowPool, error: f64) -> Vec<Limit> {
        let most = row.beyond_own + self.margin.beyond_own;
        let limit = |kind, walker: fn(&Beside) -> &Tally| {
            Some((kind, TORN, pool.torn_beyond_own(walker, row.families, error)?, most))
        };
        let cached = limit(WalkerKind::CpythonCached, |counted: &Beside| &counted.cached);
        let uncached = limit(WalkerKind::CpythonUncached, |counted: &Beside| &counted.uncached);
        cached.into_iter().chain(uncached).collect()
    }

    fn stale(&self, row: &RowBound, pool: &RowPool, error: f64) -> Option<Limit> {
        let most = row.beyond_own_stale? + self.margin.beyond_own_stale;
        Some((WalkerKind::CpythonCached, STALE, pool.stale_beyond_own(row.families, error)?, most))
    }

    /// Whether the walker was measured with this family.
    fn has(&self, judged: BoundJudgement<'_>) -> bool {
        self.bound.iter().any(|bound| bound.walker == judged.walker && bound.family == judged.family)
    }

    fn of<'a>(&'a self, judged: BoundJudgement<'a>) -> impl Iterator<Item = &'a Bound> {
        let has_own = self.has(judged);
        self.bound
            .iter()
            .filter(move |bound| bound.walker == judged.walker && (!has_own || bound.family == judged.family))
    }

    fn is_raised_by_releases(&self, version: &str, what: &str) -> bool {
        let version = PythonVersion::try_from(version.to_owned());
        let measured = version.is_ok_and(|version| self.margin.versions.matches(version.order()));
        let seen = || self.bound.iter().any(|bound| bound.seen.contains_key(what));
        let raised = what.strip_prefix(RAISED).unwrap_or(what);
        let text = raised.split_once(": ").map_or(raised, |(_, text)| text);
        let listed = || self.margin.raises.iter().any(|start| raised.starts_with(start) || text.starts_with(start));
        !measured || listed() || seen()
    }
}

#[cfg(test)]
mod tests;
