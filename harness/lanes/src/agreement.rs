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
use model::oracle::rejections::is_documented_leaf;
use model::run::finding::Possible;
use model::schedule::fingerprint::LeafKind;
use model::workload::grammar::Grammar;

use crate::expected::counters;
use crate::listing::{Listing, has_raised};
use crate::owner::{Taken, UnwinderReport};
use crate::recorder::{CellRecorder, Evidence};
use crate::shared_code::{SharedCode, ThreadCode};
use crate::status::Status;

/// The longest chain, shim frames and base frame included, that CPython's unwinder and its protocol follow
/// (`MAX_FRAMES` of `Modules/_remote_debugging`, 1024 + 512).
pub(super) const LONGEST_CHAIN: usize = 1024 + 512;
/// What `RemoteUnwinder` raises for the whole process if any thread has a longer chain.
const TOO_DEEP: &str = "RuntimeError: Too many stack frames (possible infinite loop)";
/// The state of a stopped thread, as far as it decides whether walkers are documented not to walk it.
#[derive(Clone, Copy, Debug)]
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
}

impl Standing {
    /// Whether CPython's unwinder walks this thread.
    fn is_walked_by_cpython(self) -> bool {
        self.leaf != LeafKind::Shim && self.links <= LONGEST_CHAIN
    }
}

/// Whether the walker is documented to reject a thread in this state with this error.
fn is_documented(walker: WalkerKind, rejection: &Rejection, standing: Standing) -> bool {
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
    /// The state of each thread, in the same order.
    pub(super) standings: &'a [Standing],
    /// The code of each thread's frames, in the same order.
    pub(super) codes: &'a [ThreadCode],
    /// What else was seen at the addresses of that code.
    pub(super) shared: &'a SharedCode,
}

impl<'a> Stopped<'a> {
    /// The same without the first `count` threads.
    fn without(self, count: usize) -> Self {
        Self {
            truth: self.truth.get(count..).unwrap_or_default(),
            standings: self.standings.get(count..).unwrap_or_default(),
            codes: self.codes.get(count..).unwrap_or_default(),
            ..self
        }
    }
}

/// What a comparison found about the list of threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// How many threads at the start of the target's list CPython's unwinder cannot list, because it is older than their
    /// interpreters. The sample is that of the threads after them.
    pub(super) unlisted: usize,
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
    attribution: Option<&mut Attribution>,
    taken: &Taken,
) -> Compared {
    let Taken { sample, unwinder } = taken;
    let listing = unwinder.as_ref().map(|unwinder| &unwinder.listing);
    let interpreters: Vec<Address> = stopped.standings.iter().map(|standing| standing.owner).collect();
    let all = ids(stopped.truth);
    let unlisted = listing.map_or(0, |listing| listing.missing(&interpreters, &all, &sample.threads));
    if unlisted > 0 && !has_raised(&sample.threads) {
        let seen = format!("{:?}", ids(&sample.threads));
        let violation = Violation::Told { field: Field::LaterInterpreters, seen, possible: format!("{all:?}") };
        recorder.violation(sample.walker, violation, Evidence::default());
    }
    let has_ended = listing == Some(&Listing::Ended);
    let raised = compare_listed(recorder, stopped.without(unlisted), has_ended, attribution, taken);
    Compared { unlisted, has_ended, raised }
}

/// Compares a sample with the threads that its walker can list.
fn compare_listed(
    recorder: &mut CellRecorder<'_>,
    stopped: Stopped<'_>,
    has_ended: bool,
    attribution: Option<&mut Attribution>,
    taken: &Taken,
) -> Option<usize> {
    let Taken { sample, unwinder } = taken;
    let walker = sample.walker;
    if has_ended && (has_raised(&sample.threads) || ids(&sample.threads) != ids(stopped.truth)) {
        sample.threads.iter().for_each(|thread| recorder.count(walker, thread));
        let raised = sample.threads.iter().find_map(|thread| thread.outcome.as_ref().err());
        let seen = raised.map_or_else(|| format!("{:?}", ids(&sample.threads)), ToString::to_string);
        let possible = format!("{:?}", ids(stopped.truth));
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
        let number = stopped.standings.iter().position(|standing| !standing.is_walked_by_cpython());
        let standing = number.and_then(|number| stopped.standings.get(number));
        if standing.is_some_and(|&standing| is_documented(walker, rejection, standing)) {
            return number;
        }
        reject(recorder, walker, rejection, stopped.truth.first());
        return None;
    }
    if is_other_list(recorder, stopped.truth, sample) {
        // The threads of the two lists cannot be matched.
        return None;
    }
    if let Some(report) = unwinder {
        judge_report(recorder, stopped, sample, report);
    }
    let mut uncached = Attribution::default();
    let attribution = attribution.unwrap_or(&mut uncached);
    for (index, thread) in sample.threads.iter().enumerate() {
        recorder.count(walker, thread);
        let verdict = stopped.grammar.and_then(|grammar| attribution.judge(grammar, thread));
        let standing = stopped.standings.get(index);
        let seen = stopped.truth.get(index);
        let stack: &[Frame] = seen.and_then(|other| other.outcome.as_ref().ok()).map_or(&[], |stack| stack);
        match &thread.outcome {
            Err(rejection) if standing.is_some_and(|&standing| is_documented(walker, rejection, standing)) => {}
            Err(Rejection::Empty) if stack.is_empty() => {}
            Err(rejection) => reject(recorder, walker, rejection, seen),
            Ok(reported) => {
                let (truth, limits) = as_reported(walker, stack, |frame| stopped.by.has_long_table(frame));
                limits.into_iter().for_each(|limit| recorder.degraded(walker, limit));
                let Some(mut difference) = difference(reported, &truth) else { continue };
                if walker.is_cpythons()
                    && let Difference::Function { index: frame } = difference
                    && stopped.codes.get(index).is_some_and(|codes| stopped.shared.explains(codes, reported, &truth))
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
fn is_other_list(recorder: &mut CellRecorder<'_>, truth: &[ThreadSample], sample: &Sample) -> bool {
    let (seen, possible) = (ids(&sample.threads), ids(truth));
    if seen == possible {
        return false;
    }
    sample.threads.iter().for_each(|thread| recorder.count(sample.walker, thread));
    let [seen, possible] = [seen, possible].map(|ids| format!("{ids:?}"));
    recorder.violation(sample.walker, Violation::Told { field: Field::Threads, seen, possible }, Evidence::default());
    true
}

/// Judges what the unwinder reports besides frames: status, interpreter, opcodes and counters.
fn judge_report(recorder: &mut CellRecorder<'_>, stopped: Stopped<'_>, sample: &Sample, report: &UnwinderReport) {
    let walker = sample.walker;
    let mut wrong = |field, seen: String, possible: String| {
        recorder.violation(walker, Violation::Told { field, seen, possible }, Evidence::default());
    };
    for (standing, thread) in stopped.standings.iter().zip(&report.threads) {
        if let (Some(seen), Some(status)) = (thread.status, standing.status)
            && !status.allows(seen)
        {
            wrong(Field::Status, format!("{seen:#x}"), format!("{:#x}", status.flags));
        }
        if let (Some(seen), Some(id)) = (thread.interpreter, standing.interpreter)
            && seen != id
        {
            wrong(Field::Interpreter, seen.to_string(), id.to_string());
        }
        if thread.has_opcodes {
            wrong(Field::Opcode, "an opcode".to_owned(), "none, because opcodes were not requested".to_owned());
        }
    }
    if let (Some(counted), Some(owed)) = (report.counters, &report.owed) {
        let owed = counters(owed);
        if counted != owed {
            recorder.violation(walker, Violation::Counters { told: counted, owed }, Evidence::default());
        }
    }
}
