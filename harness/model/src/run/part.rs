//! Which part of a run a report is about: several machines can share a run, and their reports are merged.

use std::collections::BTreeMap;

use framewalk::weakening::Weakening;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::run::cell::PlannedCell;
use crate::schedule::shard::Shard;
use crate::workload::Overrides;

/// The part of a run that was done, and what the whole run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The shards that were done, from 1, in order.
    pub shards: Vec<u64>,
    /// How many shards the run has.
    pub of: u64,
    /// How many cells the whole run has.
    pub cells: u64,
    /// The digest of the plan of the whole run and of what its workloads look like: parts with the same are parts of one run.
    pub plan: String,
    /// The digest of each row's interpreter.
    pub interpreters: BTreeMap<String, String>,
    /// Faults that were put into the own cached walker.
    pub weakenings: Vec<Weakening>,
    /// Confidence of the comparison of cached with uncached, over the whole run.
    pub confidence: f64,
}

impl Part {
    /// The shards that are missing.
    pub fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        (1..=self.of).filter(|shard| !self.shards.contains(shard))
    }

    /// Whether the cell of that number (from 0, in the order of the plan) is in it.
    #[must_use]
    pub fn holds(&self, number: u64) -> bool {
        self.shards.iter().any(|&shard| Shard::new(shard, self.of).is_some_and(|shard| shard.holds(number)))
    }
}

/// The digest of everything that decides which programs a run has and how they look.
#[must_use]
pub fn plan_digest<'a>(plan: impl Iterator<Item = &'a PlannedCell>, overrides: Overrides) -> String {
    let mut text = format!("{overrides:?}\n");
    for planned in plan {
        // A plan is data alone: it always has a text.
        text.push_str(&serde_json::to_string(planned).unwrap_or_default());
        text.push('\n');
    }
    digest::of_bytes(text.as_bytes())
}
