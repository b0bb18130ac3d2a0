//! The cost of a walk on a real interpreter that is stopped at a gate, at several depths.
//!
//! Each walk is shown next to its lower bound: one bare vectored read of everything that the walk reads. The
//! difference is the price of several system calls and of decoding the bytes. The cached walks are full hits, which is
//! checked.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use framewalk::cached::CachedWalker;
use framewalk::layout::{CacheFields, Layout};
use framewalk::memory::{Address, MemoryError, RemoteMemory, Segment};
use framewalk::reference::ReferenceWalker;
use framewalk::sample::{Lookup, Sample};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::{Site, Walker};
use model::workload::{Family, FrameSize, Mode, Names, Parameters, generate};
use process::build::{Build, BuildOptions, Terminal, cache_folder, select};
use process::memory::ProcessMemory;
use process::target::{Target, runtime_address};

const DEPTHS: [u32; 3] = [10, 100, 1000];
const SEED: u64 = 1;
/// A target that takes longer than this to its next gate is considered hung.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<(), Box<dyn Error>> {
    let selection = select(&[], &BuildOptions::default(), &cache_folder(None)?, &mut Terminal::new(|| false))?;
    let build = selection
        .builds
        .iter()
        .find(|build| build.frame_cache() == CacheFields::AnchorAndSequence && !build.debug)
        .ok_or("no release build with the frame cache was found")?;
    println!("CPython {} {}: {}", build.version, build.kind(), build.python.display());
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    for depth in DEPTHS {
        bench_depth(&mut criterion, build, depth)?;
    }
    criterion.final_summary();
    Ok(())
}

fn bench_depth(criterion: &mut Criterion, build: &Build, depth: u32) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (target, site) = stopped_at(build, folder.path(), depth)?;
    let mut memory = target.memory();
    let walkers: [(Box<dyn Walker>, Lookup); 3] = [
        (Box::new(UncachedWalker::new(site)?), Lookup::Uncached),
        (Box::new(CachedWalker::new(site, [].into())?), Lookup::FullHit),
        (Box::new(ReferenceWalker::new(site)?), Lookup::FullHit),
    ];
    let mut group = criterion.benchmark_group(format!("depth {depth}"));
    for (mut walker, expected) in walkers {
        let name = walker.kind().name();
        walker.attach(&mut memory)?;
        // The first walk fills the caches. After that, nothing changes.
        walker.sample(&mut memory)?;
        let mut recorder = Recorder { memory: memory.clone(), read: Vec::new() };
        verify(&walker.sample(&mut recorder)?, expected, depth)?;

        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| black_box(walker.sample(&mut memory)));
        });
        verify(&walker.sample(&mut memory)?, expected, depth)?;
        walker.detach(&mut memory)?;

        let mut buffers: Vec<Vec<u8>> = recorder.read.iter().map(|&(_, length)| vec![0; length]).collect();
        let mut segments: Vec<Segment<'_>> =
            recorder.read.iter().zip(&mut buffers).map(|(&(address, _), buffer)| Segment { address, buffer }).collect();
        let bytes: usize = recorder.read.iter().map(|&(_, length)| length).sum();
        println!("depth {depth}: {name} reads {bytes} bytes in {} segments", segments.len());
        group.bench_function(BenchmarkId::from_parameter(format!("{name}, bare read")), |bencher| {
            bencher.iter(|| black_box(memory.read_vectored(&mut segments)));
        });
        if memory.read_vectored(&mut segments)? != segments.len() {
            return Err(format!("cannot read everything that {name} reads with a single call").into());
        }
    }
    group.finish();
    Ok(())
}

/// A target that is stopped with exactly `depth` frames on its stack, and its site for walkers.
fn stopped_at(build: &Build, folder: &std::path::Path, depth: u32) -> Result<(Target, Site), Box<dyn Error>> {
    let parameters = Parameters { depth, width: 2, frame_size: FrameSize::Equal(4), speed: 0, names: Names::Ascii };
    let workload = generate(Family::Recursion, Mode::Gated, &parameters, SEED);
    let jit = build.jit_available.then_some(false);
    let mut target = Target::launch(&build.python, jit, &workload.source, folder, Instant::now() + PATIENCE)?;
    let runtime = runtime_address(target.pid())?.address;
    let layout = Layout::read(&mut target.memory(), runtime)?;
    target.start(Instant::now() + PATIENCE)?;
    loop {
        let gate = target.next_gate(Instant::now() + PATIENCE)?;
        if workload.grammar.path(gate.context).len() == depth as usize {
            target.stop()?;
            return Ok((target, Site { layout, runtime }));
        }
        target.go(Instant::now() + PATIENCE)?;
    }
}

/// Times of a different lookup or of an incomplete stack would mean nothing.
fn verify(sample: &Sample, expected: Lookup, depth: u32) -> Result<(), String> {
    match sample.threads.as_slice() {
        [thread] if thread.provenance.lookup == expected => match &thread.outcome {
            Ok(stack) if stack.len() == depth as usize => Ok(()),
            Ok(stack) => Err(format!("{} saw {} frames instead of {depth}", sample.walker, stack.len())),
            Err(rejection) => Err(format!("{} rejected: {rejection}", sample.walker)),
        },
        other => Err(format!("{} should answer {expected:?}: {other:?}", sample.walker)),
    }
}

/// Records the addresses and lengths of all reads.
struct Recorder {
    memory: ProcessMemory,
    read: Vec<(Address, usize)>,
}

impl RemoteMemory for Recorder {
    fn read(&mut self, address: Address, buffer: &mut [u8]) -> Result<(), MemoryError> {
        self.read.push((address, buffer.len()));
        self.memory.read(address, buffer)
    }

    fn read_vectored(&mut self, segments: &mut [Segment<'_>]) -> Result<usize, MemoryError> {
        self.read.extend(segments.iter().map(|segment| (segment.address, segment.buffer.len())));
        self.memory.read_vectored(segments)
    }

    fn write(&mut self, address: Address, bytes: &[u8]) -> Result<(), MemoryError> {
        self.memory.write(address, bytes)
    }
}
