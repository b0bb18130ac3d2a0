//! A small search that the tests of the reports share.

use model::run::verdict::Verdict;

use crate::report::searches::{Search, SearchEnd, SearchFailure, SearchLeaf};

/// A search that tried every schedule. If `fails`, it found one failure that is not known.
pub(crate) fn search(fails: bool) -> Search {
    let failure = SearchFailure {
        fingerprint: "stepped/a/b".into(),
        schedules: 4,
        samples: 2,
        schedule: "1.2+3".into(),
        case: "fd3:case".into(),
        saved: None,
        known: None,
        beyond: None,
    };
    Search {
        build: "3.15.2 release".into(),
        walker: "cpython-cached".into(),
        scenario: "alone".into(),
        at_rest: false,
        still: Vec::new(),
        weakenings: Vec::new(),
        family: "deep".into(),
        seed: 1,
        samples: 2,
        moves: 2,
        steps: 5,
        schedules: 100,
        known_schedules: 100,
        told: 200,
        seconds: 0.5,
        ended: SearchEnd::Everything,
        failed: if fails { 4 } else { 0 },
        shapes: usize::from(fails),
        never_came: 0,
        leaves: vec![SearchLeaf { leaf: "function".into(), samples: 200, rejected: 0 }],
        rejected: Vec::new(),
        answers: vec![("full hit".into(), 200)],
        failures: fails.then_some(failure).into_iter().collect(),
        doubts: Vec::new(),
        verdict: if fails { Verdict::Fail } else { Verdict::Pass },
    }
}
