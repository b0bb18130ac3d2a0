//! Arbitrary programs and interleavings: every stack that a cached walker returns existed during its sample.
//!
//! The walkers make different promises:
//!
//! - The reference walker keeps this promise whatever happens between two words that it reads, even if another profiler
//!   anchors the current frame.
//! - CPython's protocol keeps it only while the target is at rest during samples and stops between operations. If every
//!   frame that leaves the stack moves the anchor, it also does with another profiler. Without another profiler, it
//!   also promises a hit if the anchor's frame is on the stack and in the entry.
//! - On a moving target, if each read is atomic, CPython's protocol still promises that a stack is not cut short, and
//!   that the frames that it walked itself fit together.
//! - The interpreter promises to move the anchor off a frame that leaves the stack.
//!
//! `FRAMEDIFF_WEAKEN` names checks that the walkers skip, `FRAMEDIFF_VARY` variations of the interpreter (both
//! separated by commas). The fuzzer must then find a failure. A case can also name the clause that it is known to
//! break, like the counterexamples of `framediff prove`.

use std::collections::BTreeSet;

use arbitrary::{Arbitrary, Unstructured};
use framewalk::cache::Limits;
use framewalk::sample::WalkerKind;
use framewalk::spec::WalkerSpec;
use framewalk::weakening::Weakening;
use model::invariants::SampleFault;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use super::CheckOutcome;
use super::target::FuzzTarget;
use super::weakened::{VARIATIONS, WEAKENINGS};
use crate::history::render;
use crate::program::{SimFunction, SimInstruction, SimProgram, Thread, VARIABLES};
use crate::scenario::{From, Leg, Scenario, Setting};
use crate::variation::Variation;
use crate::workloads;

/// The fuzz target over scenarios of the simulated interpreter.
pub static TARGET: FuzzTarget<TestCase> =
    FuzzTarget { name: "cache_state_machine", check, least_accepted: 10, judges_refusals: false };

/// A scenario and its known result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// The scenario to run.
    pub scenario: Scenario,
    /// What is wrong with it, if it is known to be wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaks: Option<SampleFault>,
}

/// Number of bytes that the choices of most cases consume.
const CHOICES: usize = 256;

/// How schedules are drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Schedules {
    /// See [`leg`].
    Any,
    /// See [`windows`].
    Windows,
    /// See [`attempts`].
    Attempts,
    /// See [`rests`].
    Rests,
}

/// Generates a case with these weakenings and variations. The bytes are those of [`Arbitrary`].
///
/// # Errors
/// As [`Arbitrary::arbitrary`].
pub fn generate(
    bytes: &mut Unstructured<'_>,
    weakenings: &BTreeSet<Weakening>,
    variations: &BTreeSet<Variation>,
) -> arbitrary::Result<TestCase> {
    let both = [WalkerKind::OwnReference, WalkerKind::OwnCached];
    let able: Vec<WalkerKind> = both
        .into_iter()
        .filter(|&kind| weakenings.is_empty() || weakenings.iter().any(|weakening| weakening.applies_to(kind)))
        .collect();
    let kind = *bytes.choose(&able)?;
    let setting = match kind {
        WalkerKind::OwnCached if bytes.ratio(1, 3)? => Setting::Coarse,
        WalkerKind::OwnReference if !bytes.ratio(1, 8)? => Setting::Moving,
        WalkerKind::OwnCached
        | WalkerKind::OwnReference
        | WalkerKind::OwnUncached
        | WalkerKind::CpythonUncached
        | WalkerKind::CpythonCached => Setting::AtRest,
    };
    let close = if setting == Setting::AtRest { Schedules::Rests } else { Schedules::Attempts };
    let schedules = *bytes.choose(&[Schedules::Any, Schedules::Windows, close, close])?;
    let program = program(bytes, schedules)?;
    let limits = Limits::CPYTHON;
    let threads_cached = if bytes.ratio(1, 8)? { bytes.int_in_range(1..=2)? } else { limits.threads };
    let addresses_cached = if bytes.ratio(1, 8)? { bytes.int_in_range(1..=5)? } else { limits.addresses };
    let first_sequence = if bytes.ratio(1, 2)? { u64::MAX - bytes.int_in_range(0..=3)? } else { 0 };
    let forks_before = if bytes.ratio(1, 16)? { Some(bytes.int_in_range(1..=3)?) } else { None };
    let come_and_go = forks_before.is_some() || program.threads.iter().any(|thread| !thread.started);
    let threads = u8::try_from(program.threads.len()).unwrap_or(1);
    let samples = (0..bytes.int_in_range(3..=6)?)
        .map(|_| Ok(if come_and_go { None } else { Some(bytes.int_in_range(0..=threads - 1)?) }))
        .collect::<arbitrary::Result<_>>()?;
    let mut legs = match schedules {
        Schedules::Any => (0..bytes.int_in_range(1..=20)?).map(|_| leg(bytes, threads)).collect::<Result<_, _>>()?,
        Schedules::Windows => windows(bytes)?,
        Schedules::Attempts => attempts(bytes)?,
        Schedules::Rests => rests(bytes, threads)?,
    };
    if kind == WalkerKind::OwnCached && !(setting == Setting::AtRest && program.moves_anchor_with_every_frame()) {
        legs.iter_mut().for_each(|leg| leg.other_profiler = None);
    }
    let decisions = (0..bytes.int_in_range(0..=12)?).map(|_| u8::arbitrary(bytes)).collect::<arbitrary::Result<_>>()?;
    let scenario = Scenario {
        program,
        variations: variations.clone(),
        walker: WalkerSpec { kind, weakenings: weakenings.clone() },
        threads_cached: u8::try_from(threads_cached).unwrap_or(u8::MAX),
        addresses_cached: u16::try_from(addresses_cached).unwrap_or(u16::MAX),
        first_sequence,
        samples,
        forks_before,
        setting,
        loaded_before_writes: Vec::new(),
        legs,
        decisions,
    };
    Ok(TestCase { scenario, breaks: None })
}

/// Mostly short waits and short moves, because failures happen between neighbouring accesses. Some moves run through
/// whole call chains.
fn leg(bytes: &mut Unstructured<'_>, threads: u8) -> arbitrary::Result<Leg> {
    let accesses = if bytes.ratio(2, 3)? { bytes.int_in_range(0..=8)? } else { bytes.int_in_range(0..=60)? };
    let stores = if bytes.ratio(1, 2)? { bytes.int_in_range(1..=8)? } else { bytes.int_in_range(0..=90)? };
    let from = *bytes.choose(&[From::LastLeg, From::LastLeg, From::NextWrite, From::NextSample])?;
    let back = bytes.ratio(1, 4)?;
    let other_profiler = if bytes.ratio(1, 16)? { Some(bytes.int_in_range(0..=threads - 1)?) } else { None };
    Ok(Leg { from, accesses, stores, frames: 0, back, other_profiler, joined: false })
}

/// Moves between samples, and at the two weakest points of each sample: while the thread state is read, and around the
/// write of the anchor. After the latter, the target often continues until it looks as before. Most moves are whole
/// frames, because failures need frames that were pushed or popped.
fn windows(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for sample in 0..bytes.int_in_range(2..=4)? {
        let frames = bytes.int_in_range(0..=if sample == 0 { 6 } else { 3 })?;
        let stores = if bytes.ratio(1, 4)? { bytes.int_in_range(1..=8)? } else { 0 };
        legs.push(Leg { from: From::SampleEnd, frames, stores, ..Leg::default() });
        if bytes.ratio(1, 2)? {
            continue;
        }
        if bytes.ratio(2, 3)? {
            let (accesses, frames, stores) =
                (bytes.int_in_range(0..=12)?, bytes.int_in_range(0..=2)?, bytes.int_in_range(0..=2)?);
            legs.push(Leg { from: From::NextSample, accesses, frames, stores, ..Leg::default() });
        }
        if bytes.ratio(2, 3)? {
            // Up to the last word of the check after the write.
            let accesses = if bytes.ratio(3, 4)? { bytes.int_in_range(0..=2)? } else { bytes.int_in_range(3..=9)? };
            let (frames, stores) =
                if bytes.ratio(2, 3)? { (0, 0) } else { (bytes.int_in_range(0..=2)?, bytes.int_in_range(0..=4)?) };
            let back = bytes.ratio(2, 3)?;
            legs.push(Leg { from: From::NextWrite, accesses, frames, stores, back, ..Leg::default() });
        }
        if bytes.ratio(1, 4)? {
            let (accesses, frames, stores) =
                (bytes.int_in_range(0..=30)?, bytes.int_in_range(0..=3)?, bytes.int_in_range(0..=8)?);
            legs.push(Leg { accesses, frames, stores, ..Leg::default() });
        }
    }
    Ok(legs)
}

/// A few frames between samples and, in every other sample, one pushed or popped after the read of the thread state. So
/// attempts that succeed alternate with attempts that fail. Sometimes more frames are popped, and another profiler
/// anchors the next one.
fn attempts(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for _ in 0..bytes.int_in_range(3..=5)? {
        legs.push(Leg { from: From::SampleEnd, frames: bytes.int_in_range(0..=3)?, ..Leg::default() });
        if bytes.ratio(1, 2)? {
            continue;
        }
        let inside = Leg { from: From::NextSample, accesses: bytes.int_in_range(3..=9)?, ..Leg::default() };
        if bytes.ratio(1, 8)? {
            legs.push(Leg { frames: bytes.int_in_range(1..=6)?, other_profiler: Some(0), ..inside });
            continue;
        }
        legs.push(Leg { frames: 1, stores: 1, ..inside });
        if bytes.ratio(1, 8)? {
            let accesses = bytes.int_in_range(0..=2)?;
            legs.push(Leg { from: From::NextWrite, accesses, back: true, ..Leg::default() });
        }
    }
    Ok(legs)
}

/// A few or many frames before each sample, and another profiler in at least one of them.
fn rests(bytes: &mut Unstructured<'_>, threads: u8) -> arbitrary::Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for _ in 0..bytes.int_in_range(2..=8)? {
        let frames = if bytes.ratio(3, 4)? { bytes.int_in_range(0..=6)? } else { bytes.int_in_range(7..=20)? };
        let other_profiler = if bytes.ratio(1, 2)? { Some(bytes.int_in_range(0..=threads - 1)?) } else { None };
        legs.push(Leg { frames, other_profiler, joined: bytes.ratio(1, 4)?, ..Leg::default() });
    }
    Ok(legs)
}

fn program(bytes: &mut Unstructured<'_>, schedules: Schedules) -> arbitrary::Result<SimProgram> {
    // Attempts fail in most ways if two call chains alternate at the same addresses.
    if schedules == Schedules::Attempts && bytes.ratio(2, 3)? {
        return Ok(bytes.choose(&[workloads::alternating, workloads::failed_bind])?());
    }
    // The owner of the anchor's frame matters most if thread states are created and freed. Decoded code objects matter
    // most if another code object is created at the same address.
    if schedules == Schedules::Rests && bytes.ratio(1, 3)? {
        let reuse = [workloads::thread_reuse, workloads::code_reuse, workloads::code_reuse_interpreters];
        return Ok(bytes.choose(&reuse)?());
    }
    if bytes.ratio(1, 2)? {
        return Ok((bytes.choose(&workloads::ALL)?.make)());
    }
    const NAMES: [&str; 6] = ["main", "f", "g", "h", "i", "j"];
    let count = bytes.int_in_range(3..=NAMES.len())?;
    let functions = NAMES
        .iter()
        .take(count)
        .map(|name| {
            let body = (0..bytes.int_in_range(0..=5)?)
                .map(|_| Ok(within(bytes.arbitrary()?, u8::try_from(count).unwrap_or(1))))
                .collect::<arbitrary::Result<Vec<SimInstruction>>>()?;
            let handler = if bytes.ratio(1, 4)? { Some(bytes.int_in_range(0..=5)?) } else { None };
            let slots = if bytes.ratio(1, 8)? { 2 } else { 1 };
            Ok(SimFunction { name: (*name).to_owned(), slots, body, handler, place: None })
        })
        .collect::<arbitrary::Result<Vec<_>>>()?;
    let mut threads = vec![Thread::new(0, 7, true)];
    if bytes.ratio(1, 4)? {
        threads.push(Thread::new(1, 8, bytes.arbitrary()?));
    }
    let mut program = SimProgram { functions, threads, slots_per_chunk: bytes.int_in_range(2..=8)?, frees: None };
    if program.frees_code() {
        take_turns(bytes, &mut program)?;
    }
    Ok(program)
}

/// Makes the last function, or the last two, take turns with another one, and assigns the second thread to another
/// interpreter.
fn take_turns(bytes: &mut Unstructured<'_>, program: &mut SimProgram) -> arbitrary::Result<()> {
    let place = bytes.int_in_range(1..=u8::try_from(program.functions.len()).unwrap_or(3).saturating_sub(2))?;
    let others = if bytes.ratio(1, 4)? { 2 } else { 1 };
    for function in program.functions.iter_mut().skip(usize::from(place) + 1).rev().take(others) {
        function.place = Some(place);
    }
    if let Some(thread) = program.threads.get_mut(1) {
        thread.interpreter = u8::from(bytes.ratio(1, 2)?);
    }
    Ok(())
}

/// The same instruction with functions, variables and places that exist. No function calls `main`, or itself deeper
/// than the data stack allows.
fn within(instruction: SimInstruction, functions: u8) -> SimInstruction {
    use SimInstruction as I;
    let function = |id: u8| 1 + id % (functions - 1);
    let variable = |id: u8| id % u8::try_from(VARIABLES).unwrap_or(1);
    match instruction {
        I::Call(id) => I::Call(function(id)),
        I::CallFromC(id) => I::CallFromC(function(id)),
        I::FailedCall(id) => I::FailedCall(function(id)),
        I::ReturnRunning(id) => I::ReturnRunning(function(id)),
        I::Create(at, id) => I::Create(variable(at), function(id)),
        I::Resume(at) => I::Resume(variable(at)),
        I::ResumeFromC(at) => I::ResumeFromC(variable(at)),
        I::Delegate(at) => I::Delegate(variable(at)),
        I::Throw(at) => I::Throw(variable(at)),
        I::Drop(at) => I::Drop(variable(at)),
        I::Line(line) => I::Line(1 + line % 4),
        I::Jump(to) => I::Jump(to % 6),
        I::Branch(to) => I::Branch(to % 6),
        I::StartThread(_) => I::StartThread(1),
        I::Compile(id) => I::Compile(function(id)),
        I::Free(id) => I::Free(function(id)),
        I::Return | I::Raise | I::Yield | I::EndThread => instruction,
    }
}

impl<'a> Arbitrary<'a> for TestCase {
    /// Half of the inputs are seeds of pseudo-random choices. A mutated input resembles its original, while some faults
    /// need many choices that are all new.
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        if !bytes.ratio(1, 2)? {
            return generate(bytes, &WEAKENINGS, &VARIATIONS);
        }
        let mut choices = [0; CHOICES];
        ChaCha8Rng::seed_from_u64(bytes.arbitrary()?).fill_bytes(&mut choices);
        generate(&mut Unstructured::new(&choices), &WEAKENINGS, &VARIATIONS)
    }
}

/// Checks that a scenario breaks no clause, or the one that it is known to break. It is accepted if a sample returned a
/// stack.
///
/// # Panics
/// The check fails. The message contains the history.
pub fn check(case: &TestCase) -> CheckOutcome {
    let ran = match case.scenario.run(false) {
        Ok(ran) => ran,
        Err(error) => panic!("{error}"),
    };
    let broken = ran.broken;
    let is_as_known = match (case.breaks, broken) {
        (Some(known), Some(broken)) => known.covers(broken),
        (known, broken) => known == broken,
    };
    if !is_as_known {
        let history = case.scenario.run(true).map(|ran| render(&ran.interpreter, &ran.notes)).unwrap_or_default();
        match (broken, case.breaks) {
            (Some(broken), _) => panic!("{}\n{history}", broken.describe()),
            (None, breaks) => panic!("no violation, although `{breaks:?}` should be broken\n{history}"),
        }
    }
    if ran.samples.iter().any(|judged| judged.sample.outcome.is_ok()) {
        CheckOutcome::Accepted
    } else {
        CheckOutcome::Rejected
    }
}

/// Unlike for decoders, no share of rejected cases is required: a scenario without any stack shows nothing.
#[cfg(test)]
#[test]
fn smoke() {
    const CASES: usize = 512;
    let cases = super::target::random_stream().take(CASES).map(Result::unwrap);
    let accepted = cases.filter(|case| check(case) == CheckOutcome::Accepted).count();
    assert!(accepted > CASES / 2, "{accepted} accepted");
}
