//! Rounds of blocks on several launches of the target. In each round, every contender is measured once, in a new random
//! order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::bench::Failure;
use crate::bench::document::{BenchPoint, Breakdown, Launches, Lookups, PointParameters, Series};
use crate::bench::meter::{Accesses, Inside};
use crate::bench::turn::{Block, Trouble};

/// Number of launches of the target per point.
const LAUNCHES: u32 = 5;
/// Minimum number of rounds per launch.
const LEAST_ROUNDS: u32 = 2;

/// State shared by all parts.
pub(super) struct Bench<'a> {
    pub(super) folder: &'a Path,
    pub(super) interrupted: &'a AtomicBool,
    pub(super) random: ChaCha8Rng,
}

impl Bench<'_> {
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// One contender's block in one round.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) block: Block,
    /// Nanoseconds of one plain read of the same ranges.
    pub(super) bare: Option<f64>,
    /// The accesses of one sample.
    pub(super) accesses: Option<Accesses>,
    /// Times spent outside accesses.
    pub(super) inside: Option<Inside>,
}

/// How one kind of point is measured.
pub(super) trait Scene {
    /// The launched target or targets. A point uses several launches.
    type Stage;

    /// Launches the target or targets; `folder` is for their files.
    fn launch(&mut self, folder: &Path) -> Result<Self::Stage, Failure>;

    /// One block of the plain system call. Returns nanoseconds per call.
    fn yardstick(&mut self, stage: &mut Self::Stage) -> Result<f64, Failure>;

    /// One block of contender number `index`.
    fn block(&mut self, stage: &mut Self::Stage, index: usize) -> Result<Taken, Trouble>;
}

/// A contender's blocks so far.
struct Growing {
    series: Series,
    bare: Launches,
    decoding: Launches,
    results: Launches,
    accesses: Option<Accesses>,
}

/// Measures `contenders` for about `share`.
pub(super) fn measure<S: Scene>(
    bench: &mut Bench<'_>,
    (build, place): (&str, PointParameters),
    contenders: &[&str],
    share: Duration,
    scene: &mut S,
) -> Result<BenchPoint, Failure> {
    let mut growing: Vec<Growing> = contenders.iter().map(|contender| Growing::new(contender)).collect();
    let mut yardstick = Launches::new();
    let begun = Instant::now();
    for number in 1..=LAUNCHES {
        if number > 1 && (begun.elapsed() >= share || bench.is_interrupted()) {
            break;
        }
        let until = begun + share * number / LAUNCHES;
        let mut stage = scene.launch(bench.folder)?;
        yardstick.push(Vec::new());
        growing.iter_mut().for_each(Growing::launched);
        let mut rounds = 0;
        while !bench.is_interrupted() && (rounds < LEAST_ROUNDS || Instant::now() < until) {
            if round(bench, (scene, &mut stage), &mut growing, yardstick.last_mut())? {
                rounds += 1;
            }
            if growing.iter().all(|contender| contender.series.refused.is_some()) {
                break;
            }
        }
    }
    if growing.iter().any(|contender| contender.series.refused.is_none()) && yardstick.iter().all(Vec::is_empty) {
        return Err("interrupted before the first round ended".into());
    }
    let series = growing.into_iter().map(Growing::finish).collect();
    Ok(BenchPoint { build: build.to_owned(), place, yardstick, series })
}

/// Measures every contender once. Returns whether the round counts. An interrupted round leaves no blocks, so that the
/// blocks of all contenders still match.
fn round<S: Scene>(
    bench: &mut Bench<'_>,
    (scene, stage): (&mut S, &mut S::Stage),
    growing: &mut [Growing],
    yardstick: Option<&mut Vec<f64>>,
) -> Result<bool, Failure> {
    let mut order: Vec<usize> = (0..growing.len()).collect();
    order.shuffle(&mut bench.random);
    let mut taken = Vec::new();
    let bare_call = scene.yardstick(stage)?;
    for index in order {
        let Some(contender) = growing.get_mut(index) else { continue };
        if contender.series.refused.is_some() {
            continue;
        }
        if bench.is_interrupted() {
            return Ok(false);
        }
        match scene.block(stage, index) {
            Ok(block) => taken.push((index, block)),
            Err(Trouble::Refused(why)) => contender.refuse(why),
            Err(Trouble::Failed(error)) => return Err(error),
        }
    }
    if let Some(blocks) = yardstick {
        blocks.push(bare_call);
    }
    for (index, taken) in taken {
        if let Some(contender) = growing.get_mut(index) {
            contender.push(taken);
        }
    }
    Ok(true)
}

impl Growing {
    fn new(contender: &str) -> Self {
        let series = Series {
            contender: contender.to_owned(),
            blocks: Vec::new(),
            samples: 0,
            lookups: Lookups::default(),
            breakdown: None,
            refused: None,
        };
        Self { series, bare: Vec::new(), decoding: Vec::new(), results: Vec::new(), accesses: None }
    }

    fn launched(&mut self) {
        if self.series.refused.is_none() {
            self.series.blocks.push(Vec::new());
            for launches in [&mut self.bare, &mut self.decoding, &mut self.results] {
                launches.push(Vec::new());
            }
        }
    }

    fn push(&mut self, taken: Taken) {
        if let Some(blocks) = self.series.blocks.last_mut() {
            blocks.push(taken.block.nanoseconds);
        }
        let Taken { bare, inside, .. } = taken;
        let (decoding, results) = inside.map(|inside| (inside.decoding, inside.results)).unzip();
        for (launches, time) in [(&mut self.bare, bare), (&mut self.decoding, decoding), (&mut self.results, results)] {
            if let Some(blocks) = launches.last_mut() {
                blocks.extend(time);
            }
        }
        self.series.samples += taken.block.samples;
        self.series.lookups += taken.block.lookups;
        self.accesses = taken.accesses.or(self.accesses.take());
    }

    /// Discards the earlier blocks, which mean nothing once the contender is refused.
    fn refuse(&mut self, why: String) {
        *self =
            Self { series: Series { refused: Some(why), ..Self::new(&self.series.contender).series }, ..Self::new("") };
    }

    fn finish(mut self) -> Series {
        let complete = |launches: Launches| {
            let stands_beside = launches.iter().map(Vec::len).eq(self.series.blocks.iter().map(Vec::len));
            if stands_beside { launches } else { Vec::new() }
        };
        let (bare, decoding, results) = (complete(self.bare), complete(self.decoding), complete(self.results));
        self.series.breakdown = self.accesses.map(|accesses| Breakdown {
            system_calls: accesses.system_calls,
            writes: accesses.writes,
            segments: accesses.ranges.len() as u64,
            bytes: accesses.bytes(),
            bare,
            decoding,
            results,
        });
        self.series
    }
}
