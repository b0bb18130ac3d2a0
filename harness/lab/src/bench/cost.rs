//! The cost of being sampled, for a target that only calls and returns. The target measures the time of the same work
//! with its own clock, with and without a sampler.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use framewalk::memory::RemoteMemory;
use framewalk::sample::WalkerKind;
use process::build::BuildVariant;
use process::memory::ProcessMemory;

use crate::bench::Failure;
use crate::bench::document::{BYSTANDER, BenchPoint, NOBODY, PointParameters};
use crate::bench::meter::nanoseconds;
use crate::bench::program::working;
use crate::bench::rounds::{Bench, Scene, Taken, measure};
use crate::bench::stand::GatedTarget;
use crate::bench::turn::{Block, Team, Trouble, Turn, Watched, is_done};
use crate::bench::walks::yardstick;

/// Measures the cost of being sampled, and the cost of a neighbour that is as busy as a sampler.
pub(super) fn point(
    bench: &mut Bench<'_>,
    row: &BuildVariant,
    place: PointParameters,
    kinds: &[WalkerKind],
    team: &mut Team,
    share: Duration,
) -> Result<BenchPoint, Failure> {
    let mut names = vec![NOBODY, BYSTANDER];
    names.extend(kinds.iter().map(|kind| kind.name()));
    let interval = place.rate.map(|rate| Duration::from_secs(1) / rate.max(1));
    let mut scene = Cost { row, source: working(place.depth), kinds, interval, team };
    measure(bench, (&row.name, place), &names, share, &mut scene)
}

struct Cost<'a> {
    row: &'a BuildVariant,
    source: String,
    kinds: &'a [WalkerKind],
    interval: Option<Duration>,
    team: &'a mut Team,
}

impl Scene for Cost<'_> {
    type Stage = GatedTarget;

    fn launch(&mut self, folder: &Path) -> Result<GatedTarget, Failure> {
        GatedTarget::launch(self.row, &self.source, folder)
    }

    fn yardstick(&mut self, stand: &mut GatedTarget) -> Result<f64, Failure> {
        yardstick(stand)
    }

    fn block(&mut self, stand: &mut GatedTarget, index: usize) -> Result<Taken, Trouble> {
        let interval = self.interval;
        let (elapsed, watched) = match index.checked_sub(2) {
            None if index == 0 => (stand.next_number()?, Watched::default()),
            None => {
                let own = ProcessMemory::new(nix::unistd::getpid().as_raw());
                let address = (&raw const self.source) as u64;
                while_working(stand, |done| Ok(stand_by(own, address, done, interval)))?
            }
            Some(index) => {
                let Some(&kind) = self.kinds.get(index) else { return Err("there is no such contender".into()) };
                let mut turn = self.team.begin(kind, stand)?;
                let result = watched(&mut turn, stand, interval);
                // The next contender's block must not find an anchor.
                turn.end()?;
                result?
            }
        };
        let Watched { samples, time, lookups } = watched;
        let samples = during(samples, time, elapsed);
        let block = Block { nanoseconds: f64::from(elapsed.max(1)), samples, lookups };
        Ok(Taken { block, ..Taken::default() })
    }
}

fn watched(
    turn: &mut Turn<'_>,
    stand: &mut GatedTarget,
    interval: Option<Duration>,
) -> Result<(u32, Watched), Trouble> {
    // The cost does not include the walker's first reads of code objects.
    turn.sample()?;
    while_working(stand, |done| turn.watch(done, interval))
}

/// Lets the target do its work while `watch` runs on this thread. `watch` receives a message when the work is done.
fn while_working(
    stand: &mut GatedTarget,
    watch: impl FnOnce(&Receiver<()>) -> Result<Watched, Trouble>,
) -> Result<(u32, Watched), Trouble> {
    let (send, done) = mpsc::channel();
    thread::scope(|scope| {
        let work = scope.spawn(move || {
            let told = stand.next_number();
            // Sending fails if `watch` has already returned.
            let _ = send.send(());
            told
        });
        let watched = watch(&done);
        let told = work.join().map_err(|_| Trouble::Failed("the thread that waits for the target panicked".into()))?;
        Ok((told?, watched?))
    })
}

/// How many of the `samples` taken in `time` fall into `nanoseconds`.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small count"
)]
fn during(samples: u64, time: Duration, nanoseconds: u32) -> u64 {
    let share = f64::from(nanoseconds) / self::nanoseconds(time);
    (samples as f64 * share.min(1.0)).round() as u64
}

/// Makes system calls of the same kind on the memory of this process.
fn stand_by(mut own: ProcessMemory, address: u64, done: &Receiver<()>, interval: Option<Duration>) -> Watched {
    let mut watched = Watched::default();
    let begun = Instant::now();
    let mut due = begun;
    while !is_done(done) {
        if let Some(interval) = interval {
            due += interval;
            if done.recv_timeout(due.saturating_duration_since(Instant::now())) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        // The bytes do not matter.
        let _ = own.read(address, &mut [0; 16]);
        watched.samples += 1;
    }
    Watched { time: begun.elapsed(), ..watched }
}
