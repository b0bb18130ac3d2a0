//! A target that moves store by store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framewalk::memory::{Address, RemoteMemory};
use framewalk::thread_state::{ThreadState, Window};
use framewalk::walker::Site;
use model::schedule::event::ThreadWord;
use model::workload::ROUND;
use model::workload::grammar::ContextId;
use nix::libc;
use process::gate::Gate;
use process::memory::ProcessMemory;
use process::target::{StopError, Target};
use process::trace::{Resume, Stop, TraceError, Traced, Watchdog, Watched};

use super::access::Map;
use super::error::RigError;
use super::truth::{Moment, TruthReader};

/// The most chunks of one thread. A longer list is garbage.
const CHUNK_LIMIT: usize = 4096;

/// The most rounds after which the program must be at the same addresses again. Otherwise its schedules cannot be
/// repeated.
const LONGEST_PERIOD: usize = 60;

/// The meaning of one step of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// A store to `current_frame`, anchor or sequence of the sampled thread, seen by hardware watchpoints.
    Stores,
    /// The same, or a load of the anchor. Every update of the anchor begins with a load, and a yield does its other
    /// stores between the load and the update.
    Loads,
    /// Everything up to the next gate of the program. For machines without watchpoints.
    Gates,
}

/// A store or load of a word, or the value of a word at a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Whether it was a load.
    pub(super) loaded: bool,
    pub(super) word: ThreadWord,
    pub(super) value: u64,
}

/// What the target came to.
enum Progress {
    Stored(Vec<Stored>),
    /// It is about to wait at a gate with this context.
    Gate(ContextId),
}

/// A target whose sampled thread is stopped except while a method runs. Its other threads are not stopped.
pub(super) struct SteppedTarget {
    // The thread is released before its process is ended.
    traced: Traced,
    target: Target,
    watchdog: Watchdog,
    memory: ProcessMemory,
    site: Site,
    thread: Address,
    window: Window,
    native_thread_id: u32,
    movement: Movement,
    pub(super) map: Map,
    truth: TruthReader,
    /// The current state of the chain.
    now: Arc<Moment>,
    chunk: Address,
    /// The context of the gate at which the target is about to wait, until it is released.
    gate: Option<ContextId>,
    /// The number of rounds after which everything is at the same addresses again.
    period: usize,
    /// How many rounds have begun since the last one at which a schedule may start.
    phase: usize,
}

impl SteppedTarget {
    /// Takes `target`, one of whose threads waits at `gate`, and brings it to the start of a round.
    pub(super) fn new(
        target: Target,
        gate: Gate,
        site: Site,
        movement: Movement,
        patience: Duration,
    ) -> Result<Self, RigError> {
        let native_thread_id = gate.native_thread_id;
        let mut memory = target.memory();
        let thread = framewalk::thread_state::thread_states(&mut memory, &site.layout, site.runtime)?
            .into_iter()
            .find(|thread| thread.native_thread_id == u64::from(native_thread_id))
            .ok_or(RigError::NoThread(native_thread_id))?;
        let cache = site.cache().map_err(framewalk::walker::Unsupported::from)?;
        let watchdog = Watchdog::new(patience)
            .map_err(|_| RigError::System { action: "start a thread", errno: nix::errno::Errno::last() })?;
        let traced = Traced::attach(target.pid(), native_thread_id.cast_signed())?;
        let mut truth = TruthReader::new(site);
        let mut map = Map::new(site.layout, cache, thread.address);
        let (_, now) = truth.look(&mut memory, thread.interpreter, thread.current_frame, thread.base_frame)?;
        let mut stepped = Self {
            traced,
            target,
            watchdog,
            memory,
            site,
            thread: thread.address,
            window: Window::new(&site.layout),
            native_thread_id,
            movement,
            map: Map::new(site.layout, cache, thread.address),
            truth,
            now: Arc::new(now),
            chunk: 0,
            gate: None,
            period: 1,
            phase: 0,
        };
        std::mem::swap(&mut stepped.map, &mut map);
        // The read that the stop interrupted begins again.
        while stepped.run_on()?.is_some() {}
        stepped.gate = Some(gate.context);
        stepped.rewind()?;
        stepped.look()?;
        Ok(stepped)
    }

    pub(super) fn pid(&self) -> i32 {
        self.target.pid()
    }

    pub(super) fn memory(&self) -> ProcessMemory {
        self.memory.clone()
    }

    pub(super) fn site(&self) -> Site {
        self.site
    }

    /// The address of the sampled thread's state.
    pub(super) fn thread(&self) -> Address {
        self.thread
    }

    pub(super) fn native_thread_id(&self) -> u32 {
        self.native_thread_id
    }

    pub(super) fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// The current state of the chain.
    pub(super) fn now(&self) -> &Arc<Moment> {
        &self.now
    }

    /// The fields of the sampled thread's state.
    pub(super) fn state(&mut self) -> Result<ThreadState, RigError> {
        Ok(self.window.read(&mut self.memory, &self.site.layout, self.thread)?)
    }

    /// Does one step and returns what was stored, usually one word. Reads the chain again if it changed.
    pub(super) fn step(&mut self) -> Result<Vec<Stored>, RigError> {
        let stored = loop {
            match self.advance()? {
                Progress::Stored(stored) => break stored,
                Progress::Gate(_) if self.movement == Movement::Gates => {
                    let value = self.state()?.current_frame;
                    break vec![Stored { loaded: false, word: ThreadWord::CurrentFrame, value }];
                }
                Progress::Gate(_) => {}
            }
        };
        if stored.iter().any(|stored| stored.word == ThreadWord::CurrentFrame) {
            self.look()?;
        }
        Ok(stored)
    }

    /// Runs one round. Returns its stores.
    fn round(&mut self) -> Result<Vec<Stored>, RigError> {
        let mut stores = Vec::new();
        loop {
            match self.advance()? {
                Progress::Stored(stored) => {
                    if stored.iter().any(|stored| stored.word == ThreadWord::CurrentFrame) {
                        self.look()?;
                    }
                    stores.extend(stored);
                }
                Progress::Gate(ROUND) => return Ok(stores),
                Progress::Gate(_) => {}
            }
        }
    }

    /// Runs rounds step by step until the program repeats its stores at the same addresses. What a round allocates may
    /// be elsewhere in the next one, so that can take several rounds. Returns the number of steps in each round of the
    /// period.
    pub(super) fn calibrate(&mut self) -> Result<Vec<usize>, RigError> {
        self.rewind()?;
        if self.movement == Movement::Gates {
            return Ok(vec![self.gates_of_a_round()?]);
        }
        let mut rounds: Vec<Vec<Stored>> = Vec::new();
        while rounds.len() < 2 * LONGEST_PERIOD {
            rounds.push(self.round()?);
            if let Some(period) = period(&rounds) {
                if rounds.iter().all(Vec::is_empty) {
                    let why = "they were set, and no store was seen".into();
                    return self.fail(TraceError::NoWatchpoints { thread: self.traced.thread(), why });
                }
                self.period = period;
                self.phase = 0;
                return Ok(rounds.split_off(rounds.len() - period).iter().map(Vec::len).collect());
            }
        }
        Err(RigError::NotRepeatable { rounds: rounds.len() })
    }

    fn gates_of_a_round(&mut self) -> Result<usize, RigError> {
        let mut gates = 0;
        loop {
            if let Progress::Gate(context) = self.advance()? {
                gates += 1;
                if context == ROUND {
                    return Ok(gates);
                }
            }
        }
    }

    /// Runs, without stopping at stores, to the point where every schedule starts.
    pub(super) fn rewind(&mut self) -> Result<(), RigError> {
        let starts = |stepped: &Self| stepped.gate == Some(ROUND) && stepped.phase == 0;
        if starts(self) {
            return Ok(());
        }
        self.traced.unwatch().or_else(|error| self.fail(error))?;
        while !starts(self) {
            self.run()?;
        }
        self.look()
    }

    /// Runs to the next store, or the next gate.
    fn advance(&mut self) -> Result<Progress, RigError> {
        if self.movement != Movement::Gates {
            let loads = |word| self.movement == Movement::Loads && word == ThreadWord::Anchor;
            let words = self.map.words().map(|(word, address)| Watched { address, loads: loads(word) });
            self.traced.watch(&words).or_else(|error| self.fail(error))?;
        }
        self.run()
    }

    fn run(&mut self) -> Result<Progress, RigError> {
        if self.gate.take().is_some() {
            self.target.go(self.deadline())?;
        }
        if let Some(stored) = self.run_on()? {
            return Ok(Progress::Stored(stored));
        }
        let context = self.target.announced(self.deadline())?.context;
        self.gate = Some(context);
        if context == ROUND {
            self.phase = (self.phase + 1) % self.period;
        }
        Ok(Progress::Gate(context))
    }

    /// Runs to the next watched store, or to the wait at a gate. Returns `None` at a gate.
    fn run_on(&mut self) -> Result<Option<Vec<Stored>>, RigError> {
        // The walker may have written the anchor since the last stop.
        let anchor = if self.movement == Movement::Loads { Some(self.state()?.anchor) } else { None };
        loop {
            let stop = self.traced.resume(Resume::ToSystemCall).and_then(|()| self.traced.wait(&self.watchdog));
            match stop.or_else(|error| self.fail(error))? {
                Stop::Trap => {
                    let stored = self.stored(anchor)?;
                    if !stored.is_empty() {
                        return Ok(Some(stored));
                    }
                }
                Stop::SystemCall => {
                    let call = self.traced.system_call().or_else(|error| self.fail(error))?;
                    if call.begins && call.number == libc::SYS_read && call.arguments.first() == Some(&0) {
                        return Ok(None);
                    }
                }
                // Signals are delivered as usual.
                Stop::Signal(_) | Stop::Interrupted | Stop::Filtered => {}
            }
        }
    }

    /// What was accessed. If loads count, an unchanged anchor was loaded: an update never stores the same value.
    fn stored(&mut self, anchor: Option<Address>) -> Result<Vec<Stored>, RigError> {
        let hit = self.traced.watchpoints_hit().or_else(|error| self.fail(error))?;
        let mut stored = Vec::new();
        for (bit, (word, address)) in self.map.words().into_iter().enumerate() {
            if hit >> bit & 1 == 1 {
                let value = self.memory.read_u64(address)?;
                stored.push(Stored { loaded: word == ThreadWord::Anchor && anchor == Some(value), word, value });
            }
        }
        Ok(stored)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.watchdog.patience()
    }

    /// Reads the chain of the stopped thread, and records where its frames are.
    fn look(&mut self) -> Result<(), RigError> {
        let state = self.state()?;
        let (links, moment) =
            self.truth.look(&mut self.memory, state.interpreter, state.current_frame, state.base_frame)?;
        if state.datastack_chunk != self.chunk {
            self.learn_chunks(state.datastack_chunk)?;
        }
        for link in links {
            self.map.learn_frame(link.address);
        }
        self.now = Arc::new(moment);
        Ok(())
    }

    fn learn_chunks(&mut self, head: Address) -> Result<(), RigError> {
        self.chunk = head;
        let mut next = head;
        for _ in 0..CHUNK_LIMIT {
            if next == 0 {
                break;
            }
            // `_PyStackChunk` begins with the previous chunk and its own size.
            let mut header = [[0; 8]; 2];
            self.memory.read(next, header.as_flattened_mut())?;
            let [previous, size] = header.map(u64::from_le_bytes);
            self.map.learn_chunk(next, size);
            next = previous;
        }
        Ok(())
    }

    /// If the process has ended, that says more than the end of its thread.
    fn fail<T>(&mut self, error: TraceError) -> Result<T, RigError> {
        if matches!(error, TraceError::Ended { .. })
            && let Err(StopError::Ended(ended)) = self.target.resume()
        {
            return Err(RigError::Ended(ended));
        }
        Err(error.into())
    }
}

/// The smallest n for which the last n rounds equal the n rounds before them.
fn period(rounds: &[Vec<Stored>]) -> Option<usize> {
    (1..=rounds.len() / 2).find(|&period| {
        let (before, last) = rounds.split_at(rounds.len() - period);
        before.ends_with(last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_period_is_found() {
        let round = |value| vec![Stored { loaded: false, word: ThreadWord::CurrentFrame, value }];
        let of = |values: &[u64]| period(&values.iter().copied().map(round).collect::<Vec<_>>());
        assert_eq!(of(&[1]), None);
        assert_eq!(of(&[1, 2]), None);
        assert_eq!(of(&[1, 2, 2]), Some(1));
        assert_eq!(of(&[7, 1, 2, 1, 2]), Some(2));
        assert_eq!(of(&[1, 2, 3, 1, 2, 4]), None);
    }
}
