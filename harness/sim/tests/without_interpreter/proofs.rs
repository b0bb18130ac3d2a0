//! Exhaustive search and random schedules: correct protocols are proved, and every injected fault is found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use framewalk::sample::{Lookup, WalkerKind};
use framewalk::spec::WalkerSpec;
use framewalk::weakening::Weakening;
use model::invariants::SampleFault;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sim::fuzzing::cache_state_machine::generate;
use sim::program::SimInstruction::{Call, Line};
use sim::program::{SimFunction, SimProgram, Thread};
use sim::prove::graph::{ANY_NUMBER, Graph};
use sim::prove::options::{MemoryOrder, ProofOptions, Reads, SoughtStack};
use sim::prove::replay::scenario;
use sim::prove::search::{ProofReport, SearchOutcome, search};
use sim::scenario::{Leg, Scenario, Setting};
use sim::variation::Variation;
use sim::workloads;

/// One leaf that two callers share.
fn shared_leaf() -> SimProgram {
    SimProgram {
        functions: vec![
            SimFunction::new("main", &[Call(1), Call(2)]),
            SimFunction::new("a", &[Call(3)]),
            SimFunction::new("b", &[Call(3)]),
            SimFunction::new("leaf", &[Line(2)]),
        ],
        threads: vec![Thread::new(0, 7, true)],
        slots_per_chunk: 3,
        frees: None,
    }
}

fn named(workload: &str) -> SimProgram {
    (workloads::find(workload).unwrap().make)()
}

struct Case {
    program: SimProgram,
    walker: WalkerSpec,
    variations: BTreeSet<Variation>,
    samples: u32,
    sought: SoughtStack,
    reads: Reads,
    memory: MemoryOrder,
    anchorings: u8,
}

impl Case {
    fn new(program: SimProgram, kind: WalkerKind, weakenings: &[Weakening]) -> Self {
        Self {
            program,
            walker: WalkerSpec { kind, weakenings: weakenings.iter().copied().collect() },
            variations: BTreeSet::new(),
            samples: 6,
            sought: SoughtStack::NotThere,
            reads: Reads::Words,
            memory: MemoryOrder::Sc,
            anchorings: 0,
        }
    }

    fn graph(&self) -> Graph {
        Graph::build(self.program.clone(), self.variations.clone()).unwrap()
    }

    fn search(&self, graph: &Graph) -> ProofReport {
        let options = ProofOptions {
            walker: &self.walker,
            samples: self.samples,
            sought: self.sought,
            reads: self.reads,
            memory: self.memory,
            anchorings: self.anchorings,
            states: u64::MAX,
            interrupted: &|| false,
        };
        search(graph, &options).unwrap()
    }

    /// Asserts that nothing is wrong in any number of samples, and that the cache was used.
    fn holds(&self) {
        let report = self.search(&self.graph());
        let SearchOutcome::Complete { samples: None } = report.outcome else { panic!("{:?}", report.outcome) };
        assert!(report.answers.full_hits > 0 && report.answers.partial_hits > 0, "{:?}", report.answers);
    }

    /// Asserts that a counterexample is found and can be replayed.
    fn breaks(&self) {
        self.breaks_by(SampleFault::NotThere);
    }

    fn breaks_by(&self, fault: SampleFault) {
        let graph = self.graph();
        let SearchOutcome::Counterexample(found) = self.search(&graph).outcome else { panic!("nothing was found") };
        let ran =
            scenario(&graph, self.walker.clone(), &found, self.reads == Reads::Samples).unwrap().run(true).unwrap();
        assert!(ran.broken.is_some_and(|broken| fault.covers(broken)), "{:?}", ran.broken);
        assert!(!ran.notes.is_empty());
    }
}

#[test]
fn the_reference_walker_is_correct_in_both_store_orders() {
    let case = Case::new(shared_leaf(), WalkerKind::OwnReference, &[]);
    case.holds();
    Case { variations: BTreeSet::from([Variation::AnchorBeforeSequence]), ..case }.holds();
}

#[test]
fn cpythons_protocol_splices_on_a_running_target_even_with_atomic_reads() {
    let case = Case::new(named("alternating"), WalkerKind::OwnCached, &[]);
    Case { samples: 3, sought: SoughtStack::Spliced, reads: Reads::Segments, ..case }.breaks();
}

#[test]
fn the_holes_of_the_anchor_first_protocol_are_found() {
    for (workload, weakening) in [
        ("generator", Weakening::GeneratorLeafAnchored),
        ("generators", Weakening::GeneratorBeingMadeAnchored),
        ("entry", Weakening::ShimLeafAnchored),
    ] {
        Case { samples: 2, ..Case::new(named(workload), WalkerKind::OwnReference, &[weakening]) }.breaks();
    }
    let case = Case::new(named("alternating"), WalkerKind::OwnReference, &[Weakening::PartialHitOnGrownStack]);
    Case { samples: 3, reads: Reads::Segments, ..case }.breaks();
}

/// The current frame is stored, then the anchor is loaded, with no fence between: the walker can see the frame still
/// there although the interpreter has already looked, and found another anchor.
#[test]
fn a_store_buffer_breaks_the_reference_walker() {
    let case = Case { reads: Reads::Segments, ..Case::new(shared_leaf(), WalkerKind::OwnReference, &[]) };
    case.holds();
    Case { memory: MemoryOrder::Tso, ..case }.breaks();
}

const CODE_PROGRAMS: [(&str, Weakening); 2] = [
    ("code-reuse", Weakening::CodeKeptAfterFree),
    ("code-reuse-interpreters", Weakening::GenerationOfAnotherInterpreter),
];

#[test]
fn the_reference_walker_is_correct_when_code_objects_are_freed() {
    for (workload, _) in CODE_PROGRAMS {
        let case = Case::new(named(workload), WalkerKind::OwnReference, &[]);
        Case { reads: Reads::Segments, samples: 20, ..case }.holds();
    }
}

#[test]
fn keeping_decoded_code_for_too_long_is_found() {
    for (workload, weakening) in CODE_PROGRAMS {
        Case {
            samples: 3,
            reads: Reads::Segments,
            ..Case::new(named(workload), WalkerKind::OwnReference, &[weakening])
        }
        .breaks();
        Case { samples: 4, ..at_rest(workload, &[weakening]) }.breaks();
    }
}

#[test]
fn the_sequence_reveals_an_anchor_moved_up_by_another_profiler() {
    let weakening = [Weakening::SequenceNotComparedAfterAnchoring];
    let case = |weakenings: &[Weakening]| Case {
        samples: 1,
        reads: Reads::Segments,
        anchorings: 1,
        ..Case::new(named("generators"), WalkerKind::OwnReference, weakenings)
    };
    case(&weakening).breaks();
    let with = case(&[]);
    assert!(matches!(with.search(&with.graph()).outcome, SearchOutcome::Complete { samples: Some(1) }));
    let alone = Case { anchorings: 0, ..case(&weakening) };
    assert!(matches!(alone.search(&alone.graph()).outcome, SearchOutcome::Complete { samples: Some(1) }));
}

/// CPython's protocol on a target that moves only between samples.
fn at_rest(workload: &str, weakenings: &[Weakening]) -> Case {
    Case { reads: Reads::Samples, samples: 4, ..Case::new(named(workload), WalkerKind::OwnCached, weakenings) }
}

#[test]
fn cpythons_protocol_is_correct_at_rest_and_hits_whenever_possible() {
    for workload in workloads::ALL {
        let case = at_rest(workload.name, &[]);
        let outcome = case.search(&case.graph()).outcome;
        assert!(matches!(outcome, SearchOutcome::Complete { .. }), "{}: {outcome:?}", workload.name);
    }
}

#[test]
fn at_rest_another_profiler_is_harmless_if_the_sequence_is_compared() {
    for (workload, weakening) in [
        ("alternating", Weakening::NoSequenceCheckOnFullHit),
        ("alternating", Weakening::NoSequenceCheckOnPartialHit),
        ("thread-reuse", Weakening::ThreadStateNotCompared),
    ] {
        let case = Case { anchorings: ANY_NUMBER, ..at_rest(workload, &[]) };
        let outcome = case.search(&case.graph()).outcome;
        assert!(matches!(outcome, SearchOutcome::Complete { .. }), "{workload}: {outcome:?}");
        Case { anchorings: ANY_NUMBER, ..at_rest(workload, &[weakening]) }.breaks();
    }
}

#[test]
fn the_faults_that_show_at_rest_are_found() {
    at_rest("alternating", &[Weakening::LeafReusedOnFullHit]).breaks();
    at_rest("entry", &[Weakening::ShimFramesCounted]).breaks_by(SampleFault::HitMissed);
    for (workload, variation, fault) in [
        ("exceptions", Variation::AnchorKeptOnReturn, SampleFault::NotThere),
        ("generator", Variation::AnchorKeptOnYield, SampleFault::NotThere),
        ("generator-made", Variation::AnchorKeptOnReturnGenerator, SampleFault::NotThere),
        ("throw", Variation::AnchorKeptOnThrow, SampleFault::NotThere),
        ("alternating", Variation::SequenceKept, SampleFault::HitMissed),
    ] {
        Case { variations: BTreeSet::from([variation]), ..at_rest(workload, &[]) }.breaks_by(fault);
    }
}

/// CPython's protocol on a target that moves between reads, checked by a clause that it keeps even then.
fn between_reads(workload: &str, sought: SoughtStack, weakenings: &[Weakening]) -> Case {
    Case { reads: Reads::Segments, sought, ..Case::new(named(workload), WalkerKind::OwnCached, weakenings) }
}

#[test]
fn on_a_moving_target_cpythons_protocol_needs_chunk_copies_and_the_base_frame() {
    for (workload, sought, weakening) in [
        ("alternating", SoughtStack::Torn, Weakening::ChunksNotCopied),
        ("generator", SoughtStack::CutShort, Weakening::ChainStoredWithoutBase),
    ] {
        between_reads(workload, sought, &[]).holds();
        between_reads(workload, sought, &[weakening]).breaks();
    }
}

/// The first fault in a stream of random cases. The stream is the same on every machine.
fn first_broken(weakenings: &[Weakening], variations: &[Variation], cases: usize) -> Option<SampleFault> {
    let (weakenings, variations) = (weakenings.iter().copied().collect(), variations.iter().copied().collect());
    let mut random = ChaCha8Rng::seed_from_u64(7);
    (0..cases).find_map(|_| {
        let mut bytes = [0; 300];
        random.fill_bytes(&mut bytes);
        let case = generate(&mut Unstructured::new(&bytes), &weakenings, &variations).unwrap();
        case.scenario.run(false).unwrap().broken
    })
}

#[test]
fn random_schedules_find_nothing_in_correct_walkers() {
    // The fuzz target runs millions.
    assert_eq!(first_broken(&[], &[], 5_000), None);
    assert_eq!(first_broken(&[], &[Variation::AnchorBeforeSequence], 5_000), None);
}

#[test]
fn random_schedules_find_the_faults_of_walkers() {
    for weakening in Weakening::ALL {
        assert!(first_broken(&[weakening], &[], 400_000).is_some(), "{weakening}");
    }
}

#[test]
fn random_schedules_find_the_faults_of_interpreters() {
    for variation in Variation::ALL.into_iter().filter(|variation| variation.is_fault()) {
        assert!(first_broken(&[], &[variation], 400_000).is_some(), "{variation}");
    }
}

#[test]
fn a_forked_child_is_walked_correctly_with_any_inherited_anchors() {
    for kind in [WalkerKind::OwnReference, WalkerKind::OwnCached] {
        let scenario = Scenario {
            program: named("two-threads"),
            variations: BTreeSet::new(),
            walker: kind.into(),
            threads_cached: 32,
            addresses_cached: 1024,
            first_sequence: 0,
            samples: vec![None; 3],
            forks_before: Some(1),
            setting: Setting::AtRest,
            loaded_before_writes: Vec::new(),
            legs: vec![Leg { stores: 20, ..Leg::default() }; 3],
            decisions: vec![0, 1, 0, 1, 1, 0],
        };
        let ran = scenario.run(true).unwrap();
        assert_eq!(ran.broken, None, "{kind}");
        let threads = |native_thread_id| {
            ran.samples.iter().filter(|judged| judged.sample.native_thread_id == native_thread_id).count()
        };
        assert_eq!((threads(7), threads(8)), (3, 1), "the child has the forking thread alone");
        assert!(ran.samples.iter().all(|judged| judged.sample.outcome.is_ok()), "{:?}", ran.samples);
        let anew = &ran.samples[2].sample.provenance.lookup;
        assert!(matches!(anew, Lookup::Miss(_)), "the first sample of the child: {anew:?}");
    }
}
