//! What a single unwinder cannot get wrong: shown by a search, not assumed.

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

/// Why no lane can tell an unwinder with `fault` from the original, if the search over the simulated interpreter bears that
/// out: it takes a second unwinder on the same target, and a kernel that gives a thread the id of one that ended.
#[must_use]
pub fn equivalent(fault: Fault) -> Option<String> {
    if fault != Fault::ThreadStateNotCompared {
        return None;
    }
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
    fn only_what_the_search_bears_out_is_called_equivalent() {
        let called: Vec<Fault> = Fault::ALL.into_iter().filter(|&fault| equivalent(fault).is_some()).collect();
        assert_eq!(called, [Fault::ThreadStateNotCompared]);
    }
}
