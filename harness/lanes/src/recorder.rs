//! Turns what a lane sees into events: counts as increments, each violation once and then as a count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewalk::frame::Frame;
use framewalk::sample::{Counters, ThreadSample, WalkerKind};
use model::invariants::Violation;
use model::lane::Lane;
use model::oracle::cause::Cause;
use model::oracle::limits::Limit;
use model::oracle::profile::{Counter, Profile};
use model::oracle::tally::Tally;
use model::run::configuration::Configuration;
use model::run::event::Event;
use model::run::excess::Unconfirmed;
use model::run::finding::{Finding, Fingerprint, Possible};
use model::run::observed::{Observed, Observer};
use model::run::phases::{Phase, Phases};
use model::run::schedules::{RanSchedules, ScheduleId};
use model::workload::grammar::WORKLOAD_FILE;

use crate::cell::Cell;

/// How often counts are sent.
const INTERVAL: Duration = Duration::from_millis(200);

/// The evidence of a violation.
#[derive(Clone, Debug, Default)]
pub struct Evidence<'a> {
    /// The cause, if it was attributed.
    pub cause: Option<Cause>,
    /// The stack that was seen.
    pub seen: &'a [Frame],
    /// The stack or value that would have been right, if it is known.
    pub possible: Option<Possible>,
    /// The stack when anchor and sequence were last read.
    pub before: &'a [Frame],
}

/// Collects the results of one cell.
pub struct CellRecorder<'a> {
    cell: &'a Cell<'a>,
    send: &'a (dyn Fn(Event) + Sync),
    replay: &'a (dyn Fn(&Finding) -> String + Sync),
    tallies: BTreeMap<WalkerKind, Tally>,
    repeated: BTreeMap<Fingerprint, Finding>,
    schedules: BTreeMap<WalkerKind, RanSchedules>,
    last: Instant,
    phases: Phases,
    phase_began: Instant,
    /// The profiles by walker, if requested.
    profiles: Option<BTreeMap<WalkerKind, Counter>>,
    /// The text and the file name of the program that the target runs, once they are known.
    program: (Arc<str>, Arc<str>),
}

impl<'a> CellRecorder<'a> {
    /// Creates a recorder that sends events to `send`. `replay` returns the command that replays a failure.
    pub fn new(
        cell: &'a Cell<'a>,
        send: &'a (dyn Fn(Event) + Sync),
        replay: &'a (dyn Fn(&Finding) -> String + Sync),
    ) -> Self {
        let now = Instant::now();
        Self {
            cell,
            send,
            replay,
            tallies: BTreeMap::new(),
            repeated: BTreeMap::new(),
            schedules: BTreeMap::new(),
            last: now,
            phases: Phases::default(),
            phase_began: now,
            profiles: (cell.profiles && cell.id.lane == Lane::Live).then(BTreeMap::new),
            program: ("".into(), WORKLOAD_FILE.into()),
        }
    }

    /// Later violations are those of a target that runs this program.
    pub fn runs(&mut self, program: &str) {
        self.program.0 = program.into();
    }

    /// The same for a program whose file has another name.
    pub fn runs_file(&mut self, program: &str, file_name: &str) {
        self.program = (program.into(), file_name.into());
    }

    /// Creates a recorder for another thread of the same cell.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut another = Self::new(self.cell, self.send, self.replay);
        another.program = self.program.clone();
        another
    }

    /// Creates a recorder of the same cell whose events go to `send`.
    pub(super) fn through<'b>(&'b self, send: &'b (dyn Fn(Event) + Sync)) -> CellRecorder<'b> {
        let mut through = CellRecorder::new(self.cell, send, self.replay);
        through.program = self.program.clone();
        through
    }

    /// Sends an event of a recorder that [`CellRecorder::through`] created.
    pub(super) fn send(&self, event: Event) {
        (self.send)(event);
    }

    /// Counts a walk of one thread.
    pub fn count(&mut self, walker: WalkerKind, sample: &ThreadSample) {
        self.tally(walker).count(sample);
        if let Some(profiles) = &mut self.profiles {
            profiles.entry(walker).or_default().count(sample, None);
        }
    }

    /// Counts an impossible stack.
    pub fn impossible(&mut self, walker: WalkerKind, cause: Cause) {
        self.tally(walker).count_impossible(cause);
    }

    /// Counts the first of a run of equal impossible stacks.
    pub fn impossible_episode(&mut self, walker: WalkerKind, cause: Cause) {
        *self.tally(walker).impossible_episodes.entry(cause).or_default() += 1;
    }

    /// Counts the first of a run of equal rejections.
    pub fn rejected_episode(&mut self, walker: WalkerKind, reason: &str) {
        *self.tally(walker).rejected_episodes.entry(reason.to_owned()).or_default() += 1;
    }

    /// Counts a stack whose leaf differs from that of the stack before.
    pub fn leaf_changed(&mut self, walker: WalkerKind) {
        self.tally(walker).leaf_changes += 1;
    }

    /// Counts the lookups that were reported for several threads together.
    pub fn lookups(&mut self, walker: WalkerKind, counters: &Counters) {
        self.tally(walker).count_lookups(counters.full_hits, counters.partial_hits, counters.misses);
    }

    /// Counts a stack that differs from another report of the same state.
    pub fn difference(&mut self, walker: WalkerKind) {
        self.tally(walker).differences += 1;
    }

    /// Counts a stack that is as incomplete as the walker's documented limit allows.
    pub fn degraded(&mut self, walker: WalkerKind, limit: Limit) {
        *self.tally(walker).degraded.entry(limit).or_default() += 1;
    }

    /// Counts a stop at which the walker took no sample.
    pub fn not_asked(&mut self, walker: WalkerKind) {
        self.tally(walker).not_asked += 1;
    }

    /// Counts a gate or store in a generator's code at which the walker took a sample.
    pub fn asked_instead(&mut self, walker: WalkerKind) {
        self.tally(walker).asked_instead += 1;
    }

    /// Counts a schedule. A misfit is a kept schedule that became a different one on this build.
    pub fn scheduled(&mut self, walker: WalkerKind, misfit: bool) {
        let tally = self.tally(walker);
        tally.schedules += 1;
        tally.misfits += u64::from(misfit);
    }

    /// Records a schedule that passed.
    pub fn passed_schedule(&mut self, walker: WalkerKind, id: ScheduleId) {
        self.schedules.entry(walker).or_default().add(id, None);
    }

    /// Records a schedule that failed and reports the violation. `case` replays it.
    pub fn failed_schedule(
        &mut self,
        walker: WalkerKind,
        id: ScheduleId,
        case: String,
        violation: Violation,
        evidence: Evidence<'_>,
    ) {
        let fingerprint = self.finding(walker, violation.clone(), evidence.cause).fingerprint();
        self.violation(walker, violation, evidence);
        self.schedules.entry(walker).or_default().add(id, Some((fingerprint, case)));
    }

    /// Counts time spent walking, and sends the counts if it is time to.
    pub fn spent(&mut self, walker: WalkerKind, elapsed: Duration) {
        self.tally(walker).elapsed += elapsed;
        if self.last.elapsed() >= INTERVAL {
            self.flush_tallies();
        }
    }

    /// Reports the profile of one observer as an event.
    pub fn observed(&self, observer: Observer, profile: Profile) {
        (self.send)(Event::Profile { cell: self.cell.id.clone(), observed: Observed { observer, profile } });
    }

    /// Adds the time since the last call to `phase`.
    pub fn end_of(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases.add(phase, now - self.phase_began);
        self.phase_began = now;
    }

    fn tally(&mut self, walker: WalkerKind) -> &mut Tally {
        self.tallies.entry(walker).or_default()
    }

    /// A finding of this cell without evidence.
    fn finding(&self, walker: WalkerKind, violation: Violation, cause: Option<Cause>) -> Finding {
        let id = self.cell.id;
        Finding {
            row: id.row.clone(),
            version: self.cell.row.build.full_version(),
            arguments: self.cell.row.build.arguments.clone(),
            frame_cache: self.cell.row.build.frame_cache().to_string(),
            lane: id.lane,
            family: id.family.clone(),
            walker,
            configuration: if walker.is_cpythons() { id.configuration } else { Configuration::default() },
            violation,
            cause,
            seen: Vec::new(),
            possible: None,
            before: Vec::new(),
            source: Vec::new(),
            seed: id.seed,
            replay: String::new(),
            count: 1,
        }
    }

    /// Whether an entry of the known failures excuses the violation.
    #[must_use]
    pub fn is_known(&self, walker: WalkerKind, violation: &Violation) -> bool {
        self.cell.known.find(&self.finding(walker, violation.clone(), None)).is_some()
    }

    /// Reports an excess that was not in each of `measurements` measurements.
    pub fn unconfirmed(&self, walker: WalkerKind, violation: Violation, measurements: usize) {
        let excess = violation.to_string();
        let fingerprint = self.finding(walker, violation, None).fingerprint();
        let excess = Unconfirmed { walker, fingerprint, excess, measurements };
        (self.send)(Event::Unconfirmed { cell: self.cell.id.clone(), excess });
    }

    /// Reports a violation: at once the first time, later only as a count.
    pub fn violation(&mut self, walker: WalkerKind, violation: Violation, evidence: Evidence<'_>) {
        let mut finding = self.finding(walker, violation, evidence.cause);
        let fingerprint = finding.fingerprint();
        if let Some(sought) = self.cell.sought {
            sought.look(&fingerprint);
        }
        if let Some(repeated) = self.repeated.get_mut(&fingerprint) {
            repeated.count += 1;
            return;
        }
        finding.seen = evidence.seen.to_vec();
        finding.possible = evidence.possible;
        finding.before = evidence.before.to_vec();
        finding.source = finding.lines_at_fault(&self.program.0, &self.program.1);
        finding.replay = (self.replay)(&finding);
        (self.send)(Event::Violation(Box::new(finding.clone())));
        finding.count = 0;
        self.repeated.insert(fingerprint, finding);
    }

    fn flush_tallies(&mut self) {
        self.last = Instant::now();
        for (walker, tally) in std::mem::take(&mut self.tallies) {
            (self.send)(Event::Samples { cell: self.cell.id.clone(), walker, tally });
        }
        if !self.phases.is_empty() {
            (self.send)(Event::Spent { cell: self.cell.id.clone(), phases: std::mem::take(&mut self.phases) });
        }
    }
}

impl Drop for CellRecorder<'_> {
    fn drop(&mut self) {
        self.flush_tallies();
        for (walker, schedules) in std::mem::take(&mut self.schedules) {
            (self.send)(Event::Schedules { cell: self.cell.id.clone(), walker, schedules });
        }
        for (walker, counter) in self.profiles.take().into_iter().flatten() {
            self.observed(Observer::Walker(walker), counter.finish());
        }
        for (_, finding) in std::mem::take(&mut self.repeated) {
            if finding.count > 0 {
                (self.send)(Event::Violation(Box::new(finding)));
            }
        }
    }
}
