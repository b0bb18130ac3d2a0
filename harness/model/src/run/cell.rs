//! The units of a run: rows, and the cells of each row and lane.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use crate::lane::Lane;
use crate::run::configuration::Configuration;

/// One build in one run mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Unique name, shown in all reports, for example "3.15.2 release JIT".
    pub name: String,
    /// The interpreter. A path that is not valid Unicode is saved with replacement characters.
    #[serde(serialize_with = "as_text")]
    pub python: PathBuf,
    /// Its exact version, as it prints it: "3.15.2", "3.15.0b4", "3.15.2+".
    pub version: String,
    /// Release, debug or free-threaded.
    pub flavour: String,
    /// Whether the JIT is on.
    pub jit: bool,
    /// Arguments of the interpreter, for example `-X perf`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The kind of frame cache that this build has.
    pub frame_cache: String,
    /// Where the order of its offsets was found, and how many words were proved on a live process; `None` for a known
    /// final release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
}

fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// One workload on one row in one lane: the unit that is planned, run and reported.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellId {
    /// The row, by its [`Row::name`].
    pub row: String,
    /// The lane that interleaves target and walkers.
    pub lane: Lane,
    /// The family of the workload, or the name of the user's program.
    pub family: String,
    /// The walkers under test, and those they are compared with.
    pub walkers: Vec<WalkerKind>,
    /// The value of `--seed` that generates this cell's workload again.
    pub seed: u64,
    /// The options of CPython's unwinders. Older documents do not say.
    #[serde(default, skip_serializing_if = "Configuration::is_default")]
    pub configuration: Configuration,
}

impl CellId {
    /// The names of the walkers, in the order used in reports.
    #[must_use]
    pub fn walker_names(&self) -> String {
        let mut walkers = self.walkers.clone();
        walkers.sort_by_key(|walker| walker.rank());
        let names: Vec<_> = walkers.into_iter().map(WalkerKind::name).collect();
        names.join(", ")
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.row, self.lane, self.family)?;
        if !self.walkers.is_empty() {
            write!(f, " ({})", self.walker_names())?;
        }
        Ok(())
    }
}

/// What the cached walkers of a cell must show; without it the cell proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// At least one full hit is required.
    pub full_hits: bool,
    /// At least one partial hit is required.
    pub partial_hits: bool,
    /// At least one miss is required.
    pub misses: bool,
}

impl Expected {
    /// All three kinds of answer are required.
    pub const ALL: Self = Self { full_hits: true, partial_hits: true, misses: true };
    /// Nothing: the family or the lane promises nothing, or the counters cannot be read.
    pub const NONE: Self = Self { full_hits: false, partial_hits: false, misses: false };

    /// Everything that at least one of the two requires.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            full_hits: self.full_hits || other.full_hits,
            partial_hits: self.partial_hits || other.partial_hits,
            misses: self.misses || other.misses,
        }
    }
}

/// A cell of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCell {
    /// The cell that should run.
    pub cell: CellId,
    /// What each walker must show. A walker without an entry need not show anything.
    pub expected: BTreeMap<WalkerKind, Expected>,
}

impl PlannedCell {
    /// A cell in which every cached walker must show `expected`.
    #[must_use]
    pub fn new(cell: CellId, expected: Expected) -> Self {
        let cached = cell.walkers.iter().copied().filter(|walker| walker.is_cached());
        Self { expected: cached.map(|walker| (walker, expected)).collect(), cell }
    }
}

/// Why a cell of the plan did not run.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why", content = "detail")]
pub enum NotRun {
    /// It does not apply to this row, and the user did not ask for it by name. The verdict has no gap.
    #[error("not applicable: {0}")]
    NotApplicable(String),
    /// The budget was spent before its turn.
    #[error("the budget was spent before its turn; give a longer --budget or fewer families")]
    BudgetSpent,
    /// The budget was spent before its turn, in a run whose budget determines the number of programs.
    #[error("left out because the budget ended; a longer --budget runs more programs")]
    LeftOut,
    /// The run was interrupted before its turn.
    #[error("the run was interrupted before its turn")]
    Interrupted,
    /// Its target or its walkers could not be set up.
    #[error("{0}")]
    SetUp(String),
    /// The run ended without a result for it.
    #[error("the run ended without a result for it")]
    Unaccounted,
}

/// Why a cell that ran proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why", content = "detail")]
pub enum Inconclusive {
    /// The target did not reach its gate in time, or a walker did not answer in time.
    #[error("deadline passed: {0}")]
    Deadline(String),
    /// The target's memory could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// The target ended early.
    #[error("the target ended early: {0}")]
    TargetEnded(String),
    /// Nothing was compared, for this reason.
    #[error("{0}")]
    NothingCompared(String),
    /// The run was interrupted while the cell ran.
    #[error("interrupted while it ran")]
    Interrupted,
}

/// How a cell ended. Violations are separate events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "reason")]
pub enum CellOutcome {
    /// It ran its share of the budget.
    Ran,
    /// It did not run.
    NotRun(NotRun),
    /// It ran, but proves nothing.
    Inconclusive(Inconclusive),
}
