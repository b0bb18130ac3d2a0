//! Running the check against a mutant until something is broken.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lanes::check::plan::Wishes;
use lanes::check::run::{Options, part_of_budget, run};
use lanes::check::{BUDGET, CONFIDENCE, SCHEDULES, STOPS};
use model::invariants::Violation;
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::run::cell::{CellId, CellOutcome, Inconclusive, NotRun};
use model::run::event::{Consumer, Event};
use model::run::finding::Finding;
use model::run::known::KnownFailures;
use model::run::summary::{Rules, Summary};
use model::schedule::shard::Shard;
use model::workload::{Family, Overrides};
use process::build::Row;
use serde::{Deserialize, Serialize};

/// How the check is run.
pub struct Hunter<'a> {
    /// What released CPythons are known to break: no kill.
    pub known: &'a KnownFailures,
    /// The families; none stand for all.
    pub families: Vec<Family>,
    /// The seed of the programs.
    pub seed: u64,
    /// The time after which a mutant is given up. It decides nothing else: what is tested is given by number.
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
    /// Everything ran, and nothing broke.
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
    /// The lane in which it broke; none for own walkers on the simulated interpreter.
    #[serde(default)]
    pub lane: String,
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
    /// Checks `row` as the action does, in its lanes and with its numbers of stops and schedules, until the first clause that
    /// the original does not break; with a `share` of n, with an nth of these numbers.
    #[must_use]
    pub fn hunt(&self, row: &Row, share: u32) -> Hunted {
        let number = |number: u32| Some((number / share.max(1)).max(1));
        let lanes = vec![Lane::Stopped, Lane::Stepped];
        self.hunt_in(row, Trial { lanes, stops: number(STOPS), schedules: number(SCHEDULES), budget: self.budget })
    }

    /// Checks `row` in the live lane, for as long as `check` gives that lane of its default budget.
    #[must_use]
    pub fn hunt_live(&self, row: &Row) -> Hunted {
        let budget = BUDGET.mul_f64(part_of_budget(row, Lane::Live, self.jobs));
        self.hunt_in(row, Trial { lanes: vec![Lane::Live], stops: None, schedules: None, budget })
    }

    fn hunt_in(&self, row: &Row, trial: Trial) -> Hunted {
        // Where the mutants are not kept, the path is that of a folder that is gone.
        let python = row.build.python.display();
        let jit = if row.jit == JitMode::On { "on" } else { "off" };
        let much = match trial.stops {
            Some(stops) => format!("--stops {stops}"),
            None => format!("--budget {}s", trial.budget.as_secs()),
        };
        let replay = |_: &_, cell: &CellId, finding: &Finding| match &finding.violation {
            Violation::NotThere { case, .. } => format!("framediff replay --python {python} {case}"),
            _ => format!(
                "framediff check --python {python} --jit {jit} --lane {} --family {} --walker {} --seed {} {much}",
                cell.lane.name(),
                cell.family,
                finding.walker.name(),
                cell.seed,
            ),
        };
        let stop = AtomicBool::new(false);
        // A part of the numbers need not show every answer of the cache.
        let owes_all = trial.stops.is_none_or(|stops| stops >= STOPS);
        let options = Options {
            wishes: Wishes { families: self.families.clone(), lanes: trial.lanes, ..Wishes::default() },
            overrides: Overrides::default(),
            seed: self.seed,
            one_round: true,
            shard: Shard::WHOLE,
            budget: trial.budget,
            stops: trial.stops,
            schedules: trial.schedules,
            jobs: self.jobs,
            known: self.known,
            profiles: false,
            confidence: CONFIDENCE,
            folder: self.folder.clone(),
            interrupted: &stop,
            sought: None,
            replay: &replay,
        };
        let mut watch = Watch::new(self);
        run(&options, std::slice::from_ref(row), &mut Stopping { watch: &mut watch, stop: &stop });
        watch.outcome(owes_all)
    }
}

/// What a mutant is checked with.
struct Trial {
    lanes: Vec<Lane>,
    stops: Option<u32>,
    schedules: Option<u32>,
    budget: Duration,
}

/// Looks at events until the first that decides.
struct Watch<'a> {
    hunter: &'a Hunter<'a>,
    begun: Instant,
    /// What `check` would make of it.
    summary: Summary,
    samples: u64,
    broken: Option<(Box<Finding>, Duration)>,
    died: Option<String>,
    doubt: Option<String>,
}

impl<'a> Watch<'a> {
    fn new(hunter: &'a Hunter<'a>) -> Self {
        let rules = Rules { known: hunter.known.clone(), confidence: CONFIDENCE, ..Rules::default() };
        let summary = Summary::new(rules);
        Self { hunter, begun: Instant::now(), summary, samples: 0, broken: None, died: None, doubt: None }
    }

    fn outcome(self, owes_all: bool) -> Hunted {
        let samples = self.samples;
        if self.hunter.interrupted.load(Ordering::Relaxed) {
            return Hunted::Inconclusive { why: "interrupted".into() };
        }
        if let Some((finding, after)) = self.broken {
            return Hunted::Killed(Kill {
                lane: finding.lane.name().into(),
                clause: finding.violation.name().into(),
                walker: finding.walker.name().into(),
                family: finding.family,
                samples,
                seconds: after.as_secs_f64(),
                replay: finding.replay,
            });
        }
        // A target that dies has shown nothing about the truth of its stacks.
        let judgement = self.summary.judgement();
        if let (None, Some(failure)) = (&self.died, judgement.failures.first()) {
            return Hunted::Killed(Kill {
                lane: String::new(),
                clause: failure.to_string(),
                walker: String::new(),
                family: String::new(),
                samples,
                seconds: self.begun.elapsed().as_secs_f64(),
                replay: String::new(),
            });
        }
        let doubt = judgement.doubts.first().filter(|_| owes_all).map(ToString::to_string);
        match (self.died, self.doubt.or(doubt)) {
            (Some(how), _) => Hunted::Died { how },
            (None, Some(why)) => Hunted::Inconclusive { why },
            (None, None) if samples == 0 => Hunted::Inconclusive { why: "no sample was taken".into() },
            (None, None) => Hunted::Passed { samples },
        }
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
        watch.summary.event(event);
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
