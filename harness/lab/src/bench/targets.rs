//! Many targets at once. Each target has its own walkers. This project's walkers share as many threads as there are
//! cores; each of CPython's has its own process.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use framewalk::sample::WalkerKind;
use process::build::BuildVariant;

use crate::bench::Failure;
use crate::bench::claim::Claim;
use crate::bench::document::{BenchPoint, Lookups, PointParameters};
use crate::bench::meter::nanoseconds;
use crate::bench::program::Gated;
use crate::bench::rounds::{Bench, Scene, Taken, measure};
use crate::bench::stand::GatedTarget;
use crate::bench::turn::{Block, Team, Trouble, Turn};
use crate::bench::walks::yardstick;

/// Number of samples per block, divided between the targets.
const SAMPLES: u64 = 3200;
/// How many samples a thread takes of one target before it moves on to the next one.
const AT_ONCE: u64 = 20;

/// Measures the rate at which many targets can be sampled at once.
pub(super) fn point(
    bench: &mut Bench<'_>,
    row: &BuildVariant,
    place: PointParameters,
    kinds: &[WalkerKind],
    share: Duration,
) -> Result<BenchPoint, Failure> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let program = Gated { depth: place.depth, changed: 0, threads: 1 };
    let mut teams = Vec::new();
    for _ in 0..place.targets {
        teams.push(Team::new(row, kinds)?);
    }
    let claim = Claim { depth: usize::try_from(place.depth)?, changed: 0, threads: 1 };
    let mut scene = Targets { row, source: program.source(), kinds, claim, teams };
    measure(bench, (&row.name, place), &names, share, &mut scene)
}

struct Targets<'a> {
    row: &'a BuildVariant,
    source: String,
    kinds: &'a [WalkerKind],
    claim: Claim,
    /// One team per target.
    teams: Vec<Team>,
}

impl Scene for Targets<'_> {
    type Stage = Vec<GatedTarget>;

    fn launch(&mut self, folder: &Path) -> Result<Vec<GatedTarget>, Failure> {
        self.teams.iter().map(|_| GatedTarget::launch(self.row, &self.source, folder)).collect()
    }

    fn yardstick(&mut self, stands: &mut Vec<GatedTarget>) -> Result<f64, Failure> {
        yardstick(stands.first().ok_or("there is no target")?)
    }

    fn block(&mut self, stands: &mut Vec<GatedTarget>, index: usize) -> Result<Taken, Trouble> {
        let Some(&kind) = self.kinds.get(index) else { return Err("there is no such contender".into()) };
        let is_cpython = kind.is_cpythons();
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = if is_cpython { stands.len() } else { cores.min(stands.len()) };
        let mut shares: Vec<Vec<Turn<'_>>> = (0..workers).map(|_| Vec::new()).collect();
        for (number, (team, stand)) in self.teams.iter_mut().zip(stands.iter()).enumerate() {
            if let Some(share) = shares.get_mut(number % workers.max(1)) {
                share.push(team.begin(kind, stand)?);
            }
        }
        let claim = self.claim;
        let each = (SAMPLES / stands.len().max(1) as u64).next_multiple_of(AT_ONCE);
        let done: Vec<Result<(Instant, Instant, Lookups), Trouble>> = thread::scope(|scope| {
            let (ready, all_ready) = mpsc::channel();
            let mut starts = Vec::new();
            let spawned = shares.into_iter().map(|turns| {
                let (send, start) = mpsc::channel();
                starts.push(send);
                let ready = ready.clone();
                scope.spawn(move || work(turns, each, claim, ready, &start))
            });
            // If one cannot be made, `starts` is dropped, and the others end.
            let running: Vec<_> = spawned.collect();
            drop(ready);
            while all_ready.recv().is_ok() {}
            // A worker that panicked has no receiver.
            for start in starts {
                let _ = start.send(());
            }
            let panicked = |_| Err(Trouble::Failed("a thread that samples panicked".into()));
            running.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        let (mut lookups, mut spans) = (Lookups::default(), Vec::new());
        for one in done {
            let (begun, ended, found) = one?;
            lookups += found;
            spans.push((begun, ended));
        }
        let begun = spans.iter().map(|(begun, _)| *begun).min();
        let ended = spans.iter().map(|(_, ended)| *ended).max();
        let time = ended.zip(begun).map_or(Duration::ZERO, |(ended, begun)| ended - begun);
        let samples = each * stands.len() as u64;
        let block = Block { nanoseconds: nanoseconds(time) / samples.max(1) as f64, samples, lookups };
        Ok(Taken { block, ..Taken::default() })
    }
}

/// Samples one thread's share of the targets.
fn work(
    mut turns: Vec<Turn<'_>>,
    each: u64,
    claim: Claim,
    ready: Sender<()>,
    start: &Receiver<()>,
) -> Result<(Instant, Instant, Lookups), Trouble> {
    let warmed = turns.iter_mut().try_for_each(|turn| {
        turn.sample()?;
        turn.block(3, claim).map(drop)
    });
    // Also after an error: the others wait until the last one is ready.
    let _ = ready.send(());
    drop(ready);
    start.recv().map_err(|_| Trouble::Failed("another thread could not be made".into()))?;
    warmed?;
    let mut lookups = Lookups::default();
    let begun = Instant::now();
    let at_once = if turns.len() == 1 { each } else { AT_ONCE };
    for _ in 0..each / at_once {
        for turn in &mut turns {
            lookups += turn.block(at_once, claim)?.lookups;
        }
    }
    let ended = Instant::now();
    turns.into_iter().try_for_each(Turn::end)?;
    Ok((begun, ended, lookups))
}
