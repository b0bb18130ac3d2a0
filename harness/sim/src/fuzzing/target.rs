//! A fuzz target, and its form without the case type.

use std::panic::{RefUnwindSafe, UnwindSafe};

use arbitrary::{Arbitrary, Unstructured};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::CheckOutcome;
use crate::fuzzing::caught::caught;

/// A fuzz target: a kind of case and its check.
#[derive(Debug)]
pub struct FuzzTarget<T> {
    /// Name of the target for `cargo fuzz` and in case files.
    pub name: &'static str,
    /// The check. A panic reports a violation.
    pub check: fn(&T) -> CheckOutcome,
    /// The least share of accepted cases, in percent, once many were tried. A fuzzer that sees almost only rejections
    /// tests almost nothing.
    pub least_accepted: u8,
    /// Whether the check defines which cases must be rejected, as for a decoder. Otherwise a rejected case produced
    /// nothing that could be wrong.
    pub judges_refusals: bool,
}

/// The traits that the cases of a fuzz target must implement.
pub trait Case: for<'a> Arbitrary<'a> + Serialize + DeserializeOwned + UnwindSafe + RefUnwindSafe + 'static {}

impl<T> Case for T where T: for<'a> Arbitrary<'a> + Serialize + DeserializeOwned + UnwindSafe + RefUnwindSafe + 'static {}

/// A case together with its check.
pub trait AnyCase: UnwindSafe + RefUnwindSafe {
    /// Runs the check and returns whether the case was accepted.
    ///
    /// # Panics
    /// An assertion of the check fails.
    fn check(&self) -> CheckOutcome;

    /// The case as JSON, as in a case file.
    ///
    /// # Errors
    /// JSON cannot express it.
    fn to_value(&self) -> Result<Value, serde_json::Error>;
}

/// A fuzz target with its case type hidden.
pub trait AnyFuzzTarget: Sync {
    /// Name of the target for `cargo fuzz` and in case files.
    fn name(&self) -> &'static str;

    /// The least share of accepted cases, in percent.
    fn least_accepted(&self) -> u8;

    /// Whether the check defines which cases must be rejected.
    fn judges_refusals(&self) -> bool;

    /// Decodes the JSON of a case from a case file.
    ///
    /// # Errors
    /// It does not match the case type.
    fn decode(&self, case: Value) -> Result<Box<dyn AnyCase>, serde_json::Error>;

    /// The first `count` cases of a pseudo-random stream that is the same on every machine.
    ///
    /// # Errors
    /// No case can be made at all.
    fn random_cases(&self, count: usize) -> arbitrary::Result<Vec<Box<dyn AnyCase>>>;

    /// Fuzzer inputs from the beginning of the same stream: up to `count` whose case is accepted, then at most a
    /// quarter of `count` whose case is rejected. Cases that fail are left out: the smoke tests report them.
    ///
    /// # Errors
    /// No case can be made at all.
    fn seeds(&self, count: usize) -> arbitrary::Result<Vec<Vec<u8>>>;
}

struct Bound<T> {
    case: T,
    check: fn(&T) -> CheckOutcome,
}

impl<T: Case> AnyCase for Bound<T> {
    fn check(&self) -> CheckOutcome {
        (self.check)(&self.case)
    }

    fn to_value(&self) -> Result<Value, serde_json::Error> {
        serde_json::to_value(&self.case)
    }
}

impl<T: Case> AnyFuzzTarget for FuzzTarget<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn least_accepted(&self) -> u8 {
        self.least_accepted
    }

    fn judges_refusals(&self) -> bool {
        self.judges_refusals
    }

    fn decode(&self, case: Value) -> Result<Box<dyn AnyCase>, serde_json::Error> {
        let case = serde_json::from_value(case)?;
        Ok(Box::new(Bound { case, check: self.check }))
    }

    fn random_cases(&self, count: usize) -> arbitrary::Result<Vec<Box<dyn AnyCase>>> {
        let bound = |case: T| -> Box<dyn AnyCase> { Box::new(Bound { case, check: self.check }) };
        random_stream::<T>().take(count).map(|case| case.map(bound)).collect()
    }

    fn seeds(&self, count: usize) -> arbitrary::Result<Vec<Vec<u8>>> {
        /// Number of inputs tried for each one requested.
        const LOOKED_AT: usize = 16;
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        for bytes in random_inputs().take(count * LOOKED_AT) {
            let case = T::arbitrary_take_rest(Unstructured::new(&bytes))?;
            match caught(|| (self.check)(&case)) {
                Ok(CheckOutcome::Accepted) => accepted.push(bytes),
                Ok(CheckOutcome::Rejected) => rejected.push(bytes),
                Err(_) => {}
            }
        }
        accepted.truncate(count);
        rejected.truncate(accepted.len().min(count / 4));
        accepted.append(&mut rejected);
        Ok(accepted)
    }
}

/// Cases from pseudo-random bytes. Like most inputs of a fuzzer, these bytes end in the middle of a value.
pub(super) fn random_stream<T: for<'a> Arbitrary<'a>>() -> impl Iterator<Item = arbitrary::Result<T>> {
    random_inputs().map(|bytes| T::arbitrary_take_rest(Unstructured::new(&bytes)))
}

/// The bytes from which these cases are made.
fn random_inputs() -> impl Iterator<Item = Vec<u8>> {
    const LONGEST: usize = 400;
    let mut random = ChaCha8Rng::seed_from_u64(0x6672_616d_6564_6966);
    (0..LONGEST).cycle().step_by(7).map(move |length| {
        let mut bytes = vec![0; length];
        random.fill_bytes(&mut bytes);
        bytes
    })
}
