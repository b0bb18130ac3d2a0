//! The live comparison on a process that is already running.
//!
//! Such a process has no grammar. The reference walker, which verifies each of its stacks, teaches the harness what the
//! process can legally show; the other walkers are then judged by that. A path that the reference walker happened to
//! miss counts against cached and uncached walkers alike, so only a difference between the two says something about the
//! cache.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use framewalk::layout::{CacheFields, Layout, LayoutError};
use framewalk::memory::RemoteMemory;
use framewalk::reference::ReferenceWalker;
use framewalk::rejection::Rejection;
use framewalk::sample::WalkerKind;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::oracle::statistics::Demand;
use model::oracle::tally::Tally;
use model::run::cell::{CellId, CellOutcome, Expected, Inconclusive, PlannedCell, Row as ReportedRow};
use model::run::event::{Consumer, Event};
use model::run::known::KnownFailures;
use model::workload::grammar::{CallLines, ContextId, Function, FunctionId, Grammar};
use model::workload::{Family, Overrides};
use process::build::{Build, BuildOptions, BuildVariant, LocateError, fetched, probe_with};
use process::memory::{ProcessMemory, read_only};
use process::program::Program;
use process::runtime::{RuntimeError, RuntimeLocation, runtime_address};
use thiserror::Error;

use crate::cell::{Cell, CellError};
use crate::chains::Chains;
use crate::drivers::{Observed, UnwinderPool};
use crate::live::{LOST, SHORTEST, compare_cpython, compare_own, end_of_another, sample_until, weigh};
use crate::recorder::CellRecorder;

/// Each look at the chains gets one part in this many of the remaining time.
const LOOKS: u32 = 20;
/// The most contexts learned of one process. A process with more different paths is not learned in full.
const CONTEXT_LIMIT: usize = 1 << 18;

/// A walker that returned fewer stacks was not compared.
const FEWEST_STACKS: u64 = 20;

/// Why a process cannot be sampled at all.
#[derive(Debug, Error)]
pub enum AttachError {
    /// It is not a Python process, or its runtime cannot be found.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its layout is unknown.
    #[error(transparent)]
    Site(#[from] LocateError),
    /// Its layout cannot be walked.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The program that it runs cannot be determined.
    #[error("cannot find out which program process {pid} runs: {source}")]
    Program {
        /// The process to be sampled.
        pid: i32,
        /// What the system reported.
        source: io::Error,
    },
}

/// How to sample a process.
pub struct AttachOptions<'a> {
    /// The process to be sampled.
    pub pid: i32,
    /// How long to sample.
    pub budget: Duration,
    /// How much longer to wait for an answer after the budget is spent.
    pub grace: Duration,
    /// Whether the walkers may write the anchors.
    pub write: bool,
    /// Known failures of the released builds.
    pub known: &'a KnownFailures,
    /// The confidence of the comparison.
    pub confidence: f64,
    /// The header with the order of the offsets, if the user named one.
    pub layout_header: Option<&'a Path>,
    /// Where fetched builds are kept. The process may run one of them.
    pub cache: &'a Path,
    /// Set when the user stops the run.
    pub interrupted: &'a AtomicBool,
}

/// Samples the process and sends events to `consumer`.
///
/// # Errors
/// The process cannot be read.
pub fn run(options: &AttachOptions<'_>, consumer: &mut (dyn Consumer + Send)) -> Result<(), AttachError> {
    // This comes first: whatever is read after an `execve` must not be attributed to this program.
    let program = Program::of(options.pid);
    let location = runtime_address(options.pid)?;
    let program = program.map_err(|source| AttachError::Program { pid: options.pid, source })?;
    let (build, has_unwinder) = own_build(options, &location)?;
    let site = build.site(options.pid)?;
    let layout = site.layout;
    layout.walkable()?;
    let can_write = options.write && layout.frame_cache() == CacheFields::AnchorAndSequence;
    // CPython's walkers are there to be compared: the uncached one without the cached one shows nothing.
    let can_run = |kind: &WalkerKind| match kind.is_cpythons() {
        true => can_write && has_unwinder,
        false => can_write || !kind.is_cached(),
    };
    let walkers = WalkerKind::ALL.into_iter().filter(can_run).collect();
    let name = format!("process {}", options.pid);
    let id = CellId { row: name.clone(), lane: Lane::Live, family: "attached".into(), walkers, seed: 0 };
    consumer.event(&Event::RunStarted {
        rows: vec![ReportedRow {
            name: name.clone(),
            python: build.python.clone(),
            version: build.full_version(),
            flavour: "process".into(),
            jit: false,
            arguments: Vec::new(),
            frame_cache: layout.frame_cache().to_string(),
        }],
        plan: vec![PlannedCell::new(id.clone(), Expected::NONE)],
        seed: 0,
        budget: options.budget,
        stops: None,
        schedules: None,
        part: None,
    });
    consumer.event(&Event::CellStarted { cell: id.clone() });
    let row = BuildVariant { build: Arc::new(build), jit: JitMode::Unavailable, name };
    let weakenings = std::collections::BTreeSet::new();
    let cell = Cell {
        id: &id,
        row: &row,
        family: Family::Alternating,
        program: None,
        overrides: Overrides::default(),
        weakenings: &weakenings,
        demand: Demand::new(options.confidence, 2),
        known: options.known,
        rows: &Mutex::default(),
        profiles: false,
        deadline: Instant::now() + options.budget,
        limit: Instant::now() + options.budget + options.grace,
        stops: None,
        schedules: None,
        is_first: true,
        interrupted: options.interrupted,
        sought: None,
        folder: options.cache,
    };
    let consumer = Mutex::new(consumer);
    let send = |event| consumer.lock().unwrap_or_else(PoisonError::into_inner).event(&event);
    let replay = |_: &_| format!("framediff attach {} --write", options.pid);
    let outcome = {
        let recorder = CellRecorder::new(&cell, &send, &replay);
        let process = Process { site, program: &program, can_write };
        let memory = ProcessMemory::new(options.pid);
        compare_walkers(&cell, &recorder, &mut UnwinderPool::default(), memory, &process)
    };
    send(Event::CellFinished { cell: id.clone(), outcome });
    send(Event::RunFinished { interrupted: cell.is_interrupted() });
    Ok(())
}

/// Compares the walkers of the cell on a process whose stacks are unknown.
pub(super) fn compare_walkers(
    cell: &Cell<'_>,
    recorder: &CellRecorder<'_>,
    drivers: &mut UnwinderPool,
    memory: ProcessMemory,
    process: &Process<'_>,
) -> CellOutcome {
    let pid = memory.pid();
    let tallies = Mutex::new(BTreeMap::<WalkerKind, Tally>::new());
    let send = |event| {
        if let Event::Samples { walker, tally, .. } = &event {
            *tallies.lock().unwrap_or_else(PoisonError::into_inner).entry(*walker).or_default() += tally;
        }
        recorder.send(event);
    };
    let mut chains = Chains::default();
    // Dropping this recorder flushes its counts.
    let result = sample(cell, &mut recorder.through(&send), drivers, memory, process, &mut chains);
    let tallies = std::mem::take(&mut *tallies.lock().unwrap_or_else(PoisonError::into_inner));
    let shown = || match process.can_write {
        true => doubtful(&chains, &tallies),
        false => Some(read_only_run(&chains, &tallies, process.site.layout)),
    };
    // If the process is gone, the comparison proves nothing, even if no read failed.
    match (ended(pid, process.site, process.program), result) {
        (Some(why), _) => CellOutcome::Inconclusive(Inconclusive::TargetEnded(why)),
        (None, Err(cut)) => cut.into(),
        (None, Ok(())) if cell.is_interrupted() => CellOutcome::Inconclusive(Inconclusive::Interrupted),
        (None, Ok(())) => match shown() {
            Some(why) => CellOutcome::Inconclusive(Inconclusive::NothingCompared(why)),
            None => CellOutcome::Ran,
        },
    }
}

/// Why the samples are not enough to compare walkers, if they are not. The first reason explains those after it.
fn doubtful(chains: &Chains, tallies: &BTreeMap<WalkerKind, Tally>) -> Option<String> {
    let rejecting = tallies.iter().find(|(_, tally)| tally.rejected() * 2 > tally.samples);
    let few = tallies.iter().find(|(_, tally)| tally.accepted() < FEWEST_STACKS);
    let unlearnt =
        tallies.iter().find(|(walker, tally)| !walker.is_cached() && tally.impossible() * 2 > tally.accepted());
    if let Some(switched) = chains.switched() {
        Some(switched)
    } else if let Some((walker, tally)) = rejecting {
        Some(format!("{walker} rejected more than half of its samples: {}", rejections(tally)))
    } else if let Some((walker, tally)) = few {
        let stacks = tally.accepted();
        Some(format!("{walker} returned {stacks} stacks, and {FEWEST_STACKS} are needed: give a longer --budget"))
    } else if let Some((walker, tally)) = unlearnt {
        Some(format!(
            "of the {} stacks of {walker}, {} are of none of the paths that own-reference saw before: the process has more \
             paths than it showed in that time, or went on to others; give a longer --budget",
            tally.accepted(),
            tally.impossible()
        ))
    } else {
        None
    }
}

/// How many samples a walker rejected, and the most common reason.
fn rejections(tally: &Tally) -> String {
    let share = 100.0 * tally.rejected() as f64 / tally.samples.max(1) as f64;
    let mostly = tally.rejected.iter().max_by_key(|(_, count)| **count);
    let mostly = mostly.map(|(reason, count)| format!(", mostly {reason} ({count})")).unwrap_or_default();
    format!("{} of {} ({share:.1} %){mostly}", tally.rejected(), tally.samples)
}

/// What a read-only run showed, and how to continue.
fn read_only_run(chains: &Chains, tallies: &BTreeMap<WalkerKind, Tally>, layout: Layout) -> String {
    let walkers: Vec<String> = tallies
        .iter()
        .map(|(walker, tally)| format!("{walker} rejected {} thread samples", rejections(tally)))
        .collect();
    let base = chains.switched().unwrap_or_else(|| match chains.looks() {
        0 => "no chain was stable for long enough to check whether it ends at its base frame".to_owned(),
        looks => format!("in {looks} looks at stable chains, every chain ended at its base frame"),
    });
    let next = if layout.frame_cache() == CacheFields::AnchorAndSequence {
        "cached walkers write the anchor: allow it with --write"
    } else {
        "this CPython has no frame cache; cached walkers need --write and a CPython 3.15"
    };
    format!(
        "nothing was written, so only uncached walkers ran: threads seen: {}, at most {} Python frames deep; {}; \
         {base}. Nothing cached was compared: {next}",
        chains.threads(),
        chains.deepest(),
        walkers.join(", ")
    )
}

/// Why the sampled program is gone, if it is.
fn ended(pid: i32, site: Site, program: &Program) -> Option<String> {
    let now = Program::of(pid);
    if now.as_ref().is_ok_and(|now| now != program) {
        return Some(format!("process {pid} replaced its program (execve) and now runs another one"));
    }
    let unknown = |error| format!("cannot check whether process {pid} still runs the same program: {error}");
    Observed { pid, site }.ended().or_else(|| now.err().map(unknown))
}

/// The build that the process runs, so that its own `RemoteUnwinder` can be used: its executable, or a fetched build.
/// If neither matches, returns what is known about the process without a build, and false. That is enough only for a
/// known final release.
fn own_build(options: &AttachOptions<'_>, location: &RuntimeLocation) -> Result<(Build, bool), AttachError> {
    let executable = std::fs::read_link(format!("/proc/{}/exe", options.pid)).unwrap_or_default();
    let candidates: Vec<PathBuf> =
        std::iter::once(executable.clone()).chain(fetched(options.cache).into_iter().flatten()).collect();
    let same = |build: &Build| match (build.image.canonicalize(), location.image.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    let header = options.layout_header.map(Path::to_path_buf);
    let named = BuildOptions { header, ..BuildOptions::default() };
    if let Some(build) = candidates.iter().filter_map(|path| probe_with(path, &named).ok()).find(same) {
        return Ok((build, true));
    }
    Ok((
        Build::of_process(executable, &mut ProcessMemory::new(options.pid), location).map_err(LocateError::from)?,
        false,
    ))
}

/// The process to sample, and whether its anchors may be written.
pub(super) struct Process<'a> {
    /// Where it is walked.
    pub(super) site: Site,
    /// The program that it ran at the start.
    pub(super) program: &'a Program,
    /// Whether its anchors may be written.
    pub(super) can_write: bool,
}

impl Process<'_> {
    /// Fails if the process no longer runs the program that it ran at the start.
    fn check(&self, memory: &ProcessMemory) -> Result<(), CellError> {
        ended(memory.pid(), self.site, self.program).map_or(Ok(()), |why| Err(Inconclusive::TargetEnded(why).into()))
    }
}

fn sample(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    drivers: &mut UnwinderPool,
    mut memory: ProcessMemory,
    process: &Process<'_>,
    chains: &mut Chains,
) -> Result<(), CellError> {
    let site = process.site;
    chains.look_until(cell, &mut read_only(memory.clone()), site, cell.part(0, LOOKS));
    if !process.can_write {
        let mut walker = UncachedWalker::new(site)?;
        let mut memory = read_only(memory);
        let until = cell.part(0, 1);
        return sample_until(cell, recorder, &mut memory, &mut [&mut walker], until, |recorder, sample| {
            for thread in &sample.threads {
                recorder.count(sample.walker, thread);
            }
        });
    }
    let has_cpython = cell.id.walkers.iter().any(|walker| walker.is_cpythons());
    let parts = if has_cpython { 3 } else { 2 };
    let grammar = learn(cell, recorder, &mut memory, site, cell.part(0, parts))?;
    process.check(&memory)?;
    chains.look_until(cell, &mut read_only(memory.clone()), site, cell.part(0, LOOKS));
    // There is no other process that runs the same program, so what exceeds a bound is measured again on this one.
    let first = compare_own(cell, recorder, &mut memory, site, &grammar, cell.part(1, parts))?;
    weigh(cell, recorder, first, |recorder, time| {
        process.check(&memory)?;
        compare_own(cell, recorder, &mut memory, site, &grammar, end_of_another(cell, time)?)
    })?;
    process.check(&memory)?;
    if has_cpython {
        let target = Observed { pid: memory.pid(), site };
        let until = cell.deadline.max(Instant::now() + SHORTEST);
        let first = compare_cpython(cell, recorder, drivers, target, &grammar, until)?;
        weigh(cell, recorder, first, |recorder, time| {
            process.check(&memory)?;
            compare_cpython(cell, recorder, drivers, target, &grammar, end_of_another(cell, time)?)
        })?;
    }
    Ok(())
}

/// Learns what the process can show, from the stacks that the reference walker verified.
fn learn(
    cell: &Cell<'_>,
    recorder: &mut CellRecorder<'_>,
    memory: &mut ProcessMemory,
    site: Site,
    until: Instant,
) -> Result<Grammar, CellError> {
    let mut learnt = Learnt::default();
    let mut reference = ReferenceWalker::new(site)?;
    attach(&mut reference, memory)?;
    let result = sample_until(cell, recorder, memory, &mut [&mut reference], until, |recorder, sample| {
        for thread in &sample.threads {
            recorder.count(sample.walker, thread);
            if let Ok(stack) = &thread.outcome {
                learnt.learn(stack);
            }
        }
    });
    detach(&mut reference, memory)?;
    result?;
    Ok(learnt.grammar)
}

pub(super) fn attach(walker: &mut dyn Walker, memory: &mut dyn RemoteMemory) -> Result<(), CellError> {
    persist(|| walker.attach(memory))
}

pub(super) fn detach(walker: &mut dyn Walker, memory: &mut dyn RemoteMemory) -> Result<(), CellError> {
    persist(|| walker.detach(memory))
}

/// Retries an action until it works. A thread of the running target that is just ending can make it fail.
fn persist(mut action: impl FnMut() -> Result<(), Rejection>) -> Result<(), CellError> {
    let until = Instant::now() + LOST;
    loop {
        match action() {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < until => {}
            Err(rejection) => return Err(rejection.into()),
        }
    }
}

/// A grammar that grows with each verified stack.
#[derive(Default)]
struct Learnt {
    grammar: Grammar,
    functions: BTreeMap<(String, String), FunctionId>,
    contexts: BTreeMap<(Option<ContextId>, FunctionId, Option<i32>), ContextId>,
}

impl Learnt {
    fn learn(&mut self, stack: &[framewalk::frame::Frame]) {
        let mut parent: Option<(ContextId, Option<i32>)> = None;
        for frame in stack.iter().rev() {
            if self.grammar.contexts.len() >= CONTEXT_LIMIT {
                return;
            }
            let key = (frame.function.to_string(), frame.file.to_string());
            let function = *self.functions.entry(key).or_insert_with_key(|(name, file)| {
                self.grammar.function(Function {
                    name: name.clone(),
                    file: file.clone(),
                    first_line: 0,
                    last_line: u32::MAX,
                })
            });
            let line = parent.and_then(|(_, line)| line);
            let key = (parent.map(|(context, _)| context), function, line);
            let context = *self.contexts.entry(key).or_insert_with(|| match parent {
                None => self.grammar.root(function),
                Some((parent, line)) => {
                    let line = line.and_then(|line| u32::try_from(line).ok());
                    let lines = line.map_or(CallLines::Anywhere, |line| CallLines::At(vec![line]));
                    self.grammar.call(parent, function, lines)
                }
            });
            parent = Some((context, frame.location.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use framewalk::frame::{Frame, Location};

    use super::*;

    #[test]
    fn a_walker_that_rejects_most_samples_is_named_with_its_main_reason() {
        let tally = |samples, rejected: &[(&str, u64)]| Tally {
            samples,
            rejected: rejected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            ..Tally::default()
        };
        let chains = Chains::default();
        let of = |tally: Tally| doubtful(&chains, &BTreeMap::from([(WalkerKind::OwnReference, tally)]));
        assert_eq!(of(tally(100, &[("moved", 20), ("generator-leaf", 30)])), None);
        let why = of(tally(100, &[("moved", 20), ("generator-leaf", 40)])).unwrap();
        assert_eq!(
            why,
            "own-reference rejected more than half of its samples: 60 of 100 (60.0 %), mostly generator-leaf (40)"
        );
    }

    #[test]
    fn a_comparison_needs_stacks_whose_paths_were_learnt() {
        let of = |walker, samples, torn| {
            let impossible = [(model::oracle::cause::Cause::TornRead, torn)].into();
            let tally = Tally { samples, impossible, ..Tally::default() };
            doubtful(&Chains::default(), &BTreeMap::from([(walker, tally)]))
        };
        assert!(of(WalkerKind::CpythonCached, 1, 0).is_some_and(|why| why.contains("returned 1 stacks")));
        assert_eq!(of(WalkerKind::CpythonUncached, 100, 50), None);
        assert!(
            of(WalkerKind::CpythonUncached, 100, 51).is_some_and(|why| why.contains("51 are of none of the paths"))
        );
        // A cached walker serves one torn walk again and again.
        assert_eq!(of(WalkerKind::CpythonCached, 100, 90), None);
    }

    #[test]
    fn learned_stacks_are_legal_and_mixtures_are_not() {
        let stack = |frames: &[(&str, i32)]| -> Vec<Frame> {
            frames
                .iter()
                .map(|&(function, line)| Frame {
                    function: function.into(),
                    file: "/app/main.py".into(),
                    location: Location { line: Some(line), ..Location::default() },
                })
                .collect()
        };
        let mut learnt = Learnt::default();
        let first = stack(&[("leaf", 9), ("a", 3), ("<module>", 20)]);
        let second = stack(&[("leaf", 8), ("b", 5), ("<module>", 21)]);
        learnt.learn(&first);
        learnt.learn(&second);
        let legal = |stack: &[Frame]| learnt.grammar.judge(stack).is_ok();
        assert!(legal(&first) && legal(&second));
        assert!(legal(&stack(&[("leaf", 1), ("b", 5), ("<module>", 21)])));
        assert!(!legal(&stack(&[("leaf", 9), ("a", 5), ("<module>", 21)])));
    }
}
