//! What the verbs other than `check` judge.

use serde::{Deserialize, Serialize};

use crate::history::HistoryLine;
use crate::run::verdict::Verdict;

/// One judged thing: a search, a proof, a mutant, a point of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Names it among the items of its run, for example `alternating`.
    pub name: String,
    /// The build, or the simulated interpreter, for example `3.15.2 release`.
    pub of: String,
    /// Whether it is right.
    pub verdict: Verdict,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The result in one line.
    pub short: String,
    /// The whole result, in lines.
    pub text: String,
    /// How a failure came about, if it was recorded. `text` contains it, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryLine>,
}
