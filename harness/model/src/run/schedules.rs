//! The schedules that a cell of the stepped lane ran, so that two runs can be compared schedule by schedule.

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::run::finding::Fingerprint;
use crate::schedule::Schedule;
use crate::schedule::cast::ProfilerScript;
use crate::schedule::trace::Trace;

/// The length of an identity, in hexadecimal digits.
const DIGITS: usize = 16;

/// Identifies a schedule among those of one program.
///
/// A schedule counts accesses, so it is the same one on two builds only if the profilers did the same accesses up to its
/// last move: the identity covers them, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleId(String);

impl ScheduleId {
    /// The identity of a schedule that these profilers ran in this many samples, with these accesses.
    #[must_use]
    pub fn new(cast: &ProfilerScript, samples: u32, schedule: &Schedule, trace: &Trace) -> Self {
        let mut text = digest::of_bytes(format!("{cast} {samples} {schedule} {trace}").as_bytes());
        text.truncate(DIGITS);
        Self(text)
    }
}

/// The schedules that a walker ran in a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RanSchedules {
    /// All of them, in order.
    pub ran: Vec<ScheduleId>,
    /// Those that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedSchedule>,
}

/// A schedule that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedSchedule {
    /// The schedule.
    pub id: ScheduleId,
    /// The fingerprint of the violation that it showed.
    pub fingerprint: Fingerprint,
    /// The case on a line, which `framediff replay` runs.
    pub case: String,
}

impl RanSchedules {
    /// Adds a schedule that ran, with its failure if it failed.
    pub fn add(&mut self, id: ScheduleId, failed: Option<(Fingerprint, String)>) {
        self.failed.extend(failed.map(|(fingerprint, case)| FailedSchedule { id: id.clone(), fingerprint, case }));
        self.ran.push(id);
    }

    /// Adds those of another run.
    pub fn extend(&mut self, more: &Self) {
        self.ran.extend_from_slice(&more.ran);
        self.failed.extend_from_slice(&more.failed);
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ran.is_empty()
    }
}
