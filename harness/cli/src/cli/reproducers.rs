//! `reproducer`: writes a Python file that shows a failure and needs nothing but the affected CPython.
//!
//! The file is worth something only if it passes where the fault is absent. So it runs here on the affected build and on
//! a base: the build that `--baseline` names, or another build of the same version.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framewalk::printable::{clean, last_words};
use framewalk::sample::WalkerKind;
use lanes::bundle::about::AgainWorkload;
use lanes::explore::against_base::{BuildDifference, difference};
use lanes::explore::gates::from_gate_to_gate;
use lanes::explore::place::identity;
use lanes::explore::search::Until;
use lanes::stepped::RigPlan;
use model::invariants::SampleFault;
use model::schedule::cast::ProfilerScript;
use model::schedule::fingerprint::{CacheAnswer, LeafKind, SteppedFingerprint};
use model::schedule::shape::Shape;
use model::workload::Family;
use process::build::{BuildOptions, BuildVariant, Terminal, cache_folder, select};
use process::run_folder::RunFolder;
use sim::case::file::SteppedFile;
use sim::case::stepped::{SteppedCase, WorkloadIdentity};

use crate::cli::bundled;
use crate::cli::exit::Ending;
use crate::cli::explanation::Ready;
use crate::cli::opened::{Opened, open};
use crate::cli::output::{Failure, print, tell, write};
use crate::cli::shared_arguments::BuildSource;
use crate::cli::stepped_arguments::{OneCase, Reproducer};
use crate::report::reproducer::{Duty, FileMoves, NoReproducer, deed, reproducer as python_file};
use crate::report::shell::quote;

/// Without a base, a schedule that fails could show another failure.
const NO_BASE: &str = "there is no base to compare with, another build of the same version: name one with --baseline";
/// How often a file must show the failure if there is no base.
const WITHOUT_BASE: u32 = 3;
/// Two unwinders that take turns.
const TWO: &str = "a+b";

/// A file for one failure, before it is written.
struct Draft {
    file: SteppedFile,
    /// What the cache of the base answers in each sample, if only that differs.
    answers: Vec<CacheAnswer>,
}

/// What a file showed on a build.
struct Trial {
    shown: bool,
    time: Duration,
}

/// The builds that a file is tried on.
struct Builds {
    changed: BuildVariant,
    base: Option<BuildVariant>,
    plan: RigPlan,
    // Removed on drop.
    _folder: RunFolder,
}

/// What became of a file.
pub(super) enum Made {
    /// It shows the failure, and passes on the base if there is one. In words, with the times.
    Written(String),
    /// There is no file, for this reason.
    Not(String),
}

/// What file is wanted.
pub(super) struct Wanted<'a> {
    /// The file to write. It does not exist.
    pub(super) output: &'a Path,
    /// The time limit of the file when it runs, and of the search for it.
    pub(super) limit: Duration,
    /// The build on which it must pass.
    pub(super) baseline: Option<&'a Path>,
    /// The builds on which the failure was seen.
    pub(super) source: &'a BuildSource,
}

/// Writes a Python file that reproduces the failure.
pub(super) fn reproducer(arguments: &Reproducer, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let Reproducer { output, limit, baseline, case: OneCase { case, source } } = arguments;
    if output.exists() {
        return Err(format!("{} already exists: name another file", output.display()).into());
    }
    let wanted = Wanted { output, limit: *limit, baseline: baseline.as_deref(), source };
    let made = make(&open(case)?, case, &wanted, interrupted)?;
    let (text, ending) = match made {
        Made::Written(text) => (text, Ending::PASS),
        Made::Not(why) => (format!("{} was not written: {why}", output.display()), Ending::INCONCLUSIVE),
    };
    print(&(text + "\n"))?;
    Ok(if interrupted.load(Ordering::Relaxed) { Ending::Interrupted } else { ending })
}

/// Makes a file for a failure. `name` is how the user named it.
pub(super) fn make(
    opened: &Opened,
    name: &str,
    wanted: &Wanted<'_>,
    interrupted: &'static AtomicBool,
) -> Result<Made, Failure> {
    let stopped = || interrupted.load(Ordering::Relaxed);
    // Each search gets the whole time.
    let until = || Until { deadline: Some(Instant::now() + wanted.limit), interrupted: &stopped, first: false };
    let builds = Builds::of(opened, wanted.source, wanted.baseline, interrupted)?;
    let family = family(opened)?;
    if let Opened::Case(file, _) = opened {
        let draft = Draft { file: of_case(file, &builds.plan, until())?, answers: Vec::new() };
        match tried(wanted, &builds, &draft)? {
            Made::Not(why) => tell(&format!("note: {why}; looking for another schedule of {family}")),
            written @ Made::Written(_) => return Ok(written),
        }
    }
    if builds.base.is_none() {
        return Ok(Made::Not(NO_BASE.to_owned()));
    }
    let until = until();
    for family in tried_families(family) {
        let Some(found) = builds.difference(family, seed(opened), until)? else { continue };
        match tried(wanted, &builds, &draft(&builds, found)?)? {
            Made::Not(why) => tell(&format!("note: {family}: {why}")),
            written @ Made::Written(_) => return Ok(written),
        }
    }
    let again = match opened {
        Opened::Case(file, _) => format!("framediff replay {}", file.case),
        Opened::Cell(..) => format!("framediff replay {}", quote(name)),
    };
    Ok(Made::Not(format!(
        "this build and the base answered alike on all tried schedules that move from gate to gate between samples, so the \
         failure needs a target that moves during a sample, or a state that these programs do not reach; only \
         framediff can do that: `{again}`"
    )))
}

/// A case of the stepped lane that fails as a failure of another lane does, and passes on the base.
///
/// # Errors
/// There is no base, or no such case was found.
pub(super) fn case_of(
    cell: &Opened,
    source: &BuildSource,
    budget: Duration,
    interrupted: &'static AtomicBool,
) -> Result<Box<SteppedFile>, Failure> {
    let stopped = || interrupted.load(Ordering::Relaxed);
    let until = Until { deadline: Some(Instant::now() + budget), interrupted: &stopped, first: false };
    let builds = Builds::of(cell, source, None, interrupted)?;
    for family in tried_families(family(cell)?) {
        let Some(found) = builds.difference(family, seed(cell), until)? else { continue };
        if found.failing.is_some() {
            return Ok(Box::new(draft(&builds, found)?.file));
        }
    }
    Err("there is nothing to shrink: no schedule from gate to gate returns a wrong stack on this build and a right one on \
         the base; `framediff replay` runs the bundle's cell again"
        .into())
}

/// The family of the failure first, then others that often show the same fault.
fn tried_families(first: Family) -> Vec<Family> {
    let mut families = vec![first, Family::Alternating, Family::Generators, Family::Exceptions];
    families.dedup();
    families
}

/// The case from gate to gate, if it fails there, too. Otherwise the case as it is.
fn of_case(file: &SteppedFile, plan: &RigPlan, until: Until<'_>) -> Result<SteppedFile, Failure> {
    let mut file = file.clone();
    if !file.case.schedule.moves_inside_samples() && FileMoves::of(&file.case) != FileMoves::AtRest {
        match from_gate_to_gate(plan, &file.case, until)? {
            Some(gated) => file.case = gated,
            None => tell("note: the failure was not found with moves from gate to gate"),
        }
    }
    Ok(file)
}

impl Builds {
    fn of(
        opened: &Opened,
        source: &BuildSource,
        baseline: Option<&Path>,
        interrupted: &'static AtomicBool,
    ) -> Result<Self, Failure> {
        let (changed, plan, folder) = match opened {
            Opened::Case(file, _) => {
                let Ready { row, plan, folder, .. } = Ready::new(&file.case, source, interrupted)?;
                (row, plan, folder)
            }
            Opened::Cell(bundle, record) => {
                let row = bundled::row(bundle, source, interrupted)??;
                let walker = if record.again.walker == WalkerKind::CpythonUncached {
                    WalkerKind::CpythonUncached
                } else {
                    WalkerKind::CpythonCached
                };
                if !record.again.weakenings.is_empty() {
                    return Err(NoReproducer::OwnWalker { walker: record.again.walker, weakened: true }.into());
                }
                let folder = RunFolder::after_cleaning()?;
                let plan = RigPlan {
                    jit: row.jit.switch(),
                    folder: folder.path().to_owned(),
                    ..RigPlan::new(&row.build, walker)
                };
                (row, plan, folder)
            }
        };
        let base = base(&changed, baseline, source, interrupted)?;
        Ok(Self { changed, base, plan, _folder: folder })
    }

    /// A schedule of this family that tells the two builds apart: with one unwinder, with two that take turns, or else
    /// one on which only the caches answer differently.
    ///
    /// # Errors
    /// There is no base, or a rig failed.
    fn difference(&self, family: Family, seed: u64, until: Until<'_>) -> Result<Option<BuildDifference>, Failure> {
        let base = self.base.as_ref().ok_or(NO_BASE)?;
        let mut answers_differ = None;
        for cast in [ProfilerScript::default(), TWO.parse()?] {
            let changed = RigPlan { cast, ..self.plan.clone() };
            let base = RigPlan {
                jit: base.jit.switch(),
                cast: changed.cast.clone(),
                folder: changed.folder.clone(),
                ..RigPlan::new(&base.build, changed.walker)
            };
            let found = difference(&changed, &base, family, seed, until)?;
            if found.as_ref().is_some_and(|found| found.failing.is_some()) {
                return Ok(found);
            }
            answers_differ = answers_differ.or(found);
        }
        Ok(answers_differ)
    }
}

/// The build to compare with: the given one, or another build of the same version, kind and run mode.
fn base(
    changed: &BuildVariant,
    given: Option<&Path>,
    source: &BuildSource,
    interrupted: &'static AtomicBool,
) -> Result<Option<BuildVariant>, Failure> {
    let cache = cache_folder(source.cache.as_deref())?;
    let stopped = || interrupted.load(Ordering::Relaxed);
    let given: Vec<_> = given.iter().map(|path| path.to_path_buf()).collect();
    let selection = match select(&given, &BuildOptions::default(), &cache, &mut Terminal::new(stopped)) {
        Ok(selection) => selection,
        Err(error) if given.is_empty() && !stopped() => {
            tell(&format!("note: no base: {error}"));
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let wanted = identity(changed);
    let is_base = |row: &&BuildVariant| {
        let row_identity = identity(row);
        let is_other = row.build.python != changed.build.python;
        is_other
            && if given.is_empty() {
                row_identity == wanted
            } else {
                (row_identity.debug, row_identity.jit) == (wanted.debug, wanted.jit)
            }
    };
    let found = selection.rows.iter().find(is_base).cloned();
    if found.is_none() && !given.is_empty() {
        return Err(
            format!("--baseline must name another build than the one under test, which runs as {wanted}").into()
        );
    }
    Ok(found)
}

fn family(opened: &Opened) -> Result<Family, Failure> {
    match opened {
        Opened::Case(file, _) => Ok(file.case.workload.family),
        Opened::Cell(_, record) => match record.again.workload {
            AgainWorkload::Family(family) => Ok(family),
            AgainWorkload::Program { .. } => Err(
                "the failure is of a program of the user, which the bundle contains: that program is the reproducer, \
                     and `framediff replay` runs it"
                    .into(),
            ),
        },
    }
}

fn seed(opened: &Opened) -> u64 {
    match opened {
        Opened::Case(file, _) => file.case.workload.seed,
        Opened::Cell(_, record) => record.again.seed,
    }
}

fn draft(builds: &Builds, found: BuildDifference) -> Result<Draft, Failure> {
    let BuildDifference { workload, cast, samples, schedule, failing, on_base, on_changed } = found;
    let (fingerprint, answers) = match failing {
        Some(failing) => (failing.fingerprint, Vec::new()),
        None => {
            let differs = on_base.iter().zip(&on_changed).find(|(base, changed)| base != changed);
            let fingerprint = SteppedFingerprint {
                walker: builds.plan.walker,
                cast: cast.clone(),
                fault: SampleFault::HitMissed,
                answer: differs.map_or(CacheAnswer::Unknown, |(_, changed)| *changed),
                leaf: LeafKind::Function,
                shape: Shape::of(&schedule, &[]),
            };
            (fingerprint, on_base)
        }
    };
    let case = SteppedCase {
        build: identity(&builds.changed),
        workload: WorkloadIdentity::of(&workload),
        walker: builds.plan.walker,
        weakenings: [].into(),
        configuration: builds.plan.configuration,
        cast,
        samples,
        tearing: false,
        loads: false,
        schedule,
        fingerprint,
    };
    Ok(Draft { file: SteppedFile { note: String::new(), case }, answers })
}

/// Writes a file and runs it on both builds: one that takes the same steps every time, or else one that runs freely. A
/// file that does not tell the builds apart is removed.
fn tried(wanted: &Wanted<'_>, builds: &Builds, draft: &Draft) -> Result<Made, Failure> {
    let moves = FileMoves::of(&draft.file.case);
    match tried_with(wanted, builds, draft, moves)? {
        Made::Not(why) if moves == FileMoves::Stepped => {
            tell(&format!("note: {why}; target and profiler run freely now"));
            tried_with(wanted, builds, draft, FileMoves::Live)
        }
        made @ (Made::Written(_) | Made::Not(_)) => Ok(made),
    }
}

fn tried_with(wanted: &Wanted<'_>, builds: &Builds, draft: &Draft, moves: FileMoves) -> Result<Made, Failure> {
    let output = wanted.output;
    let mut duty = Duty { limit: wanted.limit, measured: None, warm_up: builds.plan.warm_up };
    match python_file(&draft.file, &draft.answers, moves, duty) {
        Ok(text) => write(output, &text)?,
        Err(why @ (NoReproducer::OwnWalker { .. } | NoReproducer::Case(_))) => return Err(why.into()),
        Err(why @ (NoReproducer::Legal | NoReproducer::Rejected | NoReproducer::Cast)) => {
            return Ok(Made::Not(why.to_string()));
        }
    }
    let removed = |why: String| -> Result<Made, Failure> {
        fs::remove_file(output)?;
        Ok(Made::Not(why))
    };
    let kind = moves.describe();
    let changed = trial(&builds.changed, output)?;
    // Without a base, luck is excluded by more runs.
    let again = if builds.base.is_none() && moves != FileMoves::Live { WITHOUT_BASE - 1 } else { 0 };
    let shown =
        changed.shown && (0..again).map(|_| trial(&builds.changed, output)).all(|one| one.is_ok_and(|one| one.shown));
    if !shown {
        return removed(format!("a file ({kind}) did not show the failure in {}", seconds(changed.time)));
    }
    if moves == FileMoves::Live {
        // The file states how long it takes, so the time is measured.
        duty.measured = Some(changed.time);
        write(output, &python_file(&draft.file, &draft.answers, moves, duty)?)?;
    }
    let on = |row: &BuildVariant| clean(&row.build.python.display().to_string());
    let of_base = match &builds.base {
        None if again > 0 => format!("it was seen {WITHOUT_BASE} of {WITHOUT_BASE} times; {NO_BASE}"),
        None => NO_BASE.to_owned(),
        Some(base) => {
            let of_base = trial(base, output)?;
            if of_base.shown {
                return removed(format!("the base {} shows the same with a file ({kind})", on(base)));
            }
            format!("{}, the base: passes, in {}", on(base), seconds(of_base.time))
        }
    };
    let what = deed(&draft.file.case, &draft.answers);
    Ok(Made::Written(format!(
        "{}: {kind}; CPython's RemoteUnwinder {what}\n  {}: shows it, in {}\n  {of_base}",
        output.display(),
        on(&builds.changed),
        seconds(changed.time)
    )))
}

fn trial(row: &BuildVariant, file: &Path) -> Result<Trial, Failure> {
    let begun = Instant::now();
    let output = Command::new(&row.build.python).args(&row.build.arguments).arg(file).stdin(Stdio::null()).output()?;
    let time = begun.elapsed();
    match output.status.code() {
        Some(1) => Ok(Trial { shown: true, time }),
        Some(0) => Ok(Trial { shown: false, time }),
        _ => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(format!("{} failed to run: {}", file.display(), last_words(&text)).into())
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
