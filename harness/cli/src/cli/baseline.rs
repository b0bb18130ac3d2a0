//! `check --baseline`: the same run on the build that a change is compared with, or the report of such a run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use framewalk::printable::clean;
use lanes::check::run::{part_of_budget, reported};
use lanes::check::{BUDGET, SCHEDULES, STOPS};
use model::files;
use model::lane::Lane;
use model::run::baseline::mismatches;
use model::run::cell::Row;
use model::run::document::Document;
use model::run::event::{Consumer, Event};
use model::run::known::KnownFailures;
use model::run::summary::{Rules, Summary};
use process::build::{BuildError, BuildOptions, BuildVariant, SelectError};

use crate::cli::check_arguments::{Check, Selection};
use crate::cli::check_run::{self, Extent};
use crate::cli::output::{Failure, tell};
use crate::cli::values::{check_jobs_by_default, random_seed};
use crate::report::progress::Progress;
use crate::report::saved::{Content, Saved};

/// The action stops each target this many times as often as a run with the default budget, which has a live lane, too.
const FEWER: f64 = 3.0;
/// A run with fewer stops or schedules does not reach every outcome of the cache.
const FEWEST: u32 = 30;
/// How many times its budget a run may take whose numbers are not the user's. Only a slow or busy machine needs more than
/// the budget.
const PATIENCE: u32 = 4;

/// A base as it was given.
pub(super) struct Base {
    /// How reports name it.
    pub(super) name: String,
    path: PathBuf,
    /// Its report, if it is one.
    report: Option<Box<Document>>,
}

/// A base after its run.
pub(super) enum Tested {
    /// The report of the run.
    Yes(Box<Document>),
    /// It cannot be tested, or not as a base of these builds, for these reasons.
    No(Vec<String>),
}

impl Base {
    /// Reads the base if it is a report. Anything that the kernel could execute is taken for an interpreter.
    ///
    /// # Errors
    /// It is a file, but neither an interpreter nor a report of `check`.
    pub(super) fn open(path: &Path, known: &KnownFailures) -> Result<Self, Failure> {
        let name = clean(&path.display().to_string());
        let start = start_of(path);
        if start.starts_with(ELF) || start.starts_with(b"#!") || !path.is_file() {
            return Ok(Self { name, path: path.to_owned(), report: None });
        }
        match Saved::load(path, known)?.content {
            Content::Check(document) => Ok(Self { name, path: path.to_owned(), report: Some(document) }),
            other => Err(format!(
                "{name} is {}; --baseline takes an interpreter, or the JSON report of `check` or `merge`",
                other.report().what()
            )
            .into()),
        }
    }

    /// The arguments for both runs, with everything decided that decides what runs: what the base's report says, or
    /// else what the user or the budget says.
    ///
    /// # Errors
    /// The user wants a run that is not the report's.
    pub(super) fn settle(&self, arguments: &Check) -> Result<Check, Failure> {
        let Selection { seed, .. } = arguments.selection;
        let mut settled = arguments.clone();
        if let Some(report) = &self.report {
            self.agree("seed", seed, Some(report.seed))?;
            self.agree("stops", arguments.stops, report.stops)?;
            self.agree("schedules", arguments.schedules, report.schedules)?;
            settled.selection.seed = Some(report.seed);
            (settled.stops, settled.schedules) = (report.stops, report.schedules);
            if report.stops.or(report.schedules).is_none() {
                tell(
                    "note: time bounded the run of the base, so this one has other stops and schedules; bound both with \
                     --stops and --schedules",
                );
            }
        } else {
            settled.selection.seed = Some(seed.unwrap_or_else(random_seed));
            if !is_numbered(arguments) {
                let share = arguments.budget.as_secs_f64() / BUDGET.as_secs_f64();
                settled.stops = Some(number(STOPS, share / FEWER));
                settled.schedules = Some(number(SCHEDULES, share));
            }
        }
        Ok(settled)
    }

    fn agree<T: PartialEq + std::fmt::Display>(
        &self,
        option: &str,
        wanted: Option<T>,
        base: Option<T>,
    ) -> Result<(), Failure> {
        match (wanted, base) {
            (Some(wanted), Some(base)) if wanted != base => Err(format!(
                "the base {} ran with --{option} {base}, so it is no base for --{option} {wanted}: leave --{option} out, \
                 or run the base again",
                self.name
            )
            .into()),
            (Some(wanted), None) => Err(format!(
                "the base {} did not run with --{option}, so it is no base for --{option} {wanted}: run the base again \
                 with it",
                self.name
            )
            .into()),
            (None, _) | (Some(_), Some(_)) => Ok(()),
        }
    }

    /// How long each of the two runs may take. `given` are the user's own arguments.
    pub(super) fn extent(&self, given: &Check, rows: &[BuildVariant]) -> Extent {
        if self.report.is_some() || is_numbered(given) {
            return Extent { budget: given.budget, live: None };
        }
        let jobs = given.jobs.map_or_else(check_jobs_by_default, std::num::NonZero::get);
        let is_live_only =
            !given.selection.lane.is_empty() && given.selection.lane.iter().all(|lane| *lane == Lane::Live);
        let part = match rows.first() {
            Some(row) if !is_live_only => part_of_budget(row, Lane::Live, jobs),
            Some(_) | None => 1.0,
        };
        Extent { budget: given.budget * PATIENCE, live: Some(given.budget.mul_f64(part)) }
    }

    /// The builds of the base, or why they cannot be tested. A report has none that could run.
    ///
    /// # Errors
    /// There is no such interpreter.
    pub(super) fn rows(&self, arguments: &Check) -> Result<Result<Vec<BuildVariant>, String>, Failure> {
        if self.report.is_some() {
            return Ok(Ok(Vec::new()));
        }
        // A shell would run such a file as a script.
        let machine = machine(&start_of(&self.path));
        if machine.is_some() && machine != self::machine(&start_of(Path::new("/proc/self/exe"))) {
            let why = format!("{} is a program for another architecture than this machine's", self.name);
            return Ok(Err(why));
        }
        // A header is that of the change. The base has the same one if it has none of its own: the layout is proved.
        let named = arguments.source.options();
        let rows = |options: &BuildOptions| check_run::rows(arguments, std::slice::from_ref(&self.path), options);
        let found = match rows(&BuildOptions { header: None, ..named.clone() }) {
            Err(error) if named.header.is_some() && is_of_layout(&error) => rows(&named),
            found => found,
        };
        match found {
            Ok(rows) => Ok(Ok(rows)),
            Err(error) => match error.downcast_ref::<SelectError>() {
                Some(SelectError::Build(BuildError::NotFound { .. } | BuildError::Folder { .. })) | None => {
                    Err(format!("--baseline: {error}").into())
                }
                Some(_) => Ok(Err(error.to_string())),
            },
        }
    }

    /// Runs `base`, the builds of the base, like the builds in `rows`, unless the base is a report.
    ///
    /// # Errors
    /// The run cannot be set up.
    pub(super) fn test(
        self,
        base: Result<Vec<BuildVariant>, String>,
        arguments: &Check,
        rows: &[BuildVariant],
        extent: Extent,
        rules: &Rules,
    ) -> Result<Tested, Failure> {
        let now: Vec<Row> = rows.iter().map(reported).collect();
        if let Some(report) = self.report {
            let why = mismatches(&now, &report.builds);
            return Ok(if why.is_empty() { Tested::Yes(report) } else { Tested::No(why) });
        }
        let base = match base {
            Ok(base) => base,
            Err(why) => return Ok(Tested::No(vec![why])),
        };
        let why = mismatches(&now, &base.iter().map(reported).collect::<Vec<_>>());
        if !why.is_empty() {
            return Ok(Tested::No(why));
        }
        let names: Vec<&str> = base.iter().map(|row| row.name.as_str()).collect();
        tell(&format!("note: the base runs first: {}", names.join(", ")));
        let mut run =
            BaseRun { summary: Summary::new(rules.clone()), progress: Progress::on_stderr(rules.known.clone()) };
        check_run::run_on(arguments, &base, extent, &rules.known, &mut run)?;
        Ok(Tested::Yes(Box::new(Document::from(&run.summary))))
    }
}

/// Whether a build was refused for its layout.
fn is_of_layout(error: &Failure) -> bool {
    matches!(error.downcast_ref(), Some(SelectError::Build(BuildError::Layout { .. })))
}

/// How a program for Linux begins.
const ELF: &[u8] = b"\x7fELF";

/// The first bytes of a file, as far as they can be read.
fn start_of(path: &Path) -> Vec<u8> {
    files::beginning(path, 20)
}

/// The architecture of a program, by its number in the header of ELF.
fn machine(start: &[u8]) -> Option<[u8; 2]> {
    start.starts_with(ELF).then(|| start.get(18..20)?.try_into().ok()).flatten()
}

/// Whether the user says how much each lane tests.
fn is_numbered(arguments: &Check) -> bool {
    arguments.stops.is_some() || arguments.schedules.is_some()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of stops")]
fn number(of: u32, share: f64) -> u32 {
    ((f64::from(of) * share).min(f64::from(u32::MAX)) as u32).max(FEWEST)
}

/// Consumes the events of the base's run.
struct BaseRun {
    summary: Summary,
    progress: Progress,
}

impl Consumer for BaseRun {
    fn event(&mut self, event: &Event) {
        self.summary.event(event);
        self.progress.event(event);
    }
}

/// The events of a run of these builds that tests nothing, because its base was not tested.
pub(super) fn nothing_ran(rows: &[BuildVariant], seed: u64, budget: Duration, consumer: &mut dyn Consumer) {
    consumer.event(&Event::RunStarted {
        rows: rows.iter().map(reported).collect(),
        plan: Vec::new(),
        seed,
        budget,
        stops: None,
        schedules: None,
        part: None,
    });
    consumer.event(&Event::RunFinished { interrupted: false });
}
