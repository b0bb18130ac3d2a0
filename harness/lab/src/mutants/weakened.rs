//! Mutants of the walkers: this project's cached walkers with one check left out, run with random programs and
//! schedules on the simulated interpreter.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arbitrary::Unstructured;
use framewalk::weakening::Weakening;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sim::fuzzing::cache_state_machine::generate;

use super::hunt::{Hunted, Kill};

/// Number of random cases, each a program with a schedule.
pub const CASES: u64 = 400_000;
/// Number of random bytes from which a case is generated.
const CHOICES: usize = 300;

/// Tries cases of `seed` until a clause breaks. Without a weakening, none must break.
#[must_use]
pub fn hunt(weakening: Option<Weakening>, cases: u64, seed: u64, interrupted: &AtomicBool) -> Hunted {
    let weakenings: BTreeSet<Weakening> = weakening.into_iter().collect();
    let begun = Instant::now();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for case in 1..=cases {
        if interrupted.load(Ordering::Relaxed) {
            return Hunted::Inconclusive { why: "interrupted".into() };
        }
        let mut choices = [0; CHOICES];
        random.fill_bytes(&mut choices);
        let Ok(drawn) = generate(&mut Unstructured::new(&choices), &weakenings, &BTreeSet::new()) else { continue };
        let walker = drawn.scenario.walker.kind;
        match drawn.scenario.run(false) {
            Ok(ran) => {
                if let Some(broken) = ran.broken {
                    return Hunted::Killed(Kill {
                        lane: String::new(),
                        clause: broken.name().into(),
                        walker: walker.name().into(),
                        family: "random".into(),
                        samples: case,
                        seconds: begun.elapsed().as_secs_f64(),
                        replay: weakening.map_or_else(String::new, |weakening| {
                            format!("FRAMEDIFF_WEAKEN={weakening} cargo +nightly fuzz run cache_state_machine")
                        }),
                    });
                }
            }
            Err(error) => return Hunted::Inconclusive { why: error.to_string() },
        }
    }
    Hunted::Passed { samples: cases }
}
