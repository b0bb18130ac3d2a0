//! `mutants`: tests the harness itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use framewalk::weakening::Weakening;
use lab::mutants::code::Kind;
use lab::mutants::fault::Edit;
use lab::mutants::hunt::{Hunted, Hunter, ShownByOriginals};
use lab::mutants::image::BinaryImage;
use lab::mutants::install::{InstallError, Starter};
use lab::mutants::judge::{Judged, equivalent};
use lab::mutants::opcodes::Opcodes;
use lab::mutants::peers::{Baseline, Peers};
use lab::mutants::report::{MutantReport, MutantsReport, RowReport, SiteReport};
use lab::mutants::subject::{Mutant, Reach, Seeded, mutants, shows};
use lab::mutants::unwinder::UnwinderFault;
use lab::mutants::{history, weakened};
use lab::peers::cpython_tests::Suite;
use lanes::cell::PATIENCE;
use model::jit_mode::JitMode;
use model::run::document;
use model::run::event::Consumer;
use process::build::{BuildVariant, Terminal, cache_folder};
use process::run_folder::RunFolder;

use crate::cli::exit::Ending;
use crate::cli::mutant_steps::{hunting, judged, kept};
use crate::cli::mutants_arguments::Mutants;
use crate::cli::output::Failure;
use crate::cli::reports::Reporting;
use crate::cli::shared_arguments::known_failures;
use crate::cli::values::check_jobs_by_default;
use crate::cli::{rows, stand_ins, unwinder_mutants};
use crate::report::saved::Content;

/// Mutants that are equivalent to the original get this fraction of the stops and schedules, to confirm it.
const FOR_EQUIVALENTS: u32 = 10;

/// Makes mutants of each build and hunts them.
pub(super) fn run(arguments: &Mutants, interrupted: &'static AtomicBool) -> Result<Ending, Failure> {
    let stopped = || interrupted.load(Ordering::Relaxed);
    let cache = cache_folder(arguments.source.cache.as_deref())?;
    let rows = rows::with_cache(&arguments.source, arguments.jit, interrupted)?;
    let known = known_failures(arguments.known.as_deref())?;
    let folder = RunFolder::after_cleaning()?;
    let hunter = Hunter {
        known: &known,
        families: Vec::new(),
        seed: arguments.seed,
        budget: arguments.budget,
        jobs: check_jobs_by_default(),
        folder: folder.path().to_owned(),
        interrupted,
        shown: ShownByOriginals::default(),
    };
    let mut events = Reporting::of_items("mutants", &arguments.reports, Some(arguments.format))?;
    let mut report = MutantsReport {
        version: document::VERSION,
        seed: arguments.seed,
        budget_seconds: arguments.budget.as_secs_f64(),
        rows: Vec::new(),
        unwinder: Vec::new(),
        stand_ins: Vec::new(),
        own_control: None,
        own: Vec::new(),
        interrupted: false,
    };
    let faults: Vec<UnwinderFault> =
        UnwinderFault::ALL.into_iter().filter(|fault| is_wanted(arguments, fault.name())).collect();
    let mut seen: Vec<&Path> = Vec::new();
    for row in &rows {
        if stopped() {
            break;
        }
        let peers =
            if arguments.peers && !arguments.list { Some(baseline(arguments, row, &cache, &stopped)?) } else { None };
        if is_any_wanted(arguments, row)? {
            report.rows.push(Subject::new(arguments, &hunter, row, peers.as_ref())?.report(&mut events)?);
        }
        // The module is the same with and without a JIT.
        if seen.contains(&row.build.python.as_path()) || stopped() {
            continue;
        }
        seen.push(&row.build.python);
        if !faults.is_empty() {
            report.unwinder.push(unwinder_mutants::report(
                arguments,
                &hunter,
                row,
                &faults,
                peers.as_ref(),
                &mut events,
            )?);
        }
        let is_wanted = |name: &str| is_wanted(arguments, name);
        report.stand_ins.extend(stand_ins::report(arguments, &hunter, row, &is_wanted, peers.as_ref(), &mut events)?);
    }
    own_walkers(arguments, interrupted, &mut report, &mut events);
    report.interrupted = stopped();
    // A list kills nothing, so its verdict does not count.
    let is_list =
        arguments.list && report.score().inconclusive == 0 && !report.has_doubtful_control() && !report.interrupted;
    let interrupted = report.interrupted;
    match events.finish_items(Some(Content::Mutants(Box::new(report))), interrupted)? {
        Ending::INCONCLUSIVE if is_list => Ok(Ending::PASS),
        ending => Ok(ending),
    }
}

/// Runs CPython's own tests on the original.
fn baseline(
    arguments: &Mutants,
    row: &BuildVariant,
    cache: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<Baseline, Failure> {
    let suite = match &arguments.peer_tests {
        Some(folder) => Suite::Folder(std::path::absolute(folder)?),
        None => Suite::of(&row.build, cache, &mut Terminal::new(stopped))?,
    };
    Ok(Baseline::of(row, suite, stopped)?)
}

/// Hunts this project's own walkers with checks left out.
fn own_walkers(arguments: &Mutants, interrupted: &AtomicBool, report: &mut MutantsReport, events: &mut dyn Consumer) {
    let wanted: Vec<Weakening> =
        Weakening::ALL.into_iter().filter(|weakening| is_wanted(arguments, weakening.name())).collect();
    if arguments.list || wanted.is_empty() {
        return;
    }
    let cases = weakened::CASES;
    report.own_control = Some(weakened::hunt(None, cases / 10, arguments.seed, interrupted));
    for (done, &weakening) in wanted.iter().enumerate() {
        hunting(events, done, wanted.len(), weakening.name());
        let begun = Instant::now();
        let judged = match weakened::hunt(Some(weakening), cases, arguments.seed, interrupted) {
            Hunted::Killed(kill) => Judged::Killed(kill),
            Hunted::Passed { samples } => Judged::Survived { samples },
            Hunted::Died { how: why } | Hunted::Inconclusive { why } => Judged::Inconclusive { why },
        };
        let issue = history::of_weakening(weakening).map(|issue| issue.name.to_owned());
        let mutant = MutantReport { mutant: weakening.name().to_owned(), issue, judged, peers: None };
        self::judged(events, "own walkers", &mutant, begun);
        report.own.push(mutant);
    }
}

/// Whether `--mutant` selects this name: in full, by a part of it, or by its site (`@3`).
fn is_wanted(arguments: &Mutants, name: &str) -> bool {
    let named = |text: &String| if text.contains('@') { name.ends_with(text) } else { name.contains(text) };
    arguments.mutant.is_empty() || arguments.mutant.iter().any(named)
}

/// Whether `--mutant` selects any mutant of the interpreter.
fn is_any_wanted(arguments: &Mutants, row: &BuildVariant) -> Result<bool, Failure> {
    let layout = row.build.usable()?;
    let all = mutants(&BinaryImage::read(&row.build.image, layout)?);
    Ok(all.iter().any(|mutant| is_wanted(arguments, &mutant.name())))
}

/// The row under test, with everything needed to make and hunt its mutants.
struct Subject<'a> {
    arguments: &'a Mutants,
    hunter: &'a Hunter<'a>,
    row: &'a BuildVariant,
    image: BinaryImage,
    starter: Starter,
    reach: Reach,
    peers: Option<&'a Baseline>,
}

impl<'a> Subject<'a> {
    fn new(
        arguments: &'a Mutants,
        hunter: &'a Hunter<'a>,
        row: &'a BuildVariant,
        peers: Option<&'a Baseline>,
    ) -> Result<Self, Failure> {
        let layout = row.build.usable()?;
        let image = BinaryImage::read(&row.build.image, layout)?;
        let starter = Starter::new(&row.build)?;
        let reach = Reach::measure(&image, row, arguments.seed, &hunter.folder, PATIENCE, hunter.interrupted)?;
        Ok(Self { arguments, hunter, row, image, starter, reach, peers })
    }

    fn report(&self, events: &mut dyn Consumer) -> Result<RowReport, Failure> {
        let mutants: Vec<Mutant> = mutants(&self.image)
            .into_iter()
            .filter(|mutant| is_wanted(self.arguments, &mutant.name()) && shows(&self.image, mutant, self.row.jit))
            .collect();
        let mut report = RowReport {
            row: self.row.name.clone(),
            image: self.image.path().display().to_string(),
            sites: self.sites(),
            control: Vec::new(),
            mutants: Vec::new(),
            peers: self.peers.map(Baseline::report),
        };
        if !self.arguments.list {
            for _ in 0..self.arguments.control {
                hunting(events, 0, mutants.len(), "the original");
                report.control.push(
                    self.with_copy("original", &[], |row| self.hunter.control(row))?
                        .unwrap_or_else(|why| Hunted::Inconclusive { why }),
                );
            }
        }
        for (done, mutant) in mutants.iter().enumerate() {
            if self.hunter.interrupted.load(Ordering::Relaxed) {
                break;
            }
            hunting(events, done, mutants.len(), &mutant.name());
            let begun = Instant::now();
            if let Some((judged, peers)) = self.judge(mutant)? {
                let mutant = MutantReport {
                    mutant: mutant.name(),
                    issue: history::of_fault(mutant.fault).map(|issue| issue.name.to_owned()),
                    judged,
                    peers,
                };
                self::judged(events, &report.row, &mutant, begun);
                report.mutants.push(mutant);
            }
        }
        Ok(report)
    }

    fn judge(&self, mutant: &Mutant) -> Result<Option<(Judged, Option<Peers>)>, Failure> {
        let edits = match &mutant.edits {
            Ok(edits) => edits,
            Err(why) => return Ok(Some((Judged::NotViable { why: why.clone() }, None))),
        };
        if self.arguments.list {
            return Ok(None);
        }
        let share = if equivalent(mutant, &self.reach).is_some() { FOR_EQUIVALENTS } else { 1 };
        let whole = mutant.everywhere || self.arguments.whole;
        let stopped = || self.hunter.interrupted.load(Ordering::Relaxed);
        let judged = self.with_copy(&mutant.name(), edits, |row| {
            let hunted = self.hunter.hunt(row, share);
            let peers = self.peers.and_then(|peers| peers.judge(&row.build, whole, &stopped).ok());
            (Judged::of(hunted, mutant, &self.reach), peers)
        })?;
        Ok(Some(judged.unwrap_or_else(|why| (Judged::NotViable { why }, None))))
    }

    /// Runs `work` on a copy of the build with `edits`. If the copy does not start, returns the reason.
    fn with_copy<T>(
        &self,
        name: &str,
        edits: &[Edit],
        work: impl FnOnce(&BuildVariant) -> T,
    ) -> Result<Result<T, String>, Failure> {
        let temporary;
        let folder = match kept(self.arguments, self.row, name)? {
            Some(folder) => folder,
            None => {
                temporary = tempfile::tempdir_in(&self.hunter.folder)?;
                temporary.path().to_owned()
            }
        };
        self.image.write(edits, &self.starter.image_in(&folder))?;
        let build = match self.starter.install(&folder) {
            Ok(build) => build,
            Err(error @ InstallError::Probe(_)) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let row = BuildVariant { build: Arc::new(build), jit: self.row.jit, name: self.row.name.clone() };
        Ok(Ok(work(&row)))
    }

    fn sites(&self) -> Vec<SiteReport> {
        let opcodes = Opcodes::of(&self.row.build);
        let site = |(index, site): (usize, &lab::mutants::site::UpdateSite)| {
            let total = self.reach.total(&[index]);
            let mut operations: BTreeMap<String, (u64, u64)> = BTreeMap::new();
            for (operation, reached) in self.reach.operations(index) {
                let counts = operations.entry(opcodes.name(operation)).or_default();
                *counts = (counts.0 + reached.guards, counts.1 + reached.updates);
            }
            let reaches = |((family, _), coverage): (&Seeded, &lab::mutants::coverage::Coverage)| {
                let updates = coverage.iter().any(|(&(of, _), reached)| of == index && reached.updates > 0);
                updates.then(|| family.name().to_owned())
            };
            SiteReport {
                site: index,
                address: format!("{:#x}", site.address()),
                compiled: site.kind == Kind::Data,
                function: self.image.function(site.address()).map(str::to_owned),
                guards: total.guards,
                updates: total.updates,
                operations: operations.into_iter().map(|(name, (guards, updates))| (name, guards, updates)).collect(),
                families: self.reach.at_gates.iter().filter_map(reaches).collect::<BTreeSet<_>>().into_iter().collect(),
            }
        };
        // The code that the JIT copies runs only if the JIT is on.
        let executed = |(_, site): &(usize, &lab::mutants::site::UpdateSite)| {
            self.row.jit == JitMode::On || site.kind == Kind::Text
        };
        self.image.sites().iter().enumerate().filter(executed).map(site).collect()
    }
}
