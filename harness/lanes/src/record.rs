//! Records a snapshot: stops a build at several gates of a gated workload and keeps everything that walkers read.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use framewalk::layout::{Layout, LayoutError};
use framewalk::memory::image::Image;
use framewalk::memory::overlay::Overlay;
use framewalk::memory::recorder::{Ranges, Recorder};
use framewalk::memory::{Address, MemoryError, RemoteMemory};
use framewalk::rejection::Rejection;
use framewalk::sample::{Sample, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::thread_state::thread_states;
use framewalk::walker::{Site, Unsupported, Walker};
use model::account::AccountFrame;
use model::workload::{Family, Mode, Parameters, generate};
use process::build::{BuildVariant, LocateError};
use process::gate::GateError;
use process::memory::ProcessMemory;
use process::target::{LaunchError, StopError, Target};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sim::snapshot::{GateTruth, Meta, Profiled, RecordedStop, Snapshot, ThreadTruth};

use crate::cell::patience;

/// Gates to pass before the first stop, so that code is specialised.
const PASSED_FIRST: u32 = 4;
/// The same with a JIT, so that hot code is compiled.
const PASSED_FIRST_WITH_JIT: u32 = 60;
/// Gates to pass between stops. Mostly none, so that the stack changes little and caches hit.
const PASSED_BETWEEN: [u32; 6] = [0, 0, 0, 0, 1, 4];

/// The target to record, and how many stops.
pub struct RecordOrder<'a> {
    /// The build and run mode.
    pub row: &'a BuildVariant,
    /// The family of the workload that the target runs.
    pub family: Family,
    /// The parameters of the workload, as in its identity.
    pub parameters: Parameters,
    /// The workload's seed, which also decides at which gates the target is stopped.
    pub seed: u64,
    /// The number of stops.
    pub stops: u32,
    /// The folder for the workload's file.
    pub folder: &'a Path,
    /// Set when the user stops the recording.
    pub interrupted: &'a AtomicBool,
}

/// Why no snapshot was recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The target could not be launched.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The target did not reach its next gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The target could not be stopped.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// The target has no `_PyRuntime`, or its layout is unknown.
    #[error(transparent)]
    Site(#[from] LocateError),
    /// The offsets are not in the built-in order, by which a snapshot is replayed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No walker supports its layout.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Its threads cannot be found.
    #[error("the stopped target cannot be walked: {0}")]
    Walk(#[from] Rejection),
    /// Its memory cannot be read or written.
    #[error("the stopped target cannot be recorded: {0}")]
    Memory(#[from] MemoryError),
    /// The user stopped the recording.
    #[error("interrupted")]
    Interrupted,
}

/// Launches a target, stops it at gates, and records the memory that walkers read.
///
/// # Errors
/// The target cannot be launched, does not reach its gates, or cannot be walked.
pub fn record(order: &RecordOrder<'_>) -> Result<Snapshot, RecordError> {
    let workload = generate(order.family, Mode::Gated, &order.parameters, order.seed);
    let jit = order.row.jit.switch();
    let mut target = Target::launch(order.row.build.interpreter(), jit, &workload.source, order.folder, patience())?;
    let site @ Site { layout, runtime } = order.row.build.site(target.pid())?;
    let mut camera = Camera::new(site, target.memory(), target.folder())?;
    target.start(patience())?;

    let mut random = ChaCha8Rng::seed_from_u64(order.seed);
    let mut pass = if jit == Some(true) { PASSED_FIRST_WITH_JIT } else { PASSED_FIRST };
    let mut stops = Vec::new();
    for _ in 0..order.stops {
        for _ in 0..pass {
            if order.interrupted.load(Ordering::Relaxed) {
                return Err(RecordError::Interrupted);
            }
            target.next_gate(patience())?;
            target.go(patience())?;
        }
        let gate = target.next_gate(patience())?;
        let account = target.account(patience())?;
        target.stop()?;
        // The file of a snapshot has lines, but no end lines or columns.
        let account = account.into_iter().map(|frame| AccountFrame { place: None, ..frame }).collect();
        let told = GateTruth { native_thread_id: gate.native_thread_id.into(), context: gate.context, account };
        stops.push(camera.shoot(told)?);
        target.resume()?;
        target.go(patience())?;
        pass = PASSED_BETWEEN.get(random.random_range(0..PASSED_BETWEEN.len())).copied().unwrap_or(0);
    }
    let meta = Meta {
        version: layout.version,
        debug: order.row.build.debug,
        jit: order.row.jit,
        family: order.family,
        seed: order.seed,
        parameters: workload.parameters,
        runtime,
    };
    Ok(Snapshot { meta, stops })
}

/// Takes images of a stopped target, one at each stop.
struct Camera {
    site: Site,
    memory: ProcessMemory,
    neutral: Neutral,
    /// The walker that writes the target's anchors. `None` if the target has no anchors.
    profiler: Option<Box<dyn Walker>>,
    /// Cached walkers that never write, but keep their caches from stop to stop. What they read is recorded, too.
    bystanders: Vec<Box<dyn Walker>>,
}

impl Camera {
    fn new(site: Site, memory: ProcessMemory, folder: &Path) -> Result<Self, RecordError> {
        site.layout.walkable().map_err(Unsupported::from)?;
        let cached = site.cache().is_ok();
        Ok(Self {
            site,
            memory,
            neutral: Neutral::new(folder),
            profiler: if cached { Some(WalkerSpec::from(WalkerKind::OwnCached).build(site)?) } else { None },
            bystanders: if cached { vec![WalkerSpec::from(WalkerKind::OwnReference).build(site)?] } else { Vec::new() },
        })
    }

    /// Records everything, then lets the profiler write its anchors.
    fn shoot(&mut self, mut gate: GateTruth) -> Result<RecordedStop, RecordError> {
        let mut read = Ranges::default();
        let mut over = |walker: &mut dyn Walker, attach: bool| -> Result<(Sample, Writes), RecordError> {
            let mut memory = Recorder::new(Overlay::new(&mut self.memory), &mut read);
            Layout::read(&mut memory, self.site.runtime)?;
            if attach {
                walker.attach(&mut memory)?;
            }
            let sample = walker.sample(&mut memory)?;
            Ok((sample, memory.into_inner().into_writes()))
        };
        // Walkers that know nothing read all that any walker can need, both with the anchors as they are and with NULL
        // anchors.
        let (truth, _) = over(WalkerSpec::from(WalkerKind::OwnUncached).build(self.site)?.as_mut(), false)?;
        if self.profiler.is_some() {
            for kind in [WalkerKind::OwnCached, WalkerKind::OwnReference] {
                for attach in [false, true] {
                    over(WalkerSpec::from(kind).build(self.site)?.as_mut(), attach)?;
                }
            }
        }
        for bystander in &mut self.bystanders {
            over(bystander.as_mut(), false)?;
        }
        let profiled = match &mut self.profiler {
            Some(profiler) => Some(over(profiler.as_mut(), false)?),
            None => None,
        };
        let image = capture(&mut self.memory, &read, &self.neutral)?;
        let (profiled, writes) = profiled.unzip();
        for (address, bytes) in writes.unwrap_or_default() {
            self.memory.write(address, &bytes)?;
        }
        for frame in &mut gate.account {
            frame.file = self.neutral.text(&frame.file);
        }
        let threads = self.truth(&truth, profiled.as_ref())?;
        Ok(RecordedStop { image, gate, threads })
    }

    /// The truth about each thread.
    fn truth(&mut self, truth: &Sample, profiled: Option<&Sample>) -> Result<Vec<ThreadTruth>, RecordError> {
        // Read again, now that the profiler has written.
        let states = thread_states(&mut self.memory, &self.site.layout, self.site.runtime)?;
        let threads = states.iter().zip(&truth.threads).enumerate().map(|(index, (state, thread))| {
            let neutral = |frame: &framewalk::frame::Frame| framewalk::frame::Frame {
                file: self.neutral.text(&frame.file).into(),
                ..frame.clone()
            };
            ThreadTruth {
                state: state.address,
                native_thread_id: thread.native_thread_id,
                stack: match &thread.outcome {
                    Ok(stack) => Ok(stack.iter().map(neutral).collect()),
                    Err(rejection) => Err(rejection.name().to_owned()),
                },
                profiler: profiled
                    .and_then(|sample| sample.threads.get(index))
                    .map(|thread| Profiled::new(thread, state.anchor)),
            }
        });
        Ok(threads.collect())
    }
}

type Writes = Vec<(Address, Vec<u8>)>;

/// The current bytes of all ranges.
fn capture(memory: &mut ProcessMemory, read: &Ranges, neutral: &Neutral) -> Result<Image, MemoryError> {
    let mut image = Image::default();
    for range in read.iter() {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        memory.read(range.start, &mut bytes)?;
        neutral.bytes(&mut bytes);
        image.map(range.start, bytes);
    }
    Ok(image)
}

/// Replaces the name of the workload's folder in recorded memory and text by another name of the same length. A name
/// that is not ASCII has another width in memory, and is left alone.
struct Neutral {
    folder: String,
    name: String,
}

impl Neutral {
    fn new(folder: &Path) -> Self {
        let folder = folder.to_str().filter(|folder| folder.is_ascii()).unwrap_or_default().to_owned();
        let name: String = "/recorded".chars().chain(std::iter::repeat('_')).take(folder.len()).collect();
        Self { folder, name }
    }

    fn text(&self, text: &str) -> String {
        if self.folder.is_empty() { text.to_owned() } else { text.replace(&self.folder, &self.name) }
    }

    fn bytes(&self, bytes: &mut [u8]) {
        let (from, to) = (self.folder.as_bytes(), self.name.as_bytes());
        if from.is_empty() {
            return;
        }
        let mut start = 0;
        while let Some(offset) = bytes.get(start..).and_then(|rest| rest.windows(from.len()).position(|it| it == from))
        {
            let end = start + offset + from.len();
            if let Some(place) = bytes.get_mut(start + offset..end) {
                place.copy_from_slice(to);
            }
            start = end;
        }
    }
}
