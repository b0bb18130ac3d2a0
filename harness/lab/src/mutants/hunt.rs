//! Runs the check against a mutant until a clause breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lanes::check::plan::PlanRequest;
use lanes::check::run::{CheckOptions, part_of_budget, run};
use lanes::check::{BUDGET, CONFIDENCE, SCHEDULES, STOPS};
use model::invariants::Violation;
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::run::bounds::is_of_row;
use model::run::cell::{CellId, CellOutcome, Inconclusive, NotRun};
use model::run::event::{Consumer, Event};
use model::run::finding::{Finding, Fingerprint};
use model::run::known::KnownFailures;
use model::run::summary::{Rules, Summary};
use model::run::verdict::Failure;
use model::schedule::shard::Shard;
use model::workload::{Family, Overrides};
use process::build::BuildVariant;
use serde::{Deserialize, Serialize};

/// The options of the check.
pub struct Hunter<'a> {
    /// Known failures of released CPythons. They do not count as kills.
    pub known: &'a KnownFailures,
    /// The families of workloads. An empty list means all.
    pub families: Vec<Family>,
    /// The seed for the programs.
    pub seed: u64,
    /// The time after which a mutant is given up. It affects nothing else: the amount of testing is fixed by numbers.
    pub budget: Duration,
    /// Number of targets that run at the same time.
    pub jobs: usize,
    /// The folder for the targets' files.
    pub folder: PathBuf,
    /// Set when the user interrupts the run.
    pub interrupted: &'a AtomicBool,
    /// What the unchanged originals showed, by row. A mutant is not killed by it.
    pub shown: ShownByOriginals,
}

/// What the unchanged originals showed beyond the known failures, by row.
#[derive(Debug, Default)]
pub struct ShownByOriginals(Mutex<BTreeMap<String, BTreeSet<Fingerprint>>>);

impl ShownByOriginals {
    fn of(&self, row: &str) -> BTreeSet<Fingerprint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(row).cloned().unwrap_or_default()
    }

    fn add(&self, row: &str, shown: impl IntoIterator<Item = Fingerprint>) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.entry(row.to_owned()).or_default().extend(shown);
    }
}

/// The result of a hunt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Hunted {
    /// A clause broke that the original does not break.
    Killed(Kill),
    /// All of the check ran and no clause broke.
    Passed {
        /// Number of walks, counted per thread.
        samples: u64,
    },
    /// The target or the unwinder's driver died.
    Died {
        /// How the process ended, in words.
        how: String,
    },
    /// The hunt shows nothing.
    Inconclusive {
        /// Why the hunt was inconclusive.
        why: String,
    },
}

/// The first broken clause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kill {
    /// The lane in which it broke. Empty for this project's walkers on the simulated interpreter.
    #[serde(default)]
    pub lane: String,
    /// The name of the clause.
    pub clause: String,
    /// The walker whose sample or anchor broke it.
    pub walker: String,
    /// The family of the workload; empty if no violation describes the failure.
    pub family: String,
    /// Number of walks until the run stopped, counted per thread.
    pub samples: u64,
    /// Time until the clause broke, in seconds.
    pub seconds: f64,
    /// The command that replays it.
    pub replay: String,
}

impl Hunter<'_> {
    /// Checks the unchanged original like [`Self::hunt`] checks a mutant, to its end. What it shows kills no mutant of
    /// the same row.
    #[must_use]
    pub fn control(&self, row: &BuildVariant) -> Hunted {
        self.hunt_in(row, Trial { is_control: true, ..self.numbered(1) })
    }

    /// The same for [`Self::hunt_live`].
    #[must_use]
    pub fn control_live(&self, row: &BuildVariant) -> Hunted {
        self.hunt_in(row, Trial { is_control: true, ..self.timed(row) })
    }

    /// Checks `row` like the action, in the same lanes and with the same numbers of stops and schedules, until the
    /// first clause breaks that the original does not break. With a `share` of n, uses one nth of these numbers.
    #[must_use]
    pub fn hunt(&self, row: &BuildVariant, share: u32) -> Hunted {
        self.hunt_in(row, self.numbered(share))
    }

    /// Checks `row` in the live lane, for the part of its default budget that `check` gives to that lane.
    #[must_use]
    pub fn hunt_live(&self, row: &BuildVariant) -> Hunted {
        self.hunt_in(row, self.timed(row))
    }

    fn numbered(&self, share: u32) -> Trial {
        let number = |number: u32| Some((number / share.max(1)).max(1));
        let lanes = vec![Lane::Stopped, Lane::Stepped];
        let (stops, schedules) = (number(STOPS), number(SCHEDULES));
        Trial { lanes, stops, schedules, budget: self.budget, is_control: false }
    }

    fn timed(&self, row: &BuildVariant) -> Trial {
        let budget = BUDGET.mul_f64(part_of_budget(row, Lane::Live, self.jobs));
        Trial { lanes: vec![Lane::Live], stops: None, schedules: None, budget, is_control: false }
    }

    fn hunt_in(&self, row: &BuildVariant, trial: Trial) -> Hunted {
        // If the mutants are not kept, this path no longer exists afterwards.
        let python = row.build.python.display();
        let jit = if row.jit == JitMode::On { "on" } else { "off" };
        let much = match trial.stops {
            Some(stops) => format!("--stops {stops}"),
            None => format!("--budget {}s", trial.budget.as_secs()),
        };
        let replay = |_: &_, cell: &CellId, finding: &Finding| match &finding.violation {
            Violation::Existence { case, .. } => format!("framediff replay --python {python} {case}"),
            violation if is_of_row(violation) => format!(
                "framediff check --python {python} --jit {jit} --lane {} --seed {} {much}",
                cell.lane.name(),
                cell.seed,
            ),
            _ => format!(
                "framediff check --python {python} --jit {jit} --lane {} --family {} --walker {} --seed {} \
                 --configuration {} {much}",
                cell.lane.name(),
                cell.family,
                finding.walker.name(),
                cell.seed,
                cell.configuration,
            ),
        };
        let stop = AtomicBool::new(false);
        // With reduced numbers, not every kind of lookup needs to occur.
        let owes_all = trial.stops.is_none_or(|stops| stops >= STOPS);
        let options = CheckOptions {
            wishes: PlanRequest { families: self.families.clone(), lanes: trial.lanes, ..PlanRequest::default() },
            overrides: Overrides::default(),
            seed: self.seed,
            one_round: true,
            shard: Shard::WHOLE,
            budget: trial.budget,
            stops: trial.stops,
            schedules: trial.schedules,
            live: None,
            jobs: self.jobs,
            known: self.known,
            profiles: false,
            confidence: CONFIDENCE,
            folder: self.folder.clone(),
            interrupted: &stop,
            sought: None,
            replay: &replay,
        };
        let mut watch = Watch::new(self, &row.name, trial.is_control);
        run(&options, std::slice::from_ref(row), &mut Stopping { watch: &mut watch, stop: &stop });
        watch.outcome(owes_all)
    }
}

/// The lanes and numbers with which a mutant is checked.
struct Trial {
    lanes: Vec<Lane>,
    stops: Option<u32>,
    schedules: Option<u32>,
    budget: Duration,
    /// Whether the build is the unchanged original.
    is_control: bool,
}

/// Watches events until one decides the outcome.
struct Watch<'a> {
    hunter: &'a Hunter<'a>,
    row: &'a str,
    is_control: bool,
    /// What the original of the row showed.
    excused: BTreeSet<Fingerprint>,
    begun: Instant,
    /// The summary that `check` would make of the events.
    summary: Summary,
    samples: u64,
    broken: Option<(Box<Finding>, Duration)>,
    died: Option<String>,
    doubt: Option<String>,
}

impl<'a> Watch<'a> {
    fn new(hunter: &'a Hunter<'a>, row: &'a str, is_control: bool) -> Self {
        let rules = Rules { known: hunter.known.clone(), confidence: CONFIDENCE, ..Rules::default() };
        let summary = Summary::new(rules);
        let excused = if is_control { BTreeSet::new() } else { hunter.shown.of(row) };
        let begun = Instant::now();
        Self { hunter, row, is_control, excused, begun, summary, samples: 0, broken: None, died: None, doubt: None }
    }

    /// Whether a violation is evidence: it is neither known nor shown by the original.
    fn counts(&self, finding: &Finding) -> bool {
        self.hunter.known.find(finding).is_none() && !self.excused.contains(&finding.fingerprint())
    }

    fn outcome(self, owes_all: bool) -> Hunted {
        let samples = self.samples;
        if self.hunter.interrupted.load(Ordering::Relaxed) {
            return Hunted::Inconclusive { why: "interrupted".into() };
        }
        if self.is_control {
            let failing = self.summary.violations().iter().filter(|violation| violation.fails(false));
            self.hunter.shown.add(self.row, failing.map(|violation| violation.fingerprint.clone()));
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
        // A target that died shows nothing about its stacks.
        let judgement = self.summary.judgement();
        let is_new = |failure: &&Failure| match failure {
            Failure::Violation { fingerprint } => !self.excused.contains(fingerprint),
            Failure::Undescribed { .. } => true,
        };
        if let (None, Some(failure)) = (&self.died, judgement.failures.iter().find(is_new)) {
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

/// Stops the run as soon as an event decides the outcome.
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
            Event::Violation(finding) if watch.broken.is_none() && watch.counts(finding) => {
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
        let decided = (watch.broken.is_some() && !watch.is_control) || watch.died.is_some();
        if decided || watch.hunter.interrupted.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
