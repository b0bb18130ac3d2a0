//! Running the check against a mutant until something is broken.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::subject::Seeded;
use crate::check::plan::Wishes;
use crate::check::run::{Options, run};
use crate::report::cell::{CellId, CellOutcome, Inconclusive, Lane, NotRun};
use crate::report::event::{Consumer, Event};
use crate::report::finding::Finding;
use crate::report::known::KnownFailures;
use crate::sample::WalkerKind;
use crate::schedule::shard::Shard;
use crate::target::build::{JitMode, Row};
use crate::workload::{Family, Overrides};

/// Each program gets this at the least: the walkers of all three ways to stop want their turn.
const SHORTEST: Duration = Duration::from_millis(600);
/// The same where a JIT is to compile it first.
const SHORTEST_COMPILED: Duration = Duration::from_secs(3);

/// How the check is run.
pub struct Hunter<'a> {
    /// What released CPythons are known to break: no kill.
    pub known: &'a KnownFailures,
    /// The walkers, besides those that they are compared with; none stand for all.
    pub walkers: Vec<WalkerKind>,
    /// Time for one mutant.
    pub budget: Duration,
    /// Targets at once.
    pub jobs: usize,
    /// Where targets' files are written.
    pub folder: PathBuf,
    /// Set when the user stops the run.
    pub interrupted: &'a AtomicBool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Hunted {
    /// A clause broke that the original does not break.
    Killed(Kill),
    /// The whole budget was spent, and nothing broke.
    Passed {
        /// Walks of a thread.
        samples: u64,
    },
    /// The target or its driver died.
    Died {
        /// What was seen of it.
        how: String,
    },
    /// Nothing is shown.
    Inconclusive {
        /// Why.
        why: String,
    },
}

/// The first broken clause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// The clause.
    pub clause: String,
    /// Whose sample, or whose anchor, it was.
    pub walker: String,
    /// The workload's family.
    pub family: String,
    /// Walks of a thread until the run stopped.
    pub samples: u64,
    /// Time until the clause broke, in seconds.
    pub seconds: f64,
    /// The one command that replays it.
    pub replay: String,
}

impl Hunter<'_> {
    /// Checks `row` with these programs, those first that come first, for an equal share of `budget` each; with no more of
    /// them than it suffices for.
    #[must_use]
    pub fn hunt(&self, row: &Row, programs: &[Seeded], budget: Duration) -> Hunted {
        let begun = Instant::now();
        let mut samples = 0;
        let shortest = if row.jit == JitMode::On { SHORTEST_COMPILED } else { SHORTEST };
        let enough = budget.as_millis() / shortest.as_millis() * self.jobs as u128;
        let enough = usize::try_from(enough).unwrap_or(usize::MAX).max(1);
        let mut left = programs.get(..enough).unwrap_or(programs);
        while let Some(&(_, seed)) = left.first() {
            // What runs at once has one seed.
            let alike = left.iter().take(self.jobs.max(1)).take_while(|(_, other)| *other == seed).count();
            let (group, rest) = left.split_at(alike);
            let programs_left = u32::try_from(left.len()).unwrap_or(u32::MAX);
            let share = budget.saturating_sub(begun.elapsed()) / programs_left * u32::try_from(alike).unwrap_or(1);
            left = rest;
            let families = group.iter().map(|(family, _)| *family).collect();
            let mut watch = Watch::new(self, begun);
            self.check(row, families, seed, share, &mut watch);
            samples += watch.samples;
            if let Some(hunted) = watch.outcome(samples) {
                return hunted;
            }
        }
        if samples == 0 {
            return Hunted::Inconclusive { why: "no sample was taken".into() };
        }
        Hunted::Passed { samples }
    }

    fn check(&self, row: &Row, families: Vec<Family>, seed: u64, budget: Duration, watch: &mut Watch<'_>) {
        // Where the mutants are not kept, the path is that of a folder that is gone.
        let python = row.build.python.display();
        let jit = if row.jit == JitMode::On { "on" } else { "off" };
        let replay = |_: &_, cell: &CellId, walker: WalkerKind, _: &_| {
            format!(
                "framediff check --python {python} --jit {jit} --lane {} --family {} --walker {} --seed {}",
                cell.lane.name(),
                cell.family,
                walker.name(),
                cell.seed
            )
        };
        let stop = AtomicBool::new(false);
        let options = Options {
            wishes: Wishes { families, lanes: vec![Lane::Stopped], walkers: self.walkers.clone(), ..Wishes::default() },
            overrides: Overrides::default(),
            seed,
            one_round: true,
            shard: Shard::WHOLE,
            budget: budget.max(SHORTEST),
            stops: None,
            jobs: self.jobs,
            profiles: false,
            confidence: 0.999,
            folder: self.folder.clone(),
            interrupted: &stop,
            sought: None,
            replay: &replay,
        };
        run(&options, std::slice::from_ref(row), &mut Stopping { watch, stop: &stop });
    }
}

/// Looks at events until the first that decides.
struct Watch<'a> {
    hunter: &'a Hunter<'a>,
    begun: Instant,
    samples: u64,
    broken: Option<(Box<Finding>, Duration)>,
    died: Option<String>,
    doubt: Option<String>,
}

impl<'a> Watch<'a> {
    fn new(hunter: &'a Hunter<'a>, begun: Instant) -> Self {
        Self { hunter, begun, samples: 0, broken: None, died: None, doubt: None }
    }

    fn outcome(self, samples: u64) -> Option<Hunted> {
        if self.hunter.interrupted.load(Ordering::Relaxed) {
            return Some(Hunted::Inconclusive { why: "interrupted".into() });
        }
        if let Some((finding, after)) = self.broken {
            return Some(Hunted::Killed(Kill {
                clause: finding.violation.name().into(),
                walker: finding.walker.name().into(),
                family: finding.family,
                samples,
                seconds: after.as_secs_f64(),
                replay: finding.replay,
            }));
        }
        // A target that dies has shown nothing about the truth of its stacks.
        if let Some(how) = self.died {
            return Some(Hunted::Died { how });
        }
        self.doubt.map(|why| Hunted::Inconclusive { why })
    }
}

/// Ends the run as soon as something decides.
struct Stopping<'a, 'b> {
    watch: &'a mut Watch<'b>,
    stop: &'a AtomicBool,
}

impl Consumer for Stopping<'_, '_> {
    fn event(&mut self, event: &Event) {
        let watch = &mut *self.watch;
        match event {
            Event::Samples { tally, .. } => watch.samples += tally.samples,
            Event::Violation(finding) if watch.broken.is_none() && watch.hunter.known.find(finding).is_none() => {
                watch.broken = Some((finding.clone(), watch.begun.elapsed()));
            }
            Event::CellFinished { outcome, .. } => match outcome {
                CellOutcome::Ran | CellOutcome::NotRun(NotRun::NotApplicable(_) | NotRun::Interrupted) => {}
                CellOutcome::Inconclusive(Inconclusive::Interrupted) => {}
                CellOutcome::Inconclusive(Inconclusive::TargetEnded(how)) => watch.died = Some(how.clone()),
                CellOutcome::NotRun(NotRun::SetUp(how)) => watch.died = Some(how.clone()),
                CellOutcome::NotRun(why) => watch.doubt = Some(why.to_string()),
                CellOutcome::Inconclusive(why) => watch.doubt = Some(why.to_string()),
            },
            _ => {}
        }
        let decided = watch.broken.is_some() || watch.died.is_some();
        if decided || watch.hunter.interrupted.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
