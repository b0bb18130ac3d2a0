//! Fuzzing: one module per fuzz target, each with a `TestCase`, a `check` with the assertions, and a smoke test.
//!
//! The fuzz targets are glue around [`check`](location_table::check); a panic in it is the verdict. The smoke tests run
//! the same checks on pseudo-random input with every toolchain. They require both accepted and rejected inputs: a check
//! that rejects everything checks nothing.

#![expect(clippy::panic, reason = "a panic is how a check tells the fuzzer that something is broken")]

mod bounds;
pub mod cache_state_machine;
pub mod cached_vs_uncached;
pub mod caught;
mod chains;
pub mod layout;
pub mod location_table;
mod meter;
pub mod mutation;
pub mod recorded;
pub mod reuse;
mod sheet;
pub mod target;
pub mod text;
pub mod walk_image;
mod weakened;

use target::AnyFuzzTarget;

/// All fuzz targets. The fuzz crate, the case files, the tests and the benchmarks use this list.
pub static TARGETS: &[&dyn AnyFuzzTarget] = &[
    &cache_state_machine::TARGET,
    &cached_vs_uncached::TARGET,
    &layout::TARGET,
    &location_table::TARGET,
    &text::TARGET,
    &walk_image::TARGET,
];

/// The result of the code under test. Both results can be correct; the check asserts which one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The case was decoded.
    Accepted,
    /// The case was rejected, as it had to be.
    Rejected,
}

#[cfg(test)]
mod smoke {
    use arbitrary::Arbitrary;

    use super::CheckOutcome;
    use super::target::random_stream;

    const CASES: usize = 512;

    /// Checks the same cases on every machine. At least one case in sixteen must have each outcome.
    pub(super) fn both_outcomes<T: for<'a> Arbitrary<'a>>(check: fn(&T) -> CheckOutcome) {
        let cases = random_stream().take(CASES).map(Result::unwrap);
        let outcomes: Vec<CheckOutcome> = cases.map(|case| check(&case)).collect();
        let accepted = outcomes.iter().filter(|&&outcome| outcome == CheckOutcome::Accepted).count();
        let rejected = CASES - accepted;
        assert!(accepted.min(rejected) >= CASES / 16, "{accepted} accepted, {rejected} rejected");
    }

    #[test]
    fn fuzz_targets_have_distinct_names() {
        let mut names: Vec<_> = super::TARGETS.iter().map(|target| target.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), super::TARGETS.len());
    }
}
