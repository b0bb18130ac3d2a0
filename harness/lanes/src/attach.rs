//! The live comparison on a process that is already running.
//!
//! Such a process has no grammar. The reference walker, which verifies each of its stacks, teaches the harness what the
//! process can legally show; the other walkers are then judged by that. A path that the reference walker happened to
//! miss counts against cached and uncached walkers alike, so only a difference between the two says something about the
//! cache.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use framewalk::layout::{CacheFields, Layout, LayoutError};
use framewalk::sample::WalkerKind;
use framewalk::walker::Site;
use model::jit_mode::JitMode;
use model::lane::Lane;
use model::oracle::statistics::Demand;
use model::run::cell::{CellId, Expected, PlannedCell, Row as ReportedRow};
use model::run::configuration::Configuration;
use model::run::event::{Consumer, Event};
use model::run::known::KnownFailures;
use model::workload::{Family, Overrides};
use process::build::{Build, BuildOptions, BuildVariant, LocateError, fetched, probe_with};
use process::memory::ProcessMemory;
use process::program::Program;
use process::runtime::{RuntimeError, RuntimeLocation, runtime_address};
use thiserror::Error;

use crate::cell::Cell;
use crate::drivers::UnwinderPool;
use crate::live::attached::{Process, compare_walkers};
use crate::recorder::CellRecorder;

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
    /// Whether the walkers may read a free-threaded build.
    pub free_threaded: bool,
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
    let allow = |layout: Layout| if options.free_threaded { layout.with_free_threaded() } else { layout };
    let site = Site { layout: allow(site.layout), ..site };
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
    let id = CellId {
        row: name.clone(),
        lane: Lane::Live,
        family: "attached".into(),
        walkers,
        seed: 0,
        configuration: Configuration::default(),
    };
    consumer.event(&Event::RunStarted {
        rows: vec![ReportedRow {
            name: name.clone(),
            python: build.python.clone(),
            version: build.full_version(),
            flavour: "process".into(),
            jit: false,
            arguments: Vec::new(),
            frame_cache: layout.frame_cache().to_string(),
            layout: build.proof(),
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
