//! What a single unwinder cannot get wrong: shown by a search, or by the order of stores that a build has.

use std::collections::BTreeSet;

use super::Fault;
use crate::prove::graph::Graph;
use crate::prove::search::{Clause, Options, Outcome, Reads, search};
use crate::sample::WalkerKind;
use crate::sim::scenario::Contender;
use crate::sim::workloads;
use crate::walk::weakening::Weakening;

/// The program in which thread states are freed and made again under the same thread id.
const WORKLOAD: &str = "thread-reuse";
/// Samples in a row.
const SAMPLES: u32 = 4;

/// Why no lane can tell an unwinder with `fault` from the original, if none can. `anchor_first` says that the interpreter stores
/// the anchor before it counts, at every site of its own code.
#[must_use]
pub fn equivalent(fault: Fault, anchor_first: bool) -> Option<String> {
    match fault {
        Fault::ThreadStateNotCompared => reused_thread_id(),
        Fault::NoSequenceCheckOnSecondLook if anchor_first => Some(
            "this build stores the anchor before it counts, at every site: between the two looks of a sample the anchor can have \
             changed without the sequence, and not the other way round, so that to compare the anchor is enough; unless another \
             profiler sets it back meanwhile, and no lane has two samples at a time"
                .to_owned(),
        ),
        _ => None,
    }
}

/// If the search over the simulated interpreter bears it out: it takes a second unwinder on the same target, and a kernel that
/// gives a thread the id of one that ended.
fn reused_thread_id() -> Option<String> {
    let weakening = Weakening::ThreadStateNotCompared;
    let contender = Contender { kind: WalkerKind::OwnCached, weakenings: BTreeSet::from([weakening]) };
    let graph = Graph::build((workloads::find(WORKLOAD)?.make)(), BTreeSet::new()).ok()?;
    let options = Options {
        walker: &|site| contender.walker(site),
        samples: SAMPLES,
        clause: Clause::NotThere,
        reads: Reads::Samples,
        anchorings: 0,
        states: u64::MAX,
        interrupted: &|| false,
    };
    let report = search(&graph, &options).ok()?;
    matches!(report.outcome, Outcome::Complete { .. }).then(|| {
        format!(
            "to one unwinder, a new thread state has no anchor, and gets one together with an entry of its own: every \
             interleaving of {WORKLOAD} was tried, {SAMPLES} samples in a row, {} states, and nothing was wrong. With a second \
             unwinder, and a thread id that the kernel gives again, it is wrong; no lane has both, and the own walker with the \
             same check left out is killed by it under random schedules",
            report.states
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_an_argument_is_called_equivalent() {
        let called = |anchor_first| -> Vec<Fault> {
            Fault::ALL.into_iter().filter(|&fault| equivalent(fault, anchor_first).is_some()).collect()
        };
        assert_eq!(called(false), [Fault::ThreadStateNotCompared]);
        assert_eq!(called(true), [Fault::NoSequenceCheckOnSecondLook, Fault::ThreadStateNotCompared]);
    }
}
