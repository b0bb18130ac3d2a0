//! Pass, fail, or neither.

use std::fmt;

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::lane::Lane;
use crate::oracle::proportion::Proportion;
use crate::run::cell::{CellId, Inconclusive, NotRun};
use crate::run::finding::Fingerprint;

/// What a run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything planned ran and was compared, and no unknown clause broke.
    Pass,
    /// A clause broke that is not known to break.
    Fail,
    /// Nothing broke, but not everything was shown either.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
        })
    }
}

/// Something that makes a run fail.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Failure {
    /// A violation that no entry of the known failures describes (or any, if the run is strict).
    #[error("{fingerprint}")]
    Violation {
        /// Which.
        fingerprint: Fingerprint,
    },
    /// Wrong samples were counted where none is tolerated, and no violation says what they were.
    #[error("{row}, {lane}, {walker}: {samples} wrong samples were counted but not described")]
    Undescribed {
        /// The row.
        row: String,
        /// The lane.
        lane: Lane,
        /// The walker.
        walker: WalkerKind,
        /// How many.
        samples: u64,
    },
}

/// Something that keeps a run from passing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Doubt {
    /// The user stopped the run.
    #[error("the run was interrupted")]
    Interrupted,
    /// The run never said that it was over.
    #[error("the run did not come to its end")]
    Unfinished,
    /// The reports of other parts of the run are not among those that were merged.
    #[error("missing: the report of {} of {of} shards: {}", shards.len(), shards.iter().map(|shard| format!("{shard}/{of}")).collect::<Vec<_>>().join(", "))]
    ShardsMissing {
        /// Which, from 1.
        shards: Vec<u64>,
        /// Of how many.
        of: u64,
    },
    /// The failure that the run was to show did not occur, which proves nothing about it: the timing of another run can.
    #[error("not seen again: {fingerprint}; that proves nothing, a longer --budget may show it")]
    NotSeen {
        /// Which.
        fingerprint: Fingerprint,
    },
    /// Not one cell ran.
    #[error("nothing ran")]
    NothingRan,
    /// A cell ought to have run.
    #[error("not run: {cell}: {why}")]
    NotRun {
        /// Which.
        cell: CellId,
        /// Why not.
        why: NotRun,
    },
    /// A cell ran without result.
    #[error("inconclusive: {cell}: {why}")]
    Inconclusive {
        /// Which.
        cell: CellId,
        /// Why.
        why: Inconclusive,
    },
    /// A walker rejected every sample, or took none.
    #[error("{row}, {lane}, {walker}: not one stack was returned")]
    NoStacks {
        /// The row.
        row: String,
        /// The lane.
        lane: Lane,
        /// The walker.
        walker: WalkerKind,
    },
    /// In the live lane, a cached walker returned stacks and its uncached counterpart none.
    #[error("{row}, live, {walker}: not one uncached stack to compare with")]
    NothingToCompare {
        /// The row.
        row: String,
        /// The cached walker.
        walker: WalkerKind,
    },
    /// The cache was not exercised where the workloads must exercise it.
    #[error("vacuous: {row}, {lane}, {walker}: no {}", missing.join(", no "))]
    Vacuous {
        /// The row.
        row: String,
        /// The lane.
        lane: Lane,
        /// The walker.
        walker: WalkerKind,
        /// What never occurred: "full hit", "partial hit", "miss".
        missing: Vec<String>,
    },
}

/// Something to know about a run that decides nothing: how many samples the time sufficed for is chance, and chance must
/// not turn a pass into anything else.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Advice {
    /// The samples are too few to say whether cached is worse than uncached.
    #[error(
        "{row}, live, {walker}: {} of {} stacks impossible, uncached {} of {}: an excess of up to {excess} is not excluded; give a longer --budget",
        cached.hits, cached.samples, uncached.hits, uncached.samples
    )]
    TooFew {
        /// The row.
        row: String,
        /// The cached walker.
        walker: WalkerKind,
        /// Its impossible stacks.
        cached: Proportion,
        /// Those of its uncached counterpart.
        uncached: Proportion,
        /// Upper bound of the excess.
        excess: String,
    },
}

/// The verdict with its grounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Fail if there is any failure, else inconclusive if there is any doubt, else pass.
    pub verdict: Verdict,
    /// What made it fail.
    pub failures: Vec<Failure>,
    /// What keeps it from passing, whether or not it failed.
    pub doubts: Vec<Doubt>,
    /// What does not bear on the verdict.
    pub advice: Vec<Advice>,
}

impl Judgement {
    /// The verdict that follows from these grounds.
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

/// What one line of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineVerdict {
    /// Nothing broke and everything was shown.
    Pass,
    /// Only known failures occurred.
    Known,
    /// A clause broke.
    Fail,
    /// The workloads did not exercise the cache.
    Vacuous,
    /// Not everything was shown.
    Inconclusive,
    /// Nothing broke, but the samples are too few to compare rates.
    Undecided,
    /// No cell ran.
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
