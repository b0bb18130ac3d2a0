//! The stepped lane against a patched unwinder: what only two unwinders show, or a target that moves while it is sampled.
//!
//! CPython's unwinder as it was built fails some of the schedules, too. So the verdict is a difference: a mutant is killed by a
//! schedule that fails on it, and fails again, and passes on the original, and passes again. A schedule counts accesses, so it is
//! the same one only where both unwinders did the same accesses up to its last move. Where a fault leaves accesses out, the
//! kill must also be of a kind that no schedule of the same search shows on the original.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Fault;
use crate::case::stepped::{SteppedCase, WorkloadIdentity};
use crate::explore::failures::Failing;
use crate::explore::place::identity;
use crate::explore::search::{Ended, Until, search};
use crate::lane::stepped::{Rig, RigError, RigPlan, SteppedRun};
use crate::mutants::hunt::{Hunted, Kill};
use crate::sample::WalkerKind;
use crate::schedule::cast::Cast;
use crate::schedule::exhaustive::{Bounds, Exhaustive};
use crate::schedule::fingerprint::SteppedFingerprint;
use crate::schedule::replay::Replay;
use crate::schedule::shard::Shard;
use crate::schedule::{AccessKind, Schedule, Scheduler};
use crate::target::build::Row;
use crate::workload::{Family, FrameSize, Mode, Names, Parameters, generate};

/// The walker of all of it.
const WALKER: WalkerKind = WalkerKind::CpythonCached;
/// Memory for the points of one search, in bytes.
const POINTS: usize = 16 << 20;
/// The seed of the programs.
const SEED: u64 = 25;

/// One search: who samples what, and where the target moves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plan {
    /// The text of the cast.
    pub cast: &'static str,
    /// The family of the program.
    pub family: &'static str,
    /// Where the target moves, besides the beginnings of samples.
    pub moving: Moving,
    /// How many samples.
    pub samples: u32,
    /// How many moves at most.
    pub moves: u32,
    /// Of how many steps at most.
    pub steps: u32,
}

/// Where the target moves inside of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moving {
    /// Nowhere.
    AtRest,
    /// Before accesses of this kind.
    Before(AccessKind),
    /// Before every access.
    Everywhere,
}

/// Two unwinders, each of which overwrites the other's anchor.
const TWO: Plan = Plan { cast: "a+b", family: "alternating", moving: Moving::AtRest, samples: 3, moves: 2, steps: 12 };
/// A second unwinder is made, which clears the anchor, after the first one stored its entry.
const CLEARED: Plan =
    Plan { cast: "a+make-b.b+a", family: "alternating", moving: Moving::AtRest, samples: 3, moves: 3, steps: 8 };
/// The target moves between an unwinder's first read and its copy of the data stack.
const COPIED_LATER: Plan = Plan {
    cast: "a",
    family: "alternating",
    moving: Moving::Before(AccessKind::ReadChunk),
    samples: 2,
    moves: 3,
    steps: 6,
};
/// The target moves between an unwinder's reads of frames.
const FRAME_BY_FRAME: Plan = Plan {
    cast: "a",
    family: "alternating",
    moving: Moving::Before(AccessKind::ReadFrame),
    samples: 1,
    moves: 3,
    steps: 8,
};
/// Generators, whose frames are not in the copy: they are suspended while they are read, and then lead nowhere.
const SUSPENDED: Plan =
    Plan { cast: "a", family: "generators", moving: Moving::Everywhere, samples: 1, moves: 2, steps: 16 };
/// All moves, in two samples.
const ALL_MOVES: Plan =
    Plan { cast: "a", family: "alternating", moving: Moving::Everywhere, samples: 2, moves: 2, steps: 8 };

/// The searches for a fault: all, those first that were made for it.
#[must_use]
pub fn plans(fault: Fault) -> Vec<Plan> {
    let mut plans = vec![TWO, CLEARED, COPIED_LATER, FRAME_BY_FRAME, SUSPENDED, ALL_MOVES];
    let first = match fault {
        Fault::CurrentFrameNotCompared => CLEARED,
        Fault::NotReadAgainBeforeUse => COPIED_LATER,
        Fault::ChunksNotCopied => FRAME_BY_FRAME,
        Fault::ChainReturnedWithoutBase | Fault::ChainStoredWithoutBase => SUSPENDED,
        _ => TWO,
    };
    plans.sort_by_key(|plan| *plan != first);
    plans
}

/// The original of one build in one run mode, and what is known of it.
pub struct Original<'a> {
    row: &'a Row,
    folder: PathBuf,
    /// By search, how the original fails in it; none if that was not searched to the end.
    kinds: BTreeMap<Plan, Option<BTreeSet<SteppedFingerprint>>>,
}

/// What ends a hunt early, and how much it did.
struct Hunt<'u> {
    until: Until<'u>,
    begun: Instant,
    schedules: u64,
    samples: u64,
}

impl<'a> Original<'a> {
    /// The original, with nothing known of it. Targets' files are written in `folder`.
    #[must_use]
    pub fn new(row: &'a Row, folder: &Path) -> Self {
        Self { row, folder: folder.to_owned(), kinds: BTreeMap::new() }
    }

    /// Searches for a schedule that tells `mutant` from the original, as `plans` say.
    ///
    /// It must be called on a thread of its own, since rigs move the thread to one processor.
    #[must_use]
    pub fn hunt(&mut self, mutant: &Path, plans: &[Plan], until: Until<'_>) -> Hunted {
        let mut hunt = Hunt { until, begun: Instant::now(), schedules: 0, samples: 0 };
        for plan in plans {
            match self.search(mutant, plan, &mut hunt) {
                Ok(Some(kill)) => return Hunted::Killed(kill),
                Ok(None) => {}
                Err(error) => return Hunted::Inconclusive { why: error.to_string() },
            }
            if (until.interrupted)() {
                return Hunted::Inconclusive { why: "interrupted".into() };
            }
        }
        if hunt.samples == 0 {
            return Hunted::Inconclusive { why: "no sample was taken".into() };
        }
        Hunted::Passed { samples: hunt.samples }
    }

    fn rig(&self, python: &Path, plan: &Plan) -> Result<Rig, RigError> {
        let parameters =
            Parameters { depth: 1, width: 2, frame_size: FrameSize::Equal(0), speed: 0, names: Names::Ascii };
        let family = plan.family();
        let workload = generate(family, Mode::Rounds, &parameters.within_bounds(family), SEED);
        let plan = RigPlan {
            jit: self.row.jit.switch(),
            cast: plan.cast(),
            still: plan.still(),
            folder: self.folder.clone(),
            ..RigPlan::new(python, WALKER)
        };
        Rig::launch(plan, workload)
    }

    fn search(&mut self, mutant: &Path, plan: &Plan, hunt: &mut Hunt<'_>) -> Result<Option<Kill>, RigError> {
        let mut original = None;
        let mut changed = self.rig(mutant, plan)?;
        let mut scheduler = plan.scheduler();
        while !hunt.is_over() && scheduler.begin() {
            let counted = scheduler.is_counted();
            let run = changed.run(plan.samples, &mut scheduler)?;
            if !counted {
                continue;
            }
            hunt.schedules += 1;
            hunt.samples += run.samples.len() as u64;
            let Some(failing) = Failing::of(&run) else { continue };
            let original = match &mut original {
                Some(original) => original,
                None => original.insert(self.rig(&self.row.build.python, plan)?),
            };
            if self.tells(plan, original, &mut changed, &failing, hunt)? {
                return Ok(Some(self.kill(plan, &failing, hunt, &changed)));
            }
        }
        Ok(None)
    }

    /// Whether the schedule of `failing` tells the two apart.
    fn tells(
        &mut self,
        plan: &Plan,
        original: &mut Rig,
        changed: &mut Rig,
        failing: &Failing,
        hunt: &Hunt<'_>,
    ) -> Result<bool, RigError> {
        for _ in 0..2 {
            let Some(with) = again(changed, failing)? else { return Ok(false) };
            if Failing::of(&with).as_ref() != Some(failing) {
                return Ok(false);
            }
            let Some(without) = again(original, failing)? else { return Ok(false) };
            if Failing::of(&without).is_some() {
                return Ok(false);
            }
            if !are_alike(&failing.schedule, &with, &without) {
                let known = self.kinds(plan, hunt)?;
                if known.is_none_or(|known| known.contains(&failing.fingerprint)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// How the original fails in this search; it is done once.
    fn kinds(&mut self, plan: &Plan, hunt: &Hunt<'_>) -> Result<Option<&BTreeSet<SteppedFingerprint>>, RigError> {
        if !self.kinds.contains_key(plan) {
            let mut rig = self.rig(&self.row.build.python, plan)?;
            // It is the same for all mutants, so that the time of one does not bound it.
            let until = Until { deadline: None, first: false, ..hunt.until };
            let searched = search(&mut rig, plan.samples, &mut plan.scheduler(), until, &mut |_, _, _| {})?;
            let kinds = searched.failures.kinds().into_iter().map(|kind| kind.simplest.fingerprint.clone()).collect();
            self.kinds.insert(plan.clone(), (searched.ended == Ended::Everything).then_some(kinds));
        }
        Ok(self.kinds.get(plan).and_then(Option::as_ref))
    }

    fn kill(&self, plan: &Plan, failing: &Failing, hunt: &Hunt<'_>, rig: &Rig) -> Kill {
        let case = SteppedCase {
            build: identity(self.row),
            workload: WorkloadIdentity::of(rig.workload()),
            walker: WALKER,
            weakenings: BTreeSet::new(),
            cast: plan.cast(),
            samples: failing.samples,
            tearing: false,
            loads: false,
            schedule: failing.schedule.clone(),
            fingerprint: failing.fingerprint.clone(),
        };
        Kill {
            clause: failing.fingerprint.clause.to_string(),
            walker: WALKER.name().into(),
            family: plan.family.into(),
            samples: hunt.samples,
            seconds: hunt.begun.elapsed().as_secs_f64(),
            replay: format!("framediff replay --python MUTANT {case}"),
        }
    }
}

impl Hunt<'_> {
    fn is_over(&self) -> bool {
        (self.until.interrupted)() || self.until.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Plan {
    fn cast(&self) -> Cast {
        self.cast.parse().unwrap_or_default()
    }

    fn family(&self) -> Family {
        let named = |family: &Family| family.name() == self.family;
        Family::ALL.into_iter().find(named).unwrap_or(Family::Alternating)
    }

    fn still(&self) -> BTreeSet<AccessKind> {
        let moves = |kind: &AccessKind| match self.moving {
            Moving::AtRest => false,
            Moving::Before(before) => *kind == before,
            Moving::Everywhere => true,
        };
        AccessKind::ALL.into_iter().filter(|kind| !moves(kind)).collect()
    }

    fn scheduler(&self) -> Exhaustive {
        let bounds = Bounds { samples: self.samples, moves: self.moves, steps: self.steps };
        Exhaustive::new(bounds, Shard::WHOLE, POINTS)
    }
}

/// Runs the schedule of a failure once more; nothing if it does not fit.
fn again(rig: &mut Rig, failing: &Failing) -> Result<Option<SteppedRun>, RigError> {
    let mut replay = Replay::new(failing.schedule.clone(), 1);
    // True: it has one run left.
    replay.begin();
    let run = rig.run(failing.samples, &mut replay)?;
    let failed = run.first_wrong().is_some();
    Ok((failed || replay.fit().is_ok()).then_some(run))
}

/// Whether two runs had the same accesses up to the last move of the schedule.
fn are_alike(schedule: &Schedule, one: &SteppedRun, other: &SteppedRun) -> bool {
    let Some(last) = schedule.moves.iter().map(|one| one.at).max() else { return true };
    let until =
        |run: &SteppedRun| -> Vec<_> { run.ran.points.iter().filter(|(point, _)| *point <= last).copied().collect() };
    until(one) == until(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_can_be_read_and_all_faults_have_all_of_them() {
        let of = |fault| plans(fault).into_iter().collect::<BTreeSet<Plan>>();
        for fault in Fault::ALL {
            assert_eq!(of(fault), of(Fault::ALL[0]));
        }
        for plan in plans(Fault::ChunksNotCopied) {
            assert_eq!(plan.cast.parse::<Cast>(), Ok(plan.cast()), "{plan:?}");
            assert_eq!(plan.family().name(), plan.family);
        }
    }

    #[test]
    fn the_target_stands_still_where_a_plan_says_so() {
        assert_eq!(TWO.still(), AccessKind::ALL.into());
        assert!(SUSPENDED.still().is_empty());
        let still = FRAME_BY_FRAME.still();
        assert!(!still.contains(&AccessKind::ReadFrame) && still.len() == AccessKind::ALL.len() - 1);
    }
}
