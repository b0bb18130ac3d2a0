//! The stopped lane: the target is stopped, all walkers look at the same state, and the target runs on to its next
//! stop.
//!
//! A gated program stops where it says, so its own account can be compared with the walkers. A free program is stopped
//! after a random time, at whatever instruction it has reached, or where a frame was just entered or left. A thread
//! state has only one anchor, so the cached walkers have the target to themselves one after the other. The uncached
//! walkers look at every stop.
//!
//! CPython 3.15 has a gap of a few instructions: a yield, and RETURN_GENERATOR, check the anchor before they move the
//! current frame. If a profiler writes the anchor in between, the interpreter does not notice, and the profiler's cache
//! is wrong from then on. Random stops would hit the gap once in millions, and a verdict would depend on luck. So no
//! walker of CPython's protocol takes a sample where the target may be at one of these instructions. The stepped lane
//! goes there on purpose.

mod program;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use framewalk::cache::Limits;
use framewalk::chain::{DEPTH_LIMIT, follow};
use framewalk::chunks::Chunks;
use framewalk::code::{CodeGeneration, Decoder};
use framewalk::frame::Frame;
use framewalk::memory::{Address, RemoteMemory};
use framewalk::raw_frame::{Owner as FrameOwner, RawFrame};
use framewalk::rejection::Rejection;
use framewalk::sample::{Sample, ThreadSample, WalkerKind};
use framewalk::thread_state::{ThreadState, thread_states};
use framewalk::uncached::UncachedWalker;
use framewalk::walker::Walker;
use model::invariants::Violation;
use model::oracle::attribution::Attribution;
use model::oracle::differential::{difference, frames_of_account};
use model::oracle::hits::{Before, HitWatch, anchor_left};
use model::oracle::protocol::{At, OffChain, ProtocolWatch};
use model::run::cell::{CellOutcome, Inconclusive};
use model::run::finding::Possible;
use model::run::phases::Phase;
use model::schedule::fingerprint::LeafKind;
use model::workload::family::FamilyThreads;
use model::workload::grammar::{Grammar, is_trampoline};
use process::gate::Gate;
use process::maps::is_c_stack;
use process::own_stops::OwnAccount;
use process::unwinder::CountedSample;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::agreement::{Compared, Standing, Stopped, compare};
use crate::cell::{Cell, CellError};
use crate::drivers::{RenewedUnwinder, UnwinderPool};
use crate::leaf;
use crate::owner::{Owner, Taken, UnwinderReport, all_turns};
use crate::recorder::{CellRecorder, Evidence};
use crate::session::{Gone, Session, Vitality};
use crate::status::{Status, status};
#[cfg(target_arch = "x86_64")]
use crate::stops::AtStores;
use crate::stops::Stops;

/// Stops before the first profiler attaches and after the last one has left, with every anchor NULL.
const STOPS_WITHOUT_PROFILER: u32 = 3;
/// The minimum number of stops for each walker, however short the time: fewer do not reach every outcome of the cache.
const FEWEST: u32 = 30;
/// The same for the family whose programs are on both sides of the limits: more than one round.
const FEWEST_OF_LIMITS: u32 = 140;
/// At stop number `.0`, or soon after it, `.1` samples are taken in a row, of a single thread with a short chain: a
/// cache is swept every 1,024 samples.
const SWEPT: (u32, u32) = (70, 2100);
/// The sequences begin this far below a power of two, so that they reach it.
const BELOW: u64 = 20;
/// The sequences jump every time this many gates have passed. Everything stored before is stale then, however few bits
/// are compared.
const JUMP_INTERVAL: u32 = 16;
/// The target reports its own account at about one gate in this many.
const ACCOUNT_INTERVAL: u32 = 4;
/// A free target runs for between one and this many microseconds, uniformly in the logarithm.
const LONGEST_RUN: f64 = 400.0;
/// A target whose code is to be compiled runs for at most this long before it is stopped at its stores.
#[cfg(target_arch = "x86_64")]
const WARM: Duration = Duration::from_millis(150);
/// A target that is stopped at its stores to `current_frame` does between one and this many of them at a time.
#[cfg(target_arch = "x86_64")]
const MOST_STORES: u32 = 8;

/// Runs the cell to its deadline.
pub fn run(cell: &Cell<'_>, recorder: &mut CellRecorder<'_>, drivers: &mut UnwinderPool) -> CellOutcome {
    let owners = owners(cell);
    if let Some(program) = cell.program {
        return program::run(cell, program, &owners, recorder, drivers);
    }
    let all_stops = Stops::of(cell.family);
    // Each walker has the target to itself. Where the protocol is exact with two profilers, two walkers of a kind share
    // it.
    let passes = |stops: Stops| {
        let turns = |&walker: &Option<WalkerKind>| {
            all_turns(walker, cell.family, stops).iter().map(move |&turns| (walker, turns))
        };
        owners.iter().flat_map(turns).collect::<Vec<_>>()
    };
    let count: usize = all_stops.iter().map(|&stops| passes(stops).len()).sum();
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let mut parts = (0..count).map(|index| move || cell.part(index, count));
    for &stops in all_stops {
        let mut lane = match Lane::new(cell, recorder, drivers, stops) {
            Ok(lane) => lane,
            Err(cut) => return cut.into(),
        };
        let mut result = lane.start(recorder);
        for ((walker, turns), part) in passes(stops).into_iter().zip(&mut parts) {
            result = result.and_then(|()| lane.run(recorder, drivers, walker, turns, part()));
        }
        let closed = lane.close(recorder, drivers);
        recorder.end_of(Phase::Starting);
        if let Err(cut) = result.and(closed) {
            return cut.into();
        }
        if let Some(outcome) = cell.ended_early() {
            return outcome;
        }
    }
    CellOutcome::Ran
}

/// The cached walkers, each of which has a target to itself in turn. A single `None` if there are none.
fn owners(cell: &Cell<'_>) -> Vec<Option<WalkerKind>> {
    let mut owners: Vec<Option<WalkerKind>> = cell.cached().map(Some).collect();
    if owners.is_empty() {
        owners.push(None);
    }
    owners
}

struct Lane<'a> {
    cell: &'a Cell<'a>,
    /// Released before the target ends.
    #[cfg(target_arch = "x86_64")]
    at_stores: Option<AtStores>,
    session: Session,
    stops: Stops,
    /// The gate at which the target waits, if there is one.
    gate: Option<Gate>,
    /// How many gates the target has reached.
    gates: u32,
    /// The ids of all threads that were seen.
    ids: BTreeSet<u64>,
    /// The program's legal stacks. Unknown for a user's program.
    grammar: Option<Grammar>,
    /// What a user's program reported about itself at this stop.
    accounts: Vec<OwnAccount>,
    /// Checks whether a user's program can still be walked.
    vitality: Option<Vitality>,
    /// Why the user's program can no longer be walked.
    gone: Option<Gone>,
    /// Whether the target runs for a while before it is stopped at its stores.
    warms_up: bool,
    /// At how many stops a user's program was in its own file while the owner of the anchors looked.
    looks: u32,
    uncached: UncachedWalker,
    cpython: Option<RenewedUnwinder<'a>>,
    owner: Owner<'a>,
    /// How many of the owner's walkers have taken no sample yet.
    fresh: usize,
    attributions: Vec<Attribution>,
    watch: ProtocolWatch,
    hits: HitWatch,
    /// The ids of all threads that the owner has met. Until a cache is swept, it keeps the entries of threads that are
    /// gone.
    met: BTreeSet<u64>,
    /// Decodes the leaf's code object, to recognise generators.
    codes: Decoder,
    /// Each thread at this stop before any walker looked, by thread state.
    before: HashMap<Address, Before>,
    /// The state of each thread, in the order of the interpreter's list.
    standings: Vec<Standing>,
    /// What our own uncached walker saw the last time.
    last: Option<Sample>,
    random: ChaCha8Rng,
}

impl<'a> Lane<'a> {
    fn new(
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
            last: None,
            random: ChaCha8Rng::seed_from_u64(cell.id.seed),
            session,
        })
    }

    fn close(mut self, recorder: &mut CellRecorder<'_>, drivers: &mut UnwinderPool) -> Result<(), CellError> {
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

    fn start(&mut self, recorder: &mut CellRecorder<'_>) -> Result<(), CellError> {
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
    fn run(
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
        let most = wanted.max(fewest).saturating_mul(program::MOST_STOPS);
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
                let longest = if self.cell.program.is_some() { program::LONGEST_RUN } else { LONGEST_RUN };
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

    /// Lets the target run to its next gate and stops it there. A user's program may also stop itself elsewhere.
    fn run_to_gate(&mut self) -> Result<Option<Gate>, CellError> {
        self.session.target.resume()?;
        if self.cell.program.is_some() {
            return self.run_to_own_stop();
        }
        let gate = self.session.target.next_gate(self.cell.patience())?;
        self.session.target.stop()?;
        Ok(Some(gate))
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

    /// Lets all walkers look at the stopped target. Returns what our own uncached walker saw.
    fn look(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        gate: Option<Gate>,
        with_owner: bool,
    ) -> Result<Sample, CellError> {
        self.look_at_protocol(recorder, gate)?;
        recorder.end_of(Phase::Fields);

        let begun = Instant::now();
        let truth = self.uncached.sample(&mut self.session.memory)?;
        let spent = begun.elapsed();
        recorder.end_of(Phase::Walking);
        for thread in &truth.threads {
            recorder.count(WalkerKind::OwnUncached, thread);
            self.judge_truth(recorder, thread);
        }
        recorder.spent(WalkerKind::OwnUncached, spent);
        recorder.end_of(Phase::Judging);

        if let Some(unwinder) = &mut self.cpython {
            unwinder.opened(recorder)?;
            let listing = unwinder.listing()?;
            let begun = Instant::now();
            let sample = unwinder.sample(recorder)?;
            let spent = begun.elapsed();
            recorder.end_of(Phase::Walking);
            if let Some(CountedSample { sample, counters, told }) = sample {
                let walker = sample.walker;
                let report = UnwinderReport { counters, threads: told, owed: None, listing };
                let taken = Taken { sample, unwinder: Some(report) };
                let grammar = self.grammar.as_ref();
                let stopped =
                    Stopped { grammar, truth: &truth.threads, by: &self.uncached, standings: &self.standings };
                compare(recorder, stopped, None, &taken);
                recorder.spent(walker, spent);
            }
            recorder.end_of(Phase::Judging);
        }
        let is_asked = with_owner && !self.may_go_unnoticed();
        if with_owner && !is_asked {
            recorder.not_asked(self.owner.kind());
        }
        if is_asked && self.is_in_generator(At::Rest) {
            recorder.asked_instead(self.owner.kind());
        }
        if is_asked {
            let turn = match self.fresh.checked_sub(1) {
                Some(turn) => turn,
                None => self.random.random_range(0..self.owner.turns()),
            };
            self.fresh = self.fresh.saturating_sub(1);
            let begun = Instant::now();
            let taken = self.owner.sample(recorder, turn, &mut self.session.memory)?;
            let spent = begun.elapsed();
            recorder.end_of(Phase::Walking);
            if let Some(taken) = taken {
                let grammar = self.grammar.as_ref();
                let stopped =
                    Stopped { grammar, truth: &truth.threads, by: &self.uncached, standings: &self.standings };
                let compared = compare(recorder, stopped, self.attributions.get_mut(turn), &taken);
                if let (Some(number), Some(owed)) = (compared.raised, taken.unwinder.and_then(|told| told.owed)) {
                    self.owner.raised(turn, &owed, number);
                }
                self.judge_use(recorder, &taken.sample, compared)?;
                recorder.spent(taken.sample.walker, spent);
            } else {
                self.forget_caches();
            }
            recorder.end_of(Phase::Judging);
        }
        self.note_fields()?;
        recorder.end_of(Phase::Fields);
        if with_owner && self.is_in_program(&truth) {
            self.looks += 1;
        }
        Ok(truth)
    }

    /// Judges whether a cached walker used its cache correctly and left the anchor where it should. The threads before
    /// the one at which CPython's unwinder raised have their anchors by then.
    fn judge_use(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        sample: &Sample,
        compared: Compared,
    ) -> Result<(), CellError> {
        // If several threads share CPython's counters, these do not show which thread hit.
        let runs_threads = self.cell.family.spec().threads == FamilyThreads::Running;
        let shares = runs_threads || self.cell.program.is_some() && sample.threads.len() > 1;
        let tells = !shares || sample.walker != WalkerKind::CpythonCached;
        let alone = self.owner.turns() == 1;
        self.met.extend(self.before.values().map(|before| before.thread.native_thread_id));
        // With too many threads, only the counters show which of them have entries.
        let has_room = self.met.len() <= Limits::CPYTHON.threads;
        let fits = self.before.len() <= Limits::CPYTHON.threads;
        if !fits || compared.has_ended {
            self.hits.forget();
            return Ok(());
        }
        let has_raised = sample.threads.iter().any(|thread| matches!(thread.outcome, Err(Rejection::Raised(_))));
        let told = sample.threads.iter().map(|thread| thread.native_thread_id);
        let listed = self.standings.get(compared.unlisted..).unwrap_or_default();
        if !has_raised && !told.eq(listed.iter().map(|one| one.native_thread_id)) {
            // It reported other threads than exist, which is judged elsewhere. Which thread state is which is unknown.
            self.hits.forget();
            return Ok(());
        }
        for after in self.threads()? {
            let Some(before) = self.before.get(&after.address) else { continue };
            let Some(index) = self.standings.iter().position(|one| one.state == after.address) else { continue };
            let Some(index) = index.checked_sub(compared.unlisted) else { continue };
            if has_raised && index >= compared.raised.unwrap_or(0) && after.anchor != before.thread.anchor {
                let violation = Violation::AnchorWrittenInVain { before: before.thread.anchor, anchor: after.anchor };
                recorder.violation(sample.walker, violation, Evidence::default());
            }
            let id = before.thread.native_thread_id;
            // An unwinder that raised reports one thread, without its state.
            let thread = match sample.threads.first() {
                Some(first) if has_raised => Some(first).filter(|first| first.native_thread_id == id),
                _ => sample.threads.get(index),
            };
            let Some(thread) = thread else { continue };
            // An entry is found by the kernel's id. Two thread states with the same id take it from each other.
            let has_twin = self.standings.iter().filter(|one| one.native_thread_id == id).count() > 1;
            let missed = if tells && alone && has_room && !has_twin {
                self.hits.judge(sample.walker, before, thread)
            } else {
                None
            };
            let evidence = || Evidence { seen: thread.outcome.as_deref().unwrap_or_default(), ..Evidence::default() };
            for violation in anchor_left(&before.thread, &after, thread).into_iter().chain(missed) {
                recorder.violation(sample.walker, violation, evidence());
            }
        }
        Ok(())
    }

    fn judge_truth(&self, recorder: &mut CellRecorder<'_>, thread: &ThreadSample) {
        let walker = WalkerKind::OwnUncached;
        match &thread.outcome {
            Ok(stack) => {
                if let Some(Err(illegal)) = self.grammar.as_ref().map(|grammar| grammar.judge(stack)) {
                    let cause = model::oracle::cause::Cause::Unattributed;
                    recorder.impossible(walker, cause);
                    let evidence = Evidence { cause: Some(cause), seen: stack, ..Evidence::default() };
                    recorder.violation(walker, Violation::Legality { illegal }, evidence);
                }
            }
            Err(Rejection::Empty) => {}
            Err(rejection) => recorder.violation(
                walker,
                Violation::RejectedWhileStopped { rejection: rejection.clone() },
                Evidence::default(),
            ),
        }
    }

    /// Checks the cache's fields against the chains.
    fn look_at_protocol(&mut self, recorder: &mut CellRecorder<'_>, gate: Option<Gate>) -> Result<(), CellError> {
        let kind = self.owner.kind();
        let Session { memory, site, target, .. } = &mut self.session;
        if site.layout.thread.cache.is_none() {
            return Ok(());
        }
        let pid = target.pid();
        self.before.clear();
        self.standings.clear();
        let threads = thread_states(memory, &site.layout, site.runtime)?;
        let ids: Vec<u64> = threads.iter().map(|thread| thread.native_thread_id).collect();
        for thread in threads {
            let mut chunks = Chunks::copy(memory, thread.datastack_chunk)?;
            let start = thread.current_frame;
            let chain = follow(memory, &site.layout, &thread, Some(&mut chunks), start, None, DEPTH_LIMIT);
            let links = chain?.links;
            let generation = CodeGeneration::read(memory, &site.layout, thread.interpreter);
            let interpreter = generation.number.map(|(id, _)| id);
            self.codes.enter(generation);
            let leaf = leaf::kind(memory, &mut self.codes, links.first())?;
            self.codes.keep();
            let native_thread_id = thread.native_thread_id;
            let in_generator = links.iter().any(|frame| frame.owner == FrameOwner::Generator);
            let status = status(memory, &site.layout, &thread, in_generator, interpreter)?;
            let (state, depth) = (thread.address, links.len());
            let owner = thread.interpreter;
            self.standings.push(Standing { state, native_thread_id, owner, interpreter, leaf, links: depth, status });
            let python = links.iter().take_while(|frame| frame.runs()).count();
            let chain: Vec<Address> = links.iter().map(|frame| frame.address).collect();
            let at = match (self.stops, gate) {
                // The other threads of the target are not at the gate.
                (Stops::Gates, Some(gate)) if is_at(gate, native_thread_id, status, &ids) => At::Rest,
                #[cfg(target_arch = "x86_64")]
                (Stops::Stores, _) => At::Rest,
                _ => At::Anywhere,
            };
            let place = |anchor| {
                // What is left of a shim frame can look like any frame, so its location is checked first.
                if is_c_stack(pid, thread.native_thread_id, anchor) {
                    return OffChain::CStack;
                }
                match RawFrame::read(memory, &site.layout, anchor) {
                    Ok(frame) if frame.is_python() && frame.previous == thread.current_frame => OffChain::Leaving,
                    Ok(frame) if frame.owner == FrameOwner::Generator && frame.previous == 0 => {
                        OffChain::SuspendedGenerator
                    }
                    _ => OffChain::Elsewhere,
                }
            };
            if self.cell.program.is_some() {
                self.watch.forget_if_new(&thread);
            }
            for violation in self.watch.look(&thread, &chain, at, place) {
                let before = stack_of(self.last.as_ref(), thread.native_thread_id);
                recorder.violation(kind, violation, Evidence { before, ..Evidence::default() });
            }
            self.before.insert(thread.address, Before { thread, at, chain, python, leaf });
        }
        Ok(())
    }

    /// Compares the gate's context and the target's own account with the walk, and lets the target go on.
    fn at_gate(&mut self, recorder: &mut CellRecorder<'_>, gate: Gate, truth: &Sample) -> Result<(), CellError> {
        self.session.target.resume()?;
        // Before 3.15, the state of threads is unknown.
        let by_id = |thread: &ThreadSample| is_at(gate, thread.native_thread_id, None, &[]);
        let ids: Vec<u64> = self.standings.iter().map(|one| one.native_thread_id).collect();
        let at_gate = self.standings.iter().position(|one| is_at(gate, one.native_thread_id, one.status, &ids));
        let index = at_gate.or_else(|| truth.threads.iter().position(by_id));
        let stack = index.and_then(|index| truth.threads.get(index)).and_then(|thread| thread.outcome.as_ref().ok());
        let stack: Vec<Frame> =
            stack.into_iter().flat_map(|stack| stack.iter()).filter(|frame| !is_trampoline(frame)).cloned().collect();
        let stack = stack.as_slice();
        let contexts = self.grammar.as_ref().map(|grammar| grammar.contexts_of(stack));
        let here = contexts.is_some_and(|contexts| contexts.is_ok_and(|contexts| contexts.contains(&gate.context)));
        if !here || self.random.random_range(0..ACCOUNT_INTERVAL) == 0 {
            recorder.end_of(Phase::Judging);
            let account = self.session.target.account(self.cell.patience())?;
            recorder.end_of(Phase::Account);
            let told = frames_of_account(stack, &account);
            if let Some(difference) = difference(stack, &told) {
                recorder.difference(WalkerKind::OwnUncached);
                let possible = Some(Possible::Stack(told));
                let evidence = Evidence { seen: stack, possible, ..Evidence::default() };
                recorder.violation(WalkerKind::OwnUncached, Violation::Account { difference }, evidence);
            } else if !here {
                return Err(Inconclusive::TargetEnded(format!(
                    "the workload announces context {}, but its own stack is not the one of that context: the grammar \
                     is wrong",
                    gate.context
                ))
                .into());
            }
        }
        recorder.end_of(Phase::Judging);
        self.session.target.go(self.cell.patience())?;
        Ok(())
    }

    /// From here on, all caches are empty.
    fn forget_caches(&mut self) {
        self.attributions = (0..self.owner.turns()).map(|_| Attribution::default()).collect();
        self.hits.forget();
        self.met.clear();
    }

    /// Gives the anchors to `walker`.
    fn attach(
        &mut self,
        recorder: &mut CellRecorder<'_>,
        drivers: &mut UnwinderPool,
        walker: Option<WalkerKind>,
        turns: usize,
    ) -> Result<(), CellError> {
        if walker.is_some() {
            self.leave_anchors()?;
        }
        self.owner = Owner::new(self.cell, drivers, recorder, &self.session, walker, turns)?;
        self.fresh = self.owner.turns();
        self.forget_caches();
        self.owner.attach(&mut self.session.memory)?;
        self.look_for_left_anchors(recorder)?;
        self.begin_sequences()?;
        self.note_fields()
    }

    /// Puts each thread's anchor on the caller of its leaf, as a profiler leaves it that ended without cleaning up. The
    /// next walker has to clear it. Otherwise the walker takes the anchor for its own, and the entry for one that the
    /// interpreter kept up to date.
    fn leave_anchors(&mut self) -> Result<(), CellError> {
        let layout = self.session.site.layout;
        for thread in self.threads()? {
            if thread.current_frame != 0 {
                let caller = RawFrame::read(&mut self.session.memory, &layout, thread.current_frame)?.previous;
                self.write_anchor(&thread, caller)?;
            }
        }
        Ok(())
    }

    /// Judges the anchors that are still set, and clears them. The target then runs on as with a walker that has
    /// cleared them.
    fn look_for_left_anchors(&mut self, recorder: &mut CellRecorder<'_>) -> Result<(), CellError> {
        for thread in self.threads()?.into_iter().filter(|thread| thread.anchor != 0) {
            if self.owner.begins() {
                let violation = Violation::AnchorNotCleared { anchor: thread.anchor };
                recorder.violation(self.owner.kind(), violation, Evidence::default());
            }
            self.write_anchor(&thread, 0)?;
        }
        Ok(())
    }

    fn write_anchor(&mut self, thread: &ThreadState, anchor: Address) -> Result<(), CellError> {
        let Some(cache) = self.session.site.layout.thread.cache else { return Ok(()) };
        let address = thread.address.wrapping_add(cache.anchor);
        self.session.memory.write(address, &anchor.to_le_bytes()).map_err(Rejection::from)?;
        Ok(())
    }

    /// Detaches the walkers; no anchor may stay behind. A gated target is at a gate then, so no update is half done
    /// that would complete later.
    fn detach(&mut self, recorder: &mut CellRecorder<'_>) -> Result<(), CellError> {
        if self.stops == Stops::Gates {
            self.run_to_gate()?;
            self.look_for_life()?;
        }
        if !self.is_traced() {
            self.session.target.stop()?;
        }
        // The target has moved on without a look.
        self.last = None;
        let kind = self.owner.kind();
        let detached = self.owner.detach(recorder, &mut self.session.memory)?;
        for thread in self.threads()? {
            if detached && thread.anchor != 0 {
                recorder.violation(kind, Violation::AnchorLeft { anchor: thread.anchor }, Evidence::default());
            }
        }
        self.note_fields()?;
        if self.stops == Stops::Gates && self.cell.program.is_none() {
            self.session.target.resume()?;
            self.session.target.go(self.cell.patience())?;
        }
        Ok(())
    }

    /// Sets the sequences of all threads a little below the point where they need more bits.
    fn begin_sequences(&mut self) -> Result<(), CellError> {
        let bits = match self.stops {
            Stops::Gates => 16,
            #[cfg(target_arch = "x86_64")]
            Stops::Stores => 32,
            // An update may be half done here.
            Stops::Moments => return Ok(()),
        };
        self.write_sequences(|sequence| sequence.max((1 << bits) - BELOW))
    }

    /// Makes everything that caches have stored stale, by a number of returns that is zero in 16 or in 32 bits.
    fn jump(&mut self) -> Result<(), CellError> {
        let bits = if self.gates.is_multiple_of(2 * JUMP_INTERVAL) { 16 } else { 32 };
        self.write_sequences(|sequence| sequence.wrapping_add(1 << bits))?;
        self.hits.forget();
        self.note_fields()
    }

    /// Writes the sequences of the threads that are at rest.
    fn write_sequences(&mut self, sequence: impl Fn(u64) -> u64) -> Result<(), CellError> {
        let Some(cache) = self.session.site.layout.thread.cache else { return Ok(()) };
        for thread in self.threads()? {
            if self.before.get(&thread.address).is_some_and(|before| before.at == At::Rest) {
                let bytes = sequence(thread.sequence).to_le_bytes();
                self.session
                    .memory
                    .write(thread.address.wrapping_add(cache.sequence), &bytes)
                    .map_err(Rejection::from)?;
            }
        }
        Ok(())
    }

    /// Gives a new thread the id of one that is gone, as the kernel does when it has used up its numbers.
    fn reuse_thread_id(&mut self) -> Result<(), CellError> {
        let threads = self.threads()?;
        let is_there = |id: u64| threads.iter().any(|thread| thread.native_thread_id == id);
        let mut new = threads.iter().filter(|thread| !self.ids.contains(&thread.native_thread_id));
        if let (Some(thread), None) = (new.next(), new.next())
            && let Some(gone) = self.ids.iter().copied().find(|&id| !is_there(id))
        {
            let address = thread.address.wrapping_add(self.session.site.layout.thread.native_thread_id);
            self.session.memory.write(address, &gone.to_le_bytes()).map_err(Rejection::from)?;
        }
        self.ids.extend(threads.iter().map(|thread| thread.native_thread_id));
        Ok(())
    }

    /// Whether there is a single thread, with a short chain.
    fn is_shallow(&self) -> bool {
        matches!(self.standings.as_slice(), [Standing { links: ..32, .. }])
    }

    /// Whether the tracer holds the target, so that it needs no signal to stop.
    fn is_traced(&self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.at_stores.is_some();
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// Whether the interpreter could fail to notice an anchor that is written now; see the module.
    fn may_go_unnoticed(&self) -> bool {
        // The reference walker has to reject these leaves by itself.
        if self.owner.kind() == WalkerKind::OwnReference {
            return false;
        }
        self.is_in_generator(At::Anywhere)
    }

    /// Whether a thread that is stopped in this way is in a generator's code.
    fn is_in_generator(&self, at: At) -> bool {
        let mut stopped = self.before.values().filter(|before| before.at == at);
        stopped.any(|before| !matches!(before.leaf, LeafKind::Function | LeafKind::Shim))
    }

    fn note_fields(&mut self) -> Result<(), CellError> {
        for thread in self.threads()? {
            let chain = self.before.get(&thread.address).map(|before| before.chain.as_slice()).unwrap_or_default();
            self.watch.leave(&thread, chain);
        }
        Ok(())
    }

    fn threads(&mut self) -> Result<Vec<ThreadState>, CellError> {
        let Session { memory, site, .. } = &mut self.session;
        Ok(thread_states(memory, &site.layout, site.runtime)?)
    }
}

/// Whether the thread is the one at the gate. Of several thread states with its id, it is the one that runs. A thread
/// with a single state can be without the GIL there, since it waits in a `read`. `ids` are the ids of all thread
/// states.
fn is_at(gate: Gate, native_thread_id: u64, status: Option<Status>, ids: &[u64]) -> bool {
    let has_twin = ids.iter().filter(|&&id| id == native_thread_id).count() > 1;
    u64::from(gate.native_thread_id) == native_thread_id && (!has_twin || status.is_none_or(Status::has_gil))
}

/// The stack of a thread in a sample. Empty if the sample has no stack for it.
fn stack_of(sample: Option<&Sample>, native_thread_id: u64) -> &[Frame] {
    let threads = sample.map(|sample| sample.threads.as_slice()).unwrap_or_default();
    let thread = threads.iter().find(|thread| thread.native_thread_id == native_thread_id);
    thread.and_then(|thread| thread.outcome.as_deref().ok()).unwrap_or_default()
}
