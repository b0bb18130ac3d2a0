//! A toy for testing schedulers: a walker whose accesses depend on the moves of the target. There is no process.

use AccessKind::{ReadAnchor, ReadChunk, ReadFrame, ReadThreadState, WriteAnchor};

use super::{AccessKind, Digest, Point, RanSchedule, Schedule, Scheduler};

/// A minimal cached walker. The target's position is the number of steps it has done.
///
/// A sample reads the thread state. If the target has not moved since the anchor was written, the sample reads the
/// anchor and ends (a full hit). Otherwise it copies a chunk, reads a frame if the position is odd, and writes the
/// anchor.
#[derive(Clone, Copy)]
pub(super) struct Toy {
    pub(super) samples: u32,
    /// The number of words in which a chunk is read; 1 if reads are not torn.
    pub(super) words: u32,
    /// The target ends after this many steps.
    pub(super) life: u32,
}

impl Toy {
    pub(super) fn new(samples: u32) -> Self {
        Self { samples, words: 1, life: u32::MAX }
    }

    /// Runs one schedule that has begun, and ends it.
    pub(super) fn run_one(self, scheduler: &mut dyn Scheduler) -> RanSchedule {
        let mut run = Run { toy: self, ran: RanSchedule::default(), moves: Vec::new(), position: 0 };
        let mut anchored = None;
        for sample in 0..self.samples {
            let mut access = 0;
            let mut next = |run: &mut Run, kind| {
                let words = if kind == ReadChunk { self.words } else { 1 };
                for word in 0..words {
                    run.point(scheduler, Point { sample, access, word }, kind);
                }
                access += 1;
            };
            next(&mut run, ReadThreadState);
            let seen = run.position;
            if anchored == Some(seen) {
                next(&mut run, ReadAnchor);
            } else {
                next(&mut run, ReadChunk);
                if run.position % 2 == 1 {
                    next(&mut run, ReadFrame);
                }
                next(&mut run, WriteAnchor);
                anchored = Some(run.position);
            }
            run.ran.results.push(u64::from(seen));
        }
        run.ran.schedule = Schedule::new(run.moves);
        scheduler.end(&run.ran);
        run.ran
    }

    /// Runs all schedules of a scheduler. Returns the counted runs, in order.
    pub(super) fn run_all(self, scheduler: &mut dyn Scheduler) -> Vec<RanSchedule> {
        let mut counted = Vec::new();
        while scheduler.begin() {
            let counts = scheduler.is_counted();
            let ran = self.run_one(scheduler);
            if counts {
                counted.push(ran);
            }
        }
        counted
    }
}

struct Run {
    toy: Toy,
    ran: RanSchedule,
    moves: Vec<super::Move>,
    position: u32,
}

impl Run {
    fn point(&mut self, scheduler: &mut dyn Scheduler, at: Point, kind: AccessKind) {
        let steps = scheduler.steps(at, kind).min(self.toy.life - self.position);
        self.position += steps;
        self.moves.push(super::Move { at, steps });
        self.ran.points.push((at, kind));
        self.ran.contents.push(Digest::default().word(u64::from(self.position)).value());
    }
}
