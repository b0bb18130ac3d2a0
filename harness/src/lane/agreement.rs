//! Holding a walker's sample of a stopped target against the own uncached walk of the same state.

use crate::frame::Frame;
use crate::invariants::Violation;
use crate::lane::recorder::{Evidence, Recorder};
use crate::oracle::attribution::Attribution;
use crate::oracle::differential::difference;
use crate::report::finding::Possible;
use crate::sample::{Sample, WalkerKind};
use crate::walk::rejection::Rejection;
use crate::workload::grammar::Grammar;

/// Whether a walker is known not to walk such a state: the reference walker says which leaves it cannot hold, and
/// `RemoteUnwinder` raises for the whole process while a thread's current frame is a shim frame (it reads no leaf), or
/// while a thread runs no Python yet or any more.
pub(crate) fn is_documented(walker: WalkerKind, rejection: &Rejection, shim_leaf: bool) -> bool {
    match walker {
        WalkerKind::OwnReference => matches!(rejection, Rejection::GeneratorLeaf | Rejection::ShimLeaf),
        WalkerKind::CpythonCached | WalkerKind::CpythonUncached => {
            shim_leaf && matches!(rejection, Rejection::Raised(_))
        }
        WalkerKind::OwnCached | WalkerKind::OwnUncached => false,
    }
}

/// Counts `sample` and holds it against what the own uncached walker saw of the same state.
pub(super) fn compare(
    recorder: &mut Recorder<'_>,
    grammar: &Grammar,
    attribution: Option<&mut Attribution>,
    truth: &Sample,
    sample: &Sample,
    shim_leaf: bool,
) {
    let walker = sample.walker;
    let mut uncached = Attribution::default();
    let attribution = attribution.unwrap_or(&mut uncached);
    for thread in &sample.threads {
        recorder.count(walker, thread);
        let verdict = attribution.judge(grammar, thread);
        let seen = truth.threads.iter().find(|other| other.native_thread_id == thread.native_thread_id);
        let seen: &[Frame] = seen.and_then(|other| other.outcome.as_ref().ok()).map_or(&[], |stack| stack);
        match &thread.outcome {
            Err(rejection) if is_documented(walker, rejection, shim_leaf) => {}
            Err(Rejection::Empty) if seen.is_empty() => {}
            Err(rejection) => recorder.violation(
                walker,
                Violation::RejectedWhileStopped { rejection: rejection.clone() },
                Evidence { possible: Some(Possible::Stack(seen.to_vec())), ..Evidence::default() },
            ),
            Ok(stack) => {
                let Some(difference) = difference(stack, seen) else { continue };
                recorder.difference(walker);
                let possible = Some(Possible::Stack(seen.to_vec()));
                let (violation, cause) = match verdict {
                    Some((illegal, cause)) => {
                        recorder.impossible(walker, cause);
                        (Violation::Legality { illegal }, Some(cause))
                    }
                    None => (Violation::Agreement { other: WalkerKind::OwnUncached, difference }, None),
                };
                recorder.violation(walker, violation, Evidence { cause, seen: stack, possible, ..Evidence::default() });
            }
        }
    }
    // RemoteUnwinder raises for the process, not for a thread: it then tells nothing of any.
    let told = !sample.threads.iter().any(|thread| matches!(thread.outcome, Err(Rejection::Raised(_))));
    for thread in truth.threads.iter().filter(|_| told) {
        let missing = sample.threads.iter().all(|other| other.native_thread_id != thread.native_thread_id);
        if let Ok(stack) = &thread.outcome
            && missing
        {
            let rejection = Rejection::Raised(format!("nothing, and left out thread {}", thread.native_thread_id));
            let evidence = Evidence { possible: Some(Possible::Stack(stack.to_vec())), ..Evidence::default() };
            recorder.violation(walker, Violation::RejectedWhileStopped { rejection }, evidence);
        }
    }
}
