//! Compares profiles with the truth on a real interpreter. No test limits how far a walker may be from it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use framediff::cli::exit;
use model::oracle::distribution::Bias;
use model::schedule::fingerprint::LeafKind;

use crate::common;
use crate::common::command::{Running, framediff};

/// The deadline for a run of a few seconds, on a loaded machine.
const TIME: Duration = Duration::from_secs(120);

#[test]
fn every_walker_is_compared_with_the_truth_of_the_same_program() {
    let arguments = ["check", "--profiles", "--lane", "live", "--jit", "off", "--seed", "1", "--budget", "6s"];
    let mut command = framediff(arguments);
    command.args(["--family", "shares", "--family", "generators", "--format", "json", "--python"]);
    command.arg(common::release().python);
    let outcome = Running::start(command).ends_within(TIME);
    assert_eq!(outcome.code, Some(i32::from(exit::PASS)), "{outcome:?}");
    let document = outcome.document();
    let families: BTreeSet<&str> = document.profiles.iter().map(|program| program.family.as_str()).collect();
    assert_eq!(families, BTreeSet::from(["generators", "shares"]));
    for program in &document.profiles {
        assert!(program.stopped > 0 && !program.leaves.is_empty(), "{program:?}");
        assert_eq!(program.walkers.len(), 5, "{program:?}");
        let sum: f64 = program.leaves.iter().map(|leaf| leaf.truth).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{program:?}");
        for picture in &program.walkers {
            assert!(picture.samples > 0, "{picture:?}");
            match picture.tvd {
                Some(tvd) => assert!((0.0..=1.0).contains(&tvd.distance), "{picture:?}"),
                // The reference walker rejects most samples with a generator leaf, and in a few seconds perhaps all of
                // them.
                None => assert_eq!((picture.errors, picture.bias), (1.0, Bias::CannotTell), "{picture:?}"),
            }
            assert_eq!(picture.shares.len(), program.leaves.len());
        }
        let kinds: BTreeSet<LeafKind> = program.leaves.iter().filter_map(|leaf| leaf.kind).collect();
        assert!(kinds.contains(&LeafKind::Function), "{program:?}");
        assert!(kinds.contains(&LeafKind::Generator), "{program:?}");
        assert_eq!(program.known.is_some(), program.family == "shares", "{program:?}");
        if let Some(known) = program.known {
            let shares: Vec<f64> = program.leaves.iter().map(|leaf| leaf.truth).take(4).collect();
            assert_eq!(shares, [8.0, 4.0, 2.0, 1.0].map(|weight| weight / 15.0), "{program:?}");
            // If the two heaviest leaves were swapped, the distance would be 0.27. A few hundred samples are closer
            // than that.
            assert!(known.distance < 0.2, "{program:?}");
        }
    }
}
