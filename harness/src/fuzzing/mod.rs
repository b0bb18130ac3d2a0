//! Fuzzing: one module per fuzz target, each a `TestCase`, a `check` that asserts what must hold, and a smoke test.
//!
//! The fuzz targets are glue around [`check`](location_table::check); a panic in it is the verdict. The smoke tests run
//! the same checks over pseudo-random input on every toolchain, and demand that input is both accepted and rejected: a
//! check that rejects everything checks nothing.

#![expect(clippy::panic, reason = "a panic is how a check tells the fuzzer that something is broken")]

mod bounds;
pub mod cached_vs_uncached;
mod chains;
pub mod layout;
pub mod location_table;
mod meter;
pub mod mutation;
pub mod recorded;
mod sheet;
pub mod text;
pub mod walk_image;

/// What the code under test did with a case. Both are right answers; which one is asserted by the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was decoded.
    Accepted,
    /// It was refused, as it had to be.
    Rejected,
}

#[cfg(test)]
mod smoke {
    use arbitrary::{Arbitrary, Unstructured};
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::Outcome;

    const CASES: u32 = 512;
    /// Like most of a fuzzer's inputs, they end somewhere in the middle of a value.
    const LONGEST: usize = 400;

    /// Checks the same cases on every machine; each outcome must be had by a tenth of them.
    pub(super) fn both_outcomes<T: for<'a> Arbitrary<'a>>(check: fn(&T) -> Outcome) {
        let mut random = ChaCha8Rng::seed_from_u64(0x6672_616d_6564_6966);
        let (mut accepted, mut rejected) = (0, 0);
        for length in (0..LONGEST).cycle().step_by(7).take(CASES as usize) {
            let mut bytes = vec![0; length];
            random.fill_bytes(&mut bytes);
            let case = T::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap();
            match check(&case) {
                Outcome::Accepted => accepted += 1,
                Outcome::Rejected => rejected += 1,
            }
        }
        assert!(accepted.min(rejected) >= CASES / 10, "{accepted} accepted, {rejected} rejected");
    }
}
