//! The course of the stopped lane: one target, stopped and looked at again and again.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use framewalk::code::Decoder;
use framewalk::memory::Address;
use framewalk::sample::{Sample, WalkerKind};
use framewalk::thread_state::{ThreadState, thread_states};
use framewalk::uncached::UncachedWalker;
use model::oracle::attribution::Attribution;
use model::oracle::hits::{Before, HitWatch};
use model::oracle::protocol::ProtocolWatch;
use model::run::cell::Inconclusive;
use model::run::phases::Phase;
use model::workload::grammar::Grammar;
use process::gate::Gate;
use process::own_stops::OwnAccount;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::agreement::Standing;
use crate::cell::{Cell, CellError};
use crate::drivers::{RenewedUnwinder, UnwinderPool};
use crate::opcodes::SeenOpcodes;
use crate::owner::Owner;
use crate::recorder::CellRecorder;
use crate::session::{Gone, Session, Vitality};
use crate::shared_code::{SharedCode, ThreadCode};
#[cfg(target_arch = "x86_64")]
use crate::stops::AtStores;
use crate::stops::Stops;

/// Stops before the first profiler attaches and after the last one has left, with every anchor NULL.
const STOPS_WITHOUT_PROFILER: u32 = 3;
/// The minimum number of stops for each walker, however short the time: fewer do not reach every outcome of the cache.
pub(super) const FEWEST: u32 = 30;
/// The same for the family whose programs are on both sides of the limits: more than one round.
const FEWEST_OF_LIMITS: u32 = 140;
/// At stop number `.0`, or soon after it, `.1` samples are taken in a row, of a single thread with a short chain: a
/// cache is swept every 1,024 samples.
const SWEPT: (u32, u32) = (70, 2100);
/// A free target runs for between one and this many microseconds, uniformly in the logarithm.
const LONGEST_RUN: f64 = 400.0;
/// The sequences jump every time this many gates have passed. Everything stored before is stale then, however few bits
/// are compared.
pub(super) const JUMP_INTERVAL: u32 = 16;
/// The longest run of a user's program between two random stops, in microseconds. It has a start-up phase, and its rounds are
/// longer than those of generated programs.
const LONGEST_RUN_OF_PROGRAM: f64 = 10_000.0;
/// The most stops, as a multiple of those wanted, until the program was in its own file often enough.
const MOST_STOPS: u32 = 50;
/// A target whose code is to be compiled runs for at most this long before it is stopped at its stores.
#[cfg(target_arch = "x86_64")]
const WARM: Duration = Duration::from_millis(150);
/// A target that is stopped at its stores to `current_frame` does between one and this many of them at a time.
#[cfg(target_arch = "x86_64")]
const MOST_STORES: u32 = 8;

/// One target, and what the lane knows about it.
pub(super) struct Lane<'a> {
    pub(super) cell: &'a Cell<'a>,
    /// Released before the target ends.
    #[cfg(target_arch = "x86_64")]
    pub(super) at_stores: Option<AtStores>,
    pub(super) session: Session,
    pub(super) stops: Stops,
    /// The gate at which the target waits, if there is one.
    pub(super) gate: Option<Gate>,
    /// How many gates the target has reached.
    pub(super) gates: u32,
    /// The ids of all threads that were seen.
    pub(super) ids: BTreeSet<u64>,
    /// The program's legal stacks. Unknown for a user's program.
    pub(super) grammar: Option<Grammar>,
    /// What a user's program reported about itself at this stop.
    pub(super) accounts: Vec<OwnAccount>,
    /// Checks whether a user's program can still be walked.
    pub(super) vitality: Option<Vitality>,
    /// Why the user's program can no longer be walked.
    pub(super) gone: Option<Gone>,
    /// Whether the target runs for a while before it is stopped at its stores.
    pub(super) warms_up: bool,
    /// At how many stops a user's program was in its own file while the owner of the anchors looked.
    pub(super) looks: u32,
    pub(super) uncached: UncachedWalker,
    pub(super) cpython: Option<RenewedUnwinder<'a>>,
    pub(super) owner: Owner<'a>,
    /// How many of the owner's walkers have taken no sample yet.
    pub(super) fresh: usize,
    pub(super) attributions: Vec<Attribution>,
    pub(super) watch: ProtocolWatch,
    pub(super) hits: HitWatch,
    /// The ids of all threads that the owner has met. Until a cache is swept, it keeps the entries of threads that are
    /// gone.
    pub(super) met: BTreeSet<u64>,
    /// Decodes the leaf's code object, to recognise generators.
    pub(super) codes: Decoder,
    /// Each thread at this stop before any walker looked, by thread state.
    pub(super) before: HashMap<Address, Before>,
    /// The state of each thread, in the order of the interpreter's list.
    pub(super) standings: Vec<Standing>,
    /// The code of each thread's frames, in the same order.
    pub(super) thread_codes: Vec<ThreadCode>,
    /// Which functions the addresses of code were seen with.
    pub(super) shared_code: SharedCode,
    /// The opcodes of frames, if the unwinders are asked for them.
    pub(super) opcodes: SeenOpcodes,
    /// What our own uncached walker saw the last time.
    pub(super) last: Option<Sample>,
    pub(super) random: ChaCha8Rng,
}

impl<'a> Lane<'a> {
    pub(super) fn new(
        cell: &'a Cell<'a>,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
        stops: Stops,
    ) -> Result<Self, CellError> {
        let (session, grammar) = match cell.program {
            Some(program) => {
                recorder.runs_file(&program.text(), &program.file_name());
                (Session::launch_program(cell, program, stops == Stops::Gates)?, None)
            }
            None => {
                let workload = cell.workload(stops.mode());
                recorder.runs(&workload.source);
                (Session::launch(cell, &workload)?, Some(workload.grammar))
            }
        };
        let vitality = cell.program.map(|_| Vitality::new(&session)).transpose()?;
        let site = session.site;
        let mut open = |kind| drivers.open(cell, recorder, session.observed(), kind, true);
        let cpython = cell.has(WalkerKind::CpythonUncached).then(|| open(WalkerKind::CpythonUncached)).transpose()?;
        Ok(Self {
            cell,
            #[cfg(target_arch = "x86_64")]
            at_stores: None,
            stops,
            gate: None,
            gates: 0,
            ids: BTreeSet::new(),
            grammar,
            accounts: Vec::new(),
            vitality,
            gone: None,
            // With a stop at every store, it takes long until any code runs often enough to be compiled.
            warms_up: cell.jit() == Some(true),
            looks: 0,
            uncached: UncachedWalker::new(site)?,
            cpython,
            owner: Owner::Nobody,
            fresh: 0,
            attributions: Vec::new(),
            watch: ProtocolWatch::default(),
            hits: HitWatch::default(),
            met: BTreeSet::new(),
            codes: Decoder::new(site.layout),
            before: HashMap::new(),
            standings: Vec::new(),
            thread_codes: Vec::new(),
            shared_code: SharedCode::default(),
            opcodes: SeenOpcodes::default(),
            last: None,
            random: ChaCha8Rng::seed_from_u64(cell.id.seed),
            session,
        })
    }

    pub(super) fn close(
        mut self,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
    ) -> Result<(), CellError> {
        let given_back = self.give_back(recorder, drivers);
        let last = self.cpython.map_or(Ok(()), |unwinder| drivers.give_back(unwinder, recorder));
        given_back.and(last)
    }

    /// Gives the owner's unwinders back. From here on, nobody owns the anchors.
    fn give_back(&mut self, recorder: &mut CellRecorder<'_>, drivers: &mut UnwinderPool) -> Result<(), CellError> {
        match std::mem::replace(&mut self.owner, Owner::Nobody) {
            Owner::Cpython(unwinders) => unwinders
                .into_iter()
                .map(|(unwinder, _)| drivers.give_back(unwinder, recorder))
                .fold(Ok(()), Result::and),
            Owner::Own(_) | Owner::Nobody => Ok(()),
        }
    }

    pub(super) fn start(&mut self, recorder: &mut CellRecorder<'_>) -> Result<(), CellError> {
        self.session.target.start(self.cell.patience())?;
        #[cfg(target_arch = "x86_64")]
        if self.stops == Stops::Stores {
            if self.warms_up {
                let left = self.cell.part(0, 1).saturating_duration_since(Instant::now());
                self.session.target.run_for(WARM.min(left / 10))?;
                self.look_for_life()?;
                self.session.target.resume()?;
            }
            self.at_stores = Some(AtStores::new(self.cell, &mut self.session)?);
        }
        recorder.end_of(Phase::Starting);
        for _ in 0..STOPS_WITHOUT_PROFILER {
            self.step(recorder, false)?;
        }
        Ok(())
    }

    /// Lets cached walkers of one kind look at the target until the deadline, and afterwards none for a few stops.
    pub(super) fn run(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
        walker: Option<WalkerKind>,
        turns: usize,
        until: Instant,
    ) -> Result<(), CellError> {
        if turns > 1 && !self.is_straight() {
            return Ok(());
        }
        // Attach at the stop where each walker takes its first sample: the first sample of CPython's unwinder copies
        // the chunks that existed when it was created.
        self.stop_next()?;
        recorder.end_of(Phase::Running);
        self.attach(recorder, drivers, walker, turns)?;
        recorder.end_of(Phase::Starting);
        for _ in 1..turns {
            self.look(recorder, self.gate, true)?;
        }
        self.look_and_let_go(recorder, true)?;
        let mut stops = 1;
        let wanted = self.cell.stops.unwrap_or(u32::MAX);
        let fewest = if self.cell.family.spec().exceeds_limits { FEWEST_OF_LIMITS } else { FEWEST };
        // A user's program may never stop in its own code.
        let fewest = if self.cell.stops.is_none() && self.cell.program.is_none() { fewest } else { 0 };
        let mut is_swept = !self.cell.family.spec().exceeds_limits;
        let most = wanted.max(fewest).saturating_mul(MOST_STOPS);
        // For a user's program, only the stops in its own code count.
        let cell = self.cell;
        let taken = |stops: u32, looks: u32| if cell.program.is_some() { looks } else { stops };
        let is_wanted = |taken: u32| taken < fewest || taken < wanted && Instant::now() < until;
        while stops < most && is_wanted(taken(stops, self.looks)) && !cell.is_over() {
            self.stop_next()?;
            recorder.end_of(Phase::Running);
            if !is_swept && stops >= SWEPT.0 && self.threads()?.len() == 1 {
                self.look_at_protocol(recorder, self.gate)?;
                for _ in 0..if self.is_shallow() { SWEPT.1 } else { 0 } {
                    self.look(recorder, self.gate, true)?;
                }
                is_swept = self.is_shallow();
            }
            self.look_and_let_go(recorder, true)?;
            stops += 1;
        }
        self.detach(recorder)?;
        recorder.end_of(Phase::Starting);
        // What the owner left behind still counts as its own.
        for _ in 0..STOPS_WITHOUT_PROFILER {
            self.step(recorder, false)?;
        }
        self.give_back(recorder, drivers)?;
        match self.cell.stops {
            Some(wanted) if stops < most && taken(stops, self.looks) < wanted && !cell.is_over() => {
                let why = format!("the budget ended after {stops} of {wanted} stops; give a longer --budget");
                Err(Inconclusive::Deadline(why).into())
            }
            _ => Ok(()),
        }
    }

    /// Whether the last look found no shim frame among the Python frames. Below the Python frames are the shim frame
    /// through which C called the module, and the base frame. With `-X perf`, a shim frame can be below every call,
    /// whatever the program does.
    fn is_straight(&self) -> bool {
        self.before.values().all(|before| before.chain.len() <= before.python + 2)
    }

    /// Lets the target run on, stops it, and looks at it.
    fn step(&mut self, recorder: &mut CellRecorder<'_>, with_owner: bool) -> Result<(), CellError> {
        self.stop_next()?;
        recorder.end_of(Phase::Running);
        self.look_and_let_go(recorder, with_owner)
    }

    /// Lets the target run on and stops it.
    fn stop_next(&mut self) -> Result<(), CellError> {
        self.gate = match self.stops {
            Stops::Gates => {
                let gate = self.run_to_gate()?;
                if self.cell.family.spec().exceeds_limits {
                    self.reuse_thread_id()?;
                }
                gate
            }
            Stops::Moments => {
                let longest = if self.cell.program.is_some() { LONGEST_RUN_OF_PROGRAM } else { LONGEST_RUN };
                let micros = longest.powf(self.random.random::<f64>());
                self.session.target.run_for(Duration::from_secs_f64(micros / 1e6))?;
                None
            }
            #[cfg(target_arch = "x86_64")]
            Stops::Stores => {
                self.has_one_thread()?;
                if let Some(at_stores) = &mut self.at_stores {
                    at_stores.run_on(self.random.random_range(1..=MOST_STORES))?;
                }
                None
            }
        };
        self.look_for_life()
    }

    /// Looks at the stopped target. If it waits at a gate, it may then pass.
    fn look_and_let_go(&mut self, recorder: &mut CellRecorder<'_>, with_owner: bool) -> Result<(), CellError> {
        let gate = self.gate;
        let truth = self.look(recorder, gate, with_owner)?;
        if let Some(gate) = gate {
            self.gates += 1;
            if with_owner && self.gates.is_multiple_of(JUMP_INTERVAL) {
                self.jump()?;
            }
            if self.cell.program.is_some() {
                self.judge_accounts(recorder, &truth);
            } else {
                self.at_gate(recorder, gate, &truth)?;
            }
        }
        self.last = Some(truth);
        Ok(())
    }

    /// Whether the tracer holds the target, so that it needs no signal to stop.
    pub(super) fn is_traced(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.at_stores.is_some();
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    pub(super) fn threads(&mut self) -> Result<Vec<ThreadState>, CellError> {
        let Session { memory, site, .. } = &mut self.session;
        Ok(thread_states(memory, &site.layout, site.runtime)?)
    }
}
