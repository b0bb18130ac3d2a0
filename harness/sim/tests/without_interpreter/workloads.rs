//! Tests generated programs without running them: they are deterministic and have the properties that they claim.
#![allow(clippy::unwrap_used, reason = "tests")]

use model::workload::family::FamilyThreads;
use model::workload::{Family, FrameSize, Mode, Names, Parameters, Workload, generate};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

fn drawn(family: Family, mode: Mode, seed: u64) -> Workload {
    let parameters = Parameters::draw(family, &mut ChaCha8Rng::seed_from_u64(seed));
    generate(family, mode, &parameters, seed)
}

#[test]
fn the_same_seed_gives_the_same_program() {
    let mut digests = String::new();
    for family in Family::ALL {
        let mut hash = Sha256::new();
        for mode in [Mode::Gated, Mode::Free] {
            let workload = drawn(family, mode, 1);
            hash.update(&workload.source);
            hash.update(serde_json::to_vec(&workload.grammar).unwrap());
        }
        let digest: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        digests.push_str(&format!("{family} {digest}\n"));
    }
    // If a line changes, saved seeds of that family now give another program. Change it only on purpose.
    assert_eq!(digests, include_str!("workloads.digests"), "the programs now hash to\n{digests}");
}

#[test]
fn family_names_round_trip() {
    for family in Family::ALL {
        assert_eq!(Family::from_name(family.name()), Some(family));
    }
    assert_eq!(Family::from_name("no such family"), None);
}

#[test]
fn a_family_has_the_threads_of_its_spec() {
    for family in Family::ALL {
        let is_alone = drawn(family, Mode::Gated, 1).threads == 1;
        assert_eq!(is_alone, family.spec().threads == FamilyThreads::Main, "{family}");
    }
}

#[test]
fn leaves_work_as_often_as_their_weights_say() {
    for seed in 0..20 {
        let workload = drawn(Family::Shares, Mode::Free, seed);
        let mut weights: Vec<u32> = workload.shares.iter().map(|(_, weight)| *weight).collect();
        for (function, weight) in &workload.shares {
            let body = workload.source.split(&format!("def {function}(")).nth(1).unwrap();
            let body = body.split("def ").next().unwrap();
            assert!(body.contains(&format!("for i in range({weight}):\n        sum(_terms)")), "{function}: {body}");
        }
        weights.sort_unstable();
        assert_eq!(weights, [1, 2, 4, 8]);
        // No other function does any work.
        assert_eq!(workload.source.matches("sum(_terms)").count(), 4, "{}", workload.source);
    }
    assert!(drawn(Family::Alternating, Mode::Free, 1).shares.is_empty());
}

#[test]
fn out_of_range_overrides_still_give_a_program() {
    for family in Family::ALL {
        for (depth, width) in [(0, 0), (u32::MAX, u32::MAX)] {
            let parameters = Parameters {
                depth,
                width,
                frame_size: FrameSize::Unequal(u32::MAX),
                speed: u32::MAX,
                names: Names::Ascii,
            };
            let workload = generate(family, Mode::Free, &parameters, 3);
            assert!(workload.grammar.contexts.len() < 200_000, "{family}: {}", workload.grammar.contexts.len());
        }
    }
}
