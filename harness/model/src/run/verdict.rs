//! Verdicts: pass, fail or inconclusive.

use std::fmt;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::lane::Lane;
use crate::oracle::proportion::Proportion;
use crate::run::cell::{CellId, Inconclusive, NotRun};
use crate::run::excess::Unconfirmed;
use crate::run::finding::Fingerprint;

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything planned ran and was compared, and the only violations are known ones.
    Pass,
    /// There is a violation that is not known.
    Fail,
    /// Nothing failed, but not everything was shown. Older documents of `explore` also say `interrupted`.
    #[serde(alias = "interrupted")]
    Inconclusive,
}

impl Verdict {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// The worst of several verdicts. No verdict at all is not a pass.
    #[must_use]
    pub fn worst(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().reduce(Self::and).unwrap_or(Self::Inconclusive)
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Fail, _) | (_, Self::Fail) => Self::Fail,
            (Self::Inconclusive, _) | (_, Self::Inconclusive) => Self::Inconclusive,
            (Self::Pass, Self::Pass) => Self::Pass,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A reason for a run to fail.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Failure {
    /// A violation that no entry of the known failures describes, or any violation in a strict run.
    #[error("{fingerprint}")]
    Violation {
        /// The fingerprint of the violation.
        fingerprint: Fingerprint,
    },
    /// Wrong samples were counted where none are tolerated, but no violation describes them.
    #[error("{row}, {lane}, {walker}: {samples} wrong samples were counted but not described")]
    Undescribed {
        /// The name of the row.
        row: String,
        /// The lane of the table line.
        lane: Lane,
        /// The walker of the table line.
        walker: WalkerKind,
        /// How many samples it took.
        samples: u64,
    },
}

/// A reason why a run does not pass.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Doubt {
    /// The user stopped the run.
    #[error("the run was interrupted")]
    Interrupted,
    /// The stream of events ended without [`RunFinished`](crate::run::event::Event::RunFinished).
    #[error("the run did not come to its end")]
    Unfinished,
    /// The merged reports lack some shards of the run.
    #[error("missing: the report of {} of {of} shards: {}", shards.len(), shards.iter().map(|shard| format!("{shard}/{of}")).collect::<Vec<_>>().join(", "))]
    ShardsMissing {
        /// The missing shards, counted from 1.
        shards: Vec<u64>,
        /// How many shards the run has.
        of: u64,
    },
    /// The failure that the run was meant to reproduce did not occur. That does not prove it gone: it may depend on
    /// timing.
    #[error("not seen again: {fingerprint}; that proves nothing, a longer --budget may show it")]
    NotSeen {
        /// The fingerprint of the failure.
        fingerprint: Fingerprint,
    },
    /// The base was not tested, or not as this run was, so nothing can be called new or gone.
    #[error("the base was not tested: {why}")]
    BaseNotTested {
        /// Why it was not tested.
        why: String,
    },
    /// Not one cell of the run ran.
    #[error("nothing ran")]
    NothingRan,
    /// A cell that should have run did not.
    #[error("not run: {cell}: {why}")]
    NotRun {
        /// The cell that did not run.
        cell: CellId,
        /// Why it did not run.
        why: NotRun,
    },
    /// A cell ran without a result.
    #[error("inconclusive: {cell}: {why}")]
    Inconclusive {
        /// The cell without a result.
        cell: CellId,
        /// Why it has no result.
        why: Inconclusive,
    },
    /// A walker rejected every sample, or took none.
    #[error("{row}, {lane}, {walker}: not one stack was returned")]
    NoStacks {
        /// The name of the row.
        row: String,
        /// The lane of the table line.
        lane: Lane,
        /// The walker of the table line.
        walker: WalkerKind,
    },
    /// In the live lane, a cached walker returned stacks, but its uncached counterpart returned none.
    #[error("{row}, live, {walker}: not one uncached stack to compare with")]
    NothingToCompare {
        /// The name of the row.
        row: String,
        /// The cached walker of the comparison.
        walker: WalkerKind,
    },
    /// The cache was not exercised although the workloads must exercise it.
    #[error("vacuous: {row}, {lane}, {walker}: no {}", missing.join(", no "))]
    Vacuous {
        /// The name of the row.
        row: String,
        /// The lane of the table line.
        lane: Lane,
        /// The walker of the table line.
        walker: WalkerKind,
        /// What never occurred: "full hit", "partial hit", "miss".
        missing: Vec<String>,
    },
}

/// A remark that does not influence the verdict. How many samples fit into the budget is chance, and chance must not
/// change a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Advice {
    /// There are too few samples to say whether the cached walker is worse than the uncached one.
    #[error(
        "{row}, live, {walker}: {} of {} stacks impossible, uncached {} of {}: an excess of up to {excess} is not excluded; give a longer --budget",
        cached.hits, cached.samples, uncached.hits, uncached.samples
    )]
    TooFew {
        /// The name of the row.
        row: String,
        /// The cached walker of the comparison.
        walker: WalkerKind,
        /// The impossible stacks of the cached walker.
        cached: Proportion,
        /// The impossible stacks of its uncached counterpart.
        uncached: Proportion,
        /// Upper bound of the excess.
        excess: String,
    },
    /// An excess over a bound of the live lane was seen, but not each time that it was measured.
    #[error(
        "{}, live, {}, {} with seed {}: seen and not confirmed in {} measurements: {}",
        cell.row, excess.walker, cell.family, cell.seed, excess.measurements, excess.excess
    )]
    Unconfirmed {
        /// The cell in which it was seen.
        cell: CellId,
        /// The share that exceeded its bound once.
        excess: Unconfirmed,
    },
}

impl Advice {
    /// What the remark is about, in one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "undecided",
            Self::Unconfirmed { .. } => "unconfirmed",
        }
    }
}

/// The verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Fail if there is any failure, else inconclusive if there is any doubt, else pass.
    pub verdict: Verdict,
    /// The reasons to fail.
    pub failures: Vec<Failure>,
    /// The reasons not to pass. A failed run can have doubts, too.
    pub doubts: Vec<Doubt>,
    /// Remarks that do not influence the verdict.
    pub advice: Vec<Advice>,
}

impl Judgement {
    /// Derives the verdict from its reasons.
    #[must_use]
    pub fn new(failures: Vec<Failure>, doubts: Vec<Doubt>, advice: Vec<Advice>) -> Self {
        let verdict = match (failures.is_empty(), doubts.is_empty()) {
            (false, _) => Verdict::Fail,
            (true, false) => Verdict::Inconclusive,
            (true, true) => Verdict::Pass,
        };
        Self { verdict, failures, doubts, advice }
    }
}

/// The verdict on one line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineVerdict {
    /// Nothing broke, and everything was shown.
    Pass,
    /// Only known failures occurred.
    Known,
    /// A clause is broken, and not in a known way.
    Fail,
    /// The workloads did not exercise the cache.
    Vacuous,
    /// Not everything was shown.
    Inconclusive,
    /// Nothing broke, but the samples are too few to compare rates.
    Undecided,
    /// Not one cell of this line ran.
    NotRun,
}

impl LineVerdict {
    /// The word in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Known => "known",
            Self::Fail => "fail",
            Self::Vacuous => "vacuous",
            Self::Inconclusive => "inconclusive",
            Self::Undecided => "undecided",
            Self::NotRun => "not run",
        }
    }
}
