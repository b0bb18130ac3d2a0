//! How a cell spends its time.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a lane is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Starting and ending targets and walkers.
    Starting,
    /// Letting the target run on and stopping it again.
    Running,
    /// Taking samples. For CPython's walkers this includes the overhead of requesting one.
    Walking,
    /// Reading the cache's fields, and the chains that they are compared with.
    Fields,
    /// Judging samples, fields and chains.
    Judging,
    /// Waiting for the target's own account of its stack.
    Account,
    /// Target and walkers running at the same time.
    Live,
    /// Running schedules. This includes bringing the target back to where they start.
    Scheduling,
}

impl Phase {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting and ending targets",
            Self::Running => "letting the target run",
            Self::Walking => "walking",
            Self::Fields => "reading the cache's fields",
            Self::Judging => "judging",
            Self::Account => "the target's own account",
            Self::Live => "sampling while the target runs",
            Self::Scheduling => "running schedules",
        }
    }
}

/// The time spent in each phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phases(BTreeMap<Phase, Seconds>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Seconds(#[serde(with = "crate::seconds")] Duration);

impl Phases {
    /// Whether no time was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds time to a phase.
    pub fn add(&mut self, phase: Phase, time: Duration) {
        self.0.entry(phase).or_default().0 += time;
    }

    /// The total time of all phases.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.0.values().map(|time| time.0).sum()
    }

    /// The share of each phase in the total time. The longest phase comes first.
    #[must_use]
    pub fn shares(&self) -> Vec<(Phase, f64)> {
        let total = self.total().as_secs_f64();
        if total <= 0.0 {
            return Vec::new();
        }
        let mut shares: Vec<_> = self.0.iter().map(|(&phase, time)| (phase, time.0.as_secs_f64() / total)).collect();
        shares.sort_by(|(_, left), (_, right)| right.total_cmp(left));
        shares
    }
}

impl AddAssign<&Self> for Phases {
    fn add_assign(&mut self, other: &Self) {
        for (&phase, time) in &other.0 {
            self.add(phase, time.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_add_up_and_the_longest_comes_first() {
        let mut phases = Phases::default();
        assert!(phases.is_empty() && phases.shares().is_empty());
        phases.add(Phase::Walking, Duration::from_millis(200));
        let mut other = Phases::default();
        other.add(Phase::Walking, Duration::from_millis(50));
        other.add(Phase::Running, Duration::from_millis(750));
        phases += &other;
        assert_eq!(phases.total(), Duration::from_secs(1));
        assert_eq!(phases.shares(), [(Phase::Running, 0.75), (Phase::Walking, 0.25)]);
        let json = serde_json::to_string(&phases).unwrap();
        assert_eq!(json, r#"{"running":0.75,"walking":0.25}"#);
        assert_eq!(serde_json::from_str::<Phases>(&json).unwrap(), phases);
    }
}
