//! Which part of a run a report covers. Several machines can share a run, and their reports are merged.

use std::collections::BTreeMap;

use framewalk::weakening::Weakening;
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::run::cell::PlannedCell;
use crate::schedule::shard::Shard;
use crate::workload::Overrides;

/// The part of a run that was done, and the identity of the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The shards that were done, counted from 1, in order.
    pub shards: Vec<u64>,
    /// How many shards the run has.
    pub of: u64,
    /// How many cells the whole run has.
    pub cells: u64,
    /// The digest of the whole run's plan and of the parameters of its workloads. Parts with the same digest belong to
    /// one plan.
    pub plan: String,
    /// The digest of each row's interpreter.
    pub interpreters: BTreeMap<String, String>,
    /// Faults that were put into framediff's cached walker.
    pub weakenings: Vec<Weakening>,
    /// Confidence of the comparison of cached and uncached walkers, over the whole run.
    pub confidence: f64,
}

impl Part {
    /// The shards that are missing.
    pub fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        (1..=self.of).filter(|shard| !self.shards.contains(shard))
    }

    /// Whether this part includes the cell with that number. Cells are numbered from 0, in the order of the plan.
    #[must_use]
    pub fn holds(&self, number: u64) -> bool {
        self.shards.iter().any(|&shard| Shard::new(shard, self.of).is_some_and(|shard| shard.holds(number)))
    }
}

/// The digest of everything that determines the programs of a run and their parameters.
#[must_use]
pub fn plan_digest<'a>(plan: impl Iterator<Item = &'a PlannedCell>, overrides: Overrides) -> String {
    let mut text = format!("{overrides:?}\n");
    for planned in plan {
        // Serializing a plan cannot fail.
        text.push_str(&serde_json::to_string(planned).unwrap_or_default());
        text.push('\n');
    }
    digest::of_bytes(text.as_bytes())
}
