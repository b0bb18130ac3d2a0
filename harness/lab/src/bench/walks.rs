//! Times of samples: of a stack that does not change, of one that changes between samples, and of many threads.

use std::path::Path;
use std::time::Duration;

use framewalk::sample::WalkerKind;
use process::build::BuildVariant;

use crate::bench::Failure;
use crate::bench::claim::Claim;
use crate::bench::document::{BenchPart, BenchPoint, Lookups, PointParameters};
use crate::bench::meter::{Accesses, BareRead, Inside};
use crate::bench::program::Gated;
use crate::bench::rounds::{Bench, Scene, Taken, measure};
use crate::bench::stand::GatedTarget;
use crate::bench::turn::{Block, Team, Trouble, Turn};

/// Intended duration of a contender's block: short compared with changes in load, long compared with the start of a
/// turn.
const BLOCK: Duration = Duration::from_millis(4);
/// The same if a gate precedes every sample.
const STEPPED_BLOCK: Duration = Duration::from_millis(8);
/// Limits on the samples of a block: fewer give no useful median, more do not improve it.
const SAMPLES: std::ops::RangeInclusive<u64> = 3..=2000;
/// Approximate time for passing a gate.
const GATE: Duration = Duration::from_micros(150);
/// Maximum number of plain reads in a block. More do not improve the median.
const BARE_READS: u64 = 200;
/// Maximum number of samples of a block whose parts are timed.
const INSIDE_SAMPLES: u64 = 100;
/// Number of plain system calls in a block.
const CALLS: u64 = 500;
/// Number of bytes that the plain system call reads.
const CALL_BYTES: usize = 64;

/// Measures the walkers at one point.
pub(super) fn point(
    bench: &mut Bench<'_>,
    row: &BuildVariant,
    place: PointParameters,
    kinds: &[WalkerKind],
    team: &mut Team,
    share: Duration,
) -> Result<BenchPoint, Failure> {
    let program = Gated { depth: place.depth, changed: place.changed, threads: place.threads };
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let mut scene = Walks { row, source: program.source(), place, kinds, team, counts: vec![None; kinds.len()] };
    measure(bench, (&row.name, place), &names, share, &mut scene)
}

/// A target at a gate, and the traced accesses of CPython's walkers.
struct Stage {
    stand: GatedTarget,
    traced: Vec<Option<Accesses>>,
}

/// Walkers on a target at a gate.
struct Walks<'a> {
    row: &'a BuildVariant,
    source: String,
    place: PointParameters,
    kinds: &'a [WalkerKind],
    team: &'a mut Team,
    /// Number of samples per block for each contender. It is the same in all blocks.
    counts: Vec<Option<u64>>,
}

impl Walks<'_> {
    /// Whether the target passes a gate before each sample.
    fn steps(&self) -> bool {
        self.place.part == BenchPart::Change
    }

    fn claim(&self) -> Claim {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Claim { depth: size(self.place.depth), changed: size(self.place.changed), threads: size(self.place.threads) }
    }
}

impl Scene for Walks<'_> {
    type Stage = Stage;

    fn launch(&mut self, folder: &Path) -> Result<Stage, Failure> {
        let mut stage = Stage { stand: GatedTarget::launch(self.row, &self.source, folder)?, traced: Vec::new() };
        let (steps, claim) = (self.steps(), self.claim());
        let mut step = |stand: &mut GatedTarget| if steps { stand.next() } else { Ok(()) };
        for &kind in self.kinds {
            let is_cpython = kind.is_cpythons();
            let tracers = &mut self.team.tracers;
            stage.traced.push(if is_cpython {
                tracers.accesses(self.row, kind, &mut stage.stand, claim, &mut step)
            } else {
                None
            });
        }
        Ok(stage)
    }

    fn yardstick(&mut self, stage: &mut Stage) -> Result<f64, Failure> {
        yardstick(&stage.stand)
    }

    fn block(&mut self, stage: &mut Stage, index: usize) -> Result<Taken, Trouble> {
        let (steps, claim) = (self.steps(), self.claim());
        let Some(&kind) = self.kinds.get(index) else { return Err("there is no such contender".into()) };
        let stand = &mut stage.stand;
        let mut turn = self.team.begin(kind, stand)?;
        let result = blocks(&mut turn, stand, steps, claim, self.counts.get_mut(index));
        // Run this even after an error, so that the next contender finds no anchor.
        turn.end()?;
        let (block, metered, inside) = result?;
        let accesses = metered.or_else(|| stage.traced.get(index).cloned().flatten());
        let bare = accesses.as_ref().map(|accesses| {
            let reads = block.samples.min(BARE_READS);
            BareRead::new(stand.target.memory(), accesses.ranges.clone()).block(reads)
        });
        Ok(Taken { block, bare: bare.transpose()?, accesses, inside })
    }
}

/// One block of the plain system call.
pub(super) fn yardstick(stand: &GatedTarget) -> Result<f64, Failure> {
    Ok(BareRead::new(stand.target.memory(), vec![(stand.site.runtime, CALL_BYTES)]).block(CALLS)?)
}

/// Warms up, measures, and records the accesses of a sample.
fn blocks(
    turn: &mut Turn<'_>,
    stand: &mut GatedTarget,
    steps: bool,
    claim: Claim,
    count: Option<&mut Option<u64>>,
) -> Result<(Block, Option<Accesses>, Option<Inside>), Trouble> {
    // The first samples fill the caches. The later ones match the claim.
    turn.sample()?;
    one(turn, stand, steps, claim)?;
    let (_, time) = one(turn, stand, steps, claim)?;
    if steps {
        stand.next()?;
    }
    let accesses = turn.metered()?;
    let meant = if steps { STEPPED_BLOCK } else { BLOCK };
    let fitting = || fitting(meant, if steps { time + GATE } else { time });
    let samples = count.map_or_else(fitting, |count| *count.get_or_insert_with(fitting));
    if !steps {
        let block = turn.block(samples, claim)?;
        return Ok((block, accesses, turn.inside(samples.min(INSIDE_SAMPLES))?));
    }
    let (mut lookups, mut times) = (Lookups::default(), Vec::new());
    for _ in 0..samples {
        let (found, time) = one(turn, stand, steps, claim)?;
        lookups += found;
        times.push(time);
    }
    Ok((Block::of(&times, lookups), accesses, None))
}

/// Takes one sample, after a gate if `steps` is set.
fn one(
    turn: &mut Turn<'_>,
    stand: &mut GatedTarget,
    steps: bool,
    claim: Claim,
) -> Result<(Lookups, Duration), Trouble> {
    if steps {
        stand.next()?;
    }
    let (sample, counters, time) = turn.sample()?;
    Ok((claim.check(&sample, counters).map_err(Trouble::Refused)?, time))
}

/// How many samples of duration `each` fit into `meant`.
fn fitting(meant: Duration, each: Duration) -> u64 {
    let many = meant.as_nanos() / each.as_nanos().max(1);
    u64::try_from(many).unwrap_or(u64::MAX).clamp(*SAMPLES.start(), *SAMPLES.end())
}
