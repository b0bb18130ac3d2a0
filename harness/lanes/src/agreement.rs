//! Compares a walker's sample of a stopped target with our own uncached walk of the same state.

use framewalk::frame::Frame;
use framewalk::memory::Address;
use framewalk::rejection::Rejection;
use framewalk::sample::{Sample, ThreadSample, WalkerKind};
use framewalk::uncached::UncachedWalker;
use model::invariants::{Difference, Field, Violation};
use model::oracle::attribution::Attribution;
use model::oracle::differential::difference;
use model::oracle::limits::as_reported;
use model::oracle::markers::{Marker, PlacedMarker, describe, of_kind};
use model::oracle::rejections::{has_no_leaf, is_documented_leaf};
use model::run::configuration::{AskedThreads, Configuration};
use model::run::finding::Possible;
use model::schedule::fingerprint::LeafKind;
use model::workload::grammar::Grammar;

use crate::asked::{Asked, AskedList};
use crate::expected::Owed;
use crate::listing::{Listing, has_raised};
use crate::opcodes::Opcode;
use crate::owner::{Taken, UnwinderReport};
use crate::recorder::{CellRecorder, Evidence};
use crate::shared_code::{SharedCode, ThreadCode};
use crate::status::Status;

/// The longest chain, shim frames and base frame included, that CPython's unwinder and its protocol follow
/// (`MAX_FRAMES` of `Modules/_remote_debugging`, 1024 + 512).
pub(super) const LONGEST_CHAIN: usize = 1024 + 512;
/// What `RemoteUnwinder` raises for the whole process if any thread has a longer chain.
const TOO_DEEP: &str = "RuntimeError: Too many stack frames (possible infinite loop)";
/// The state of a stopped thread, as far as it decides what walkers owe for it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The address of its thread state.
    pub(super) state: Address,
    /// The kernel's thread id. Thread states of two interpreters can share one: code in one interpreter calls into the
    /// other.
    pub(super) native_thread_id: u64,
    /// The address of its interpreter's state.
    pub(super) owner: Address,
    /// The id of its interpreter, if the layout says where to read it.
    pub(super) interpreter: Option<u64>,
    /// The kind of its current frame.
    pub(super) leaf: LeafKind,
    /// The length of its chain, including shim frames and the base frame.
    pub(super) links: usize,
    /// The status that CPython's unwinder has to report, if the layout says how it is composed.
    pub(super) status: Option<Status>,
    /// The state of the thread that holds its interpreter's GIL.
    pub(super) holder: Option<Address>,
    /// Whether its current frame was the anchor before the sample, so that there can be a full hit.
    pub(super) is_anchored: bool,
    /// The markers that CPython's unwinder owes.
    pub(super) markers: Vec<PlacedMarker>,
    /// The opcodes of its frames, leaf first. Empty unless the unwinder is asked for them.
    pub(super) opcodes: Vec<Opcode>,
}

impl Standing {
    /// Whether it holds the GIL.
    pub(super) fn is_active(&self) -> bool {
        self.holder == Some(self.state)
    }

    /// Whether CPython's unwinder walks this thread.
    fn is_walked_by_cpython(&self) -> bool {
        self.leaf != LeafKind::Shim && self.links <= LONGEST_CHAIN
    }
}

/// Whether the walker is documented to reject a thread in this state with this error.
fn is_documented(walker: WalkerKind, rejection: &Rejection, standing: &Standing) -> bool {
    let is_too_deep = standing.links > LONGEST_CHAIN;
    match walker {
        WalkerKind::OwnReference => match rejection {
            Rejection::GeneratorLeaf => matches!(standing.leaf, LeafKind::Generator | LeafKind::GeneratorBeingMade),
            Rejection::ShimLeaf => standing.leaf == LeafKind::Shim,
            _ => false,
        },
        WalkerKind::OwnUncached => false,
        // Our own cached walker implements CPython's protocol, including its limits.
        WalkerKind::OwnCached => is_too_deep && matches!(rejection, Rejection::TooDeep(_)),
        WalkerKind::CpythonUncached | WalkerKind::CpythonCached => match rejection {
            Rejection::Raised(text) => is_documented_leaf(rejection, standing.leaf) || is_too_deep && text == TOO_DEEP,
            _ => false,
        },
    }
}

/// What is known about a stopped target before a walker samples it.
#[derive(Clone, Copy)]
pub(super) struct Stopped<'a> {
    /// The program's legal stacks, if they are known.
    pub(super) grammar: Option<&'a Grammar>,
    /// What our own uncached walker saw of each thread, in the order of the interpreters' lists.
    pub(super) truth: &'a [ThreadSample],
    /// That walker: it knows the code objects.
    pub(super) by: &'a UncachedWalker,
    /// The state of each thread, in the same order. Empty if it is unknown.
    pub(super) standings: &'a [Standing],
    /// The code of each thread's frames, in the same order.
    pub(super) codes: &'a [ThreadCode],
    /// The threads that the walker is asked for, by their places in these lists.
    pub(super) listed: &'a [usize],
    /// What else was seen at the addresses of that code.
    pub(super) shared: &'a SharedCode,
}

impl<'a> Stopped<'a> {
    /// What is known about the threads that the walker is asked for.
    fn threads(self) -> impl Iterator<Item = StoppedThread<'a>> {
        let of = move |&index: &usize| {
            let truth = self.truth.get(index)?;
            Some(StoppedThread { truth, standing: self.standings.get(index), code: self.codes.get(index) })
        };
        self.listed.iter().filter_map(of)
    }

    /// Whether a thread holds the GIL that has left the list, because it ends. It runs no Python.
    fn is_ending(self) -> bool {
        let is_listed = |holder| self.standings.iter().any(|standing| standing.state == holder);
        self.standings.iter().filter_map(|standing| standing.holder).any(|holder| !is_listed(holder))
    }

    fn ids(self) -> Vec<u64> {
        self.threads().map(|thread| thread.truth.native_thread_id).collect()
    }
}

/// What is known about one thread.
#[derive(Clone, Copy)]
struct StoppedThread<'a> {
    truth: &'a ThreadSample,
    standing: Option<&'a Standing>,
    code: Option<&'a ThreadCode>,
}

impl<'a> StoppedThread<'a> {
    fn stack(self) -> &'a [Frame] {
        self.truth.outcome.as_deref().unwrap_or_default()
    }
}

/// What a comparison found about the list of threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// The threads that the sample has, by their places in the target's list. CPython's unwinder lists those that its
    /// configuration asks for, and none of interpreters that are newer than itself.
    pub(super) listed: Vec<usize>,
    /// Whether the interpreter has ended at which CPython's unwinder begins. Nothing is known then about what it read.
    pub(super) has_ended: bool,
    /// If CPython's unwinder raised where it is documented to: the index of the thread at which it raised, among those
    /// that it lists.
    pub(super) raised: Option<usize>,
}

/// Counts a sample and compares it with what is known about the same state.
pub(super) fn compare(
    recorder: &mut CellRecorder<'_>,
    stopped: Stopped<'_>,
    asked: Asked,
    attribution: Option<&mut Attribution>,
    taken: &Taken,
) -> Compared {
    let Taken { sample, unwinder } = taken;
    let listing = unwinder.as_ref().map(|unwinder| &unwinder.listing);
    let interpreters: Vec<Address> = stopped.standings.iter().map(|standing| standing.owner).collect();
    let all = ids(stopped.truth);
    let asks_for_all = asked.configuration.threads == AskedThreads::All;
    let listing_of_all = listing.filter(|_| asks_for_all);
    let unlisted = listing_of_all.map_or(0, |listing| listing.missing(&interpreters, &all, &sample.threads));
    if unlisted > 0 && !has_raised(&sample.threads) {
        let seen = format!("{:?}", ids(&sample.threads));
        let violation = Violation::Told { field: Field::LaterInterpreters, seen, possible: format!("{all:?}") };
        recorder.violation(sample.walker, violation, Evidence::default());
    }
    let list = match unwinder {
        Some(_) if !stopped.standings.is_empty() => asked.list(stopped.standings, unlisted, &ids(&sample.threads)),
        _ => AskedList { indices: (0..all.len()).collect(), is_inactive: false },
    };
    if list.is_inactive {
        let violation = Violation::Told {
            field: Field::InactiveThread,
            seen: format!("{:?}", ids(&sample.threads)),
            possible: "no thread, because the one that has the GIL does not match the mode".to_owned(),
        };
        recorder.violation(sample.walker, violation, Evidence::default());
    }
    let has_ended = listing == Some(&Listing::Ended);
    let stopped = Stopped { listed: &list.indices, ..stopped };
    let raised = compare_listed(recorder, stopped, asked.configuration, has_ended, attribution, taken);
    Compared { listed: list.indices, has_ended, raised }
}

/// Compares a sample with the threads that its walker can list.
fn compare_listed(
    recorder: &mut CellRecorder<'_>,
    stopped: Stopped<'_>,
    configuration: Configuration,
    has_ended: bool,
    attribution: Option<&mut Attribution>,
    taken: &Taken,
) -> Option<usize> {
    let Taken { sample, unwinder } = taken;
    let walker = sample.walker;
    if has_ended && (has_raised(&sample.threads) || ids(&sample.threads) != stopped.ids()) {
        sample.threads.iter().for_each(|thread| recorder.count(walker, thread));
        let raised = sample.threads.iter().find_map(|thread| thread.outcome.as_ref().err());
        let seen = raised.map_or_else(|| format!("{:?}", ids(&sample.threads)), ToString::to_string);
        let possible = format!("{:?}", stopped.ids());
        let violation = Violation::Told { field: Field::EndedInterpreter, seen, possible };
        recorder.violation(walker, violation, Evidence::default());
        return None;
    }
    let raised = match sample.threads.as_slice() {
        [ThreadSample { outcome: Err(rejection @ Rejection::Raised(_)), .. }] => Some(rejection),
        _ => None,
    };
    if let Some(rejection) = raised {
        sample.threads.iter().for_each(|thread| recorder.count(walker, thread));
        // CPython's unwinder walks the threads in order and raises at the first one it does not walk.
        let mut standings = stopped.threads().map(|thread| thread.standing);
        let at = standings.by_ref().position(|it| it.is_some_and(|standing| !standing.is_walked_by_cpython()));
        let standing = at.and_then(|at| stopped.threads().nth(at)).and_then(|thread| thread.standing);
        if standing.is_some_and(|standing| is_documented(walker, rejection, standing)) {
            return at;
        }
        if !(configuration.threads == AskedThreads::Active && stopped.is_ending() && has_no_leaf(rejection)) {
            reject(recorder, walker, rejection, stopped.threads().next().map(|thread| thread.truth));
        }
        return None;
    }
    if is_other_list(recorder, stopped, sample) {
        // The threads of the two lists cannot be matched.
        return None;
    }
    if let Some(report) = unwinder {
        judge_report(recorder, stopped, configuration, sample, report);
    }
    let mut uncached = Attribution::default();
    let attribution = attribution.unwrap_or(&mut uncached);
    for (thread, known) in sample.threads.iter().zip(stopped.threads()) {
        recorder.count(walker, thread);
        let verdict = stopped.grammar.and_then(|grammar| attribution.judge(grammar, thread));
        let stack = known.stack();
        match &thread.outcome {
            Err(rejection) if known.standing.is_some_and(|standing| is_documented(walker, rejection, standing)) => {}
            Err(Rejection::Empty) if stack.is_empty() => {}
            Err(rejection) => reject(recorder, walker, rejection, Some(known.truth)),
            Ok(reported) => {
                let (truth, limits) = as_reported(walker, stack, |frame| stopped.by.has_long_table(frame));
                limits.into_iter().for_each(|limit| recorder.degraded(walker, limit));
                let Some(mut difference) = difference(reported, &truth) else { continue };
                if walker.is_cpythons()
                    && let Difference::Function { index: frame } = difference
                    && known.code.is_some_and(|codes| stopped.shared.explains(codes, reported, &truth))
                {
                    difference = Difference::OtherInterpretersCode { index: frame };
                }
                recorder.difference(walker);
                let possible = Some(Possible::Stack(truth.into_owned()));
                let (violation, cause) = match verdict {
                    Some((illegal, cause)) => {
                        recorder.impossible(walker, cause);
                        (Violation::Legality { illegal }, Some(cause))
                    }
                    None => (Violation::Agreement { other: WalkerKind::OwnUncached, difference }, None),
                };
                recorder.violation(
                    walker,
                    violation,
                    Evidence { cause, seen: reported, possible, ..Evidence::default() },
                );
            }
        }
    }
    None
}

fn ids(threads: &[ThreadSample]) -> Vec<u64> {
    threads.iter().map(|thread| thread.native_thread_id).collect()
}

fn reject(recorder: &mut CellRecorder<'_>, walker: WalkerKind, rejection: &Rejection, truth: Option<&ThreadSample>) {
    let stack = truth.and_then(|thread| thread.outcome.as_deref().ok()).unwrap_or_default();
    let evidence = Evidence { possible: Some(Possible::Stack(stack.to_vec())), ..Evidence::default() };
    recorder.violation(walker, Violation::RejectedWhileStopped { rejection: rejection.clone() }, evidence);
}

/// Whether a walker lists other threads than the interpreters have, or in another order. Reports that as a violation.
fn is_other_list(recorder: &mut CellRecorder<'_>, stopped: Stopped<'_>, sample: &Sample) -> bool {
    let (seen, possible) = (ids(&sample.threads), stopped.ids());
    if seen == possible {
        return false;
    }
    sample.threads.iter().for_each(|thread| recorder.count(sample.walker, thread));
    let [seen, possible] = [seen, possible].map(|ids| format!("{ids:?}"));
    recorder.violation(sample.walker, Violation::Told { field: Field::Threads, seen, possible }, Evidence::default());
    true
}

/// Judges what the unwinder reports besides frames: status, interpreter, markers, opcodes and counters.
fn judge_report(
    recorder: &mut CellRecorder<'_>,
    stopped: Stopped<'_>,
    configuration: Configuration,
    sample: &Sample,
    report: &UnwinderReport,
) {
    let walker = sample.walker;
    for ((known, told), thread) in stopped.threads().zip(&report.threads).zip(&sample.threads) {
        let Some(standing) = known.standing else { continue };
        let mut wrong = |field, seen: String, possible: String| {
            recorder.violation(walker, Violation::Told { field, seen, possible }, Evidence::default());
        };
        if let (Some(seen), Some(status)) = (told.status, standing.status)
            && !status.allows(seen)
        {
            wrong(Field::Status, format!("{seen:#x}"), format!("{:#x}", status.flags));
        }
        if let (Some(seen), Some(id)) = (told.interpreter, standing.interpreter)
            && seen != id
        {
            wrong(Field::Interpreter, seen.to_string(), id.to_string());
        }
        let Ok(stack) = &thread.outcome else { continue };
        for (marker, field) in [(Marker::Gc, Field::GcMarkers), (Marker::Native, Field::NativeMarkers)] {
            let [seen, owed] = [&told.details.markers, &standing.markers].map(|markers| of_kind(markers, marker));
            if seen != owed {
                let lacks_first = owed.split_first().is_some_and(|(first, rest)| first.above == 0 && seen == rest);
                let is_begun = marker == Marker::Gc && lacks_first && walker.is_cached() && standing.is_anchored;
                let field = if is_begun { Field::BegunCollection } else { field };
                let frames = [(&seen, stack.as_ref()), (&owed, known.stack())];
                let [seen, owed] = frames.map(|(markers, stack)| describe(markers, stack));
                wrong(field, seen, owed);
            }
        }
        if let Some(grammar) = stopped.grammar.filter(|_| configuration.gc) {
            let seen = of_kind(&told.details.markers, Marker::Gc);
            let seen: Vec<usize> = seen.iter().map(|placed| placed.above).filter(|&above| above > 0).collect();
            let owed = grammar.collections_in(stack);
            if seen != owed {
                let possible = format!("collections in frames {owed:?}, by what the program does");
                wrong(Field::GcMarkers, format!("collections in frames {seen:?}"), possible);
            }
        }
        if !configuration.opcodes && told.details.has_opcodes() {
            wrong(Field::Opcode, "an opcode".to_owned(), "none, because opcodes were not requested".to_owned());
        }
        if configuration.opcodes
            && let Some((seen, owed)) = wrong_opcode(walker, &told.details.opcodes, &standing.opcodes)
        {
            wrong(Field::Opcode, seen, owed);
        }
    }
    if let (Some(told), Some(Owed { counters: Some(owed), .. })) = (report.counters, &report.owed)
        && told != *owed
    {
        recorder.violation(walker, Violation::Counters { told, owed: *owed }, Evidence::default());
    }
}

/// The first frame whose opcode is none that it may have, in words. A walk reads what the instruction is now. A caller
/// from the cache has what its call was when it was read, and the interpreter specializes instructions.
fn wrong_opcode(walker: WalkerKind, seen: &[Option<u64>], owed: &[Opcode]) -> Option<(String, String)> {
    let is_right = |index: usize, seen: Option<u64>, owed: &Opcode| match seen.and_then(|it| u8::try_from(it).ok()) {
        Some(seen) if index > 0 && walker.is_cached() => owed.before.contains(&seen) || seen == owed.now,
        Some(seen) => seen == owed.now,
        None => false,
    };
    if seen.len() != owed.len() {
        // That is a difference of the stacks.
        return None;
    }
    let mut frames = seen.iter().zip(owed).enumerate();
    let (index, (seen, owed)) = frames.find(|&(index, (&seen, owed))| !is_right(index, seen, owed))?;
    let seen = seen.map_or_else(|| "none".to_owned(), |seen| seen.to_string());
    Some((format!("{seen} in frame {index}"), format!("{}, before that {:?}", owed.now, owed.before)))
}
