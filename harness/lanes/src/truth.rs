//! The true profile of a program: stops its process at random moments and walks it without a cache.

use std::time::{Duration, Instant};

use framewalk::code::Decoder;
use framewalk::thread_state::thread_states;
use framewalk::uncached::UncachedWalker;
use framewalk::walker::Walker;
use model::oracle::profile::{Counter, Profile};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cell::{Cell, CellError};
use crate::leaf;
use crate::session::Session;

/// How long a target runs between two looks, in microseconds. All lengths are equally likely, so the looks do not fall
/// into step with the program.
const RUNS: std::ops::RangeInclusive<u64> = 20..=400;

/// Looks at stopped targets of one program, and counts.
pub(super) struct Truth {
    counter: Counter,
    random: ChaCha8Rng,
}

impl Truth {
    pub(super) fn new(cell: &Cell<'_>) -> Self {
        Self { counter: Counter::default(), random: ChaCha8Rng::seed_from_u64(cell.id.seed) }
    }

    /// Looks until the deadline. The target then runs on.
    pub(super) fn look(&mut self, cell: &Cell<'_>, session: &mut Session, until: Instant) -> Result<(), CellError> {
        let mut walker = UncachedWalker::new(session.site)?;
        let mut decoder = Decoder::new(session.site.layout);
        while Instant::now() < until && !cell.is_over() {
            session.target.run_for(Duration::from_micros(self.random.random_range(RUNS)))?;
            let Session { memory, site, .. } = &mut *session;
            let sample = walker.sample(memory)?;
            let threads = thread_states(memory, &site.layout, site.runtime)?;
            for thread in &sample.threads {
                let state = threads.iter().find(|state| state.native_thread_id == thread.native_thread_id);
                let kind = state.map(|state| leaf::kind_of(memory, &site.layout, &mut decoder, state)).transpose();
                self.counter.count(thread, kind?);
            }
            decoder.keep();
        }
        session.target.resume()?;
        Ok(())
    }

    pub(super) fn finish(self) -> Profile {
        self.counter.finish()
    }
}
