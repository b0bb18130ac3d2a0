//! What a fuzz target consists of, and the same with its type of cases left out.

use std::panic::{RefUnwindSafe, UnwindSafe};

use arbitrary::{Arbitrary, Unstructured};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Outcome;
use crate::fuzzing::caught::caught;

/// A fuzz target.
#[derive(Debug)]
pub struct FuzzTarget<T> {
    /// Its name for `cargo fuzz` and in case files.
    pub name: &'static str,
    /// The check; a panic says that something is broken.
    pub check: fn(&T) -> Outcome,
    /// The least share of cases, in percent, that must be accepted once many were tried: a fuzzer that sees nearly
    /// nothing but refusals tests nearly nothing.
    pub least_accepted: u8,
    /// Whether the check says which cases are to be refused, as it can for a decoder. Where it does not, a refused case has given
    /// nothing that could be wrong.
    pub judges_refusals: bool,
}

/// What the cases of a fuzz target can do.
pub trait Case: for<'a> Arbitrary<'a> + Serialize + DeserializeOwned + UnwindSafe + RefUnwindSafe + 'static {}

impl<T> Case for T where T: for<'a> Arbitrary<'a> + Serialize + DeserializeOwned + UnwindSafe + RefUnwindSafe + 'static {}

/// A case with the check that it is for.
pub trait AnyCase: UnwindSafe + RefUnwindSafe {
    /// Runs the check.
    ///
    /// # Panics
    /// If what the check asserts does not hold.
    fn check(&self) -> Outcome;

    /// The case as it stands in a case file.
    ///
    /// # Errors
    /// If JSON cannot express it.
    fn to_value(&self) -> Result<Value, serde_json::Error>;
}

/// A fuzz target whose type of cases only it knows.
pub trait AnyFuzzTarget: Sync {
    /// Its name for `cargo fuzz` and in case files.
    fn name(&self) -> &'static str;

    /// The least share of cases that must be accepted, in percent.
    fn least_accepted(&self) -> u8;

    /// Whether the check says which cases are to be refused.
    fn judges_refusals(&self) -> bool;

    /// Reads a case as it stands in a case file.
    ///
    /// # Errors
    /// If it does not fit the type of the cases.
    fn decode(&self, case: Value) -> Result<Box<dyn AnyCase>, serde_json::Error>;

    /// The first cases of a pseudo-random stream that is the same on every machine.
    ///
    /// # Errors
    /// If no case can be made at all.
    fn random_cases(&self, count: usize) -> arbitrary::Result<Vec<Box<dyn AnyCase>>>;

    /// Inputs of a fuzzer that give a case which is accepted, and as many at most of those that give a case which is refused,
    /// from the beginning of the same stream. A case that fails is none of them: it is for the smoke tests to tell.
    ///
    /// # Errors
    /// If no case can be made at all.
    fn seeds(&self, count: usize) -> arbitrary::Result<Vec<Vec<u8>>>;
}

struct Bound<T> {
    case: T,
    check: fn(&T) -> Outcome,
}

impl<T: Case> AnyCase for Bound<T> {
    fn check(&self) -> Outcome {
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
        /// As many inputs as are looked at for each one that is wanted.
        const LOOKED_AT: usize = 16;
        let (mut accepted, mut rejected) = (Vec::new(), Vec::new());
        for bytes in random_inputs().take(count * LOOKED_AT) {
            let case = T::arbitrary_take_rest(Unstructured::new(&bytes))?;
            match caught(|| (self.check)(&case)) {
                Ok(Outcome::Accepted) => accepted.push(bytes),
                Ok(Outcome::Rejected) => rejected.push(bytes),
                Err(_) => {}
            }
        }
        accepted.truncate(count);
        rejected.truncate(accepted.len().min(count / 4));
        accepted.append(&mut rejected);
        Ok(accepted)
    }
}

/// Cases from pseudo-random bytes. Like most of a fuzzer's inputs, they end somewhere in the middle of a value.
pub(super) fn random_stream<T: for<'a> Arbitrary<'a>>() -> impl Iterator<Item = arbitrary::Result<T>> {
    random_inputs().map(|bytes| T::arbitrary_take_rest(Unstructured::new(&bytes)))
}

/// The bytes that they are made of.
fn random_inputs() -> impl Iterator<Item = Vec<u8>> {
    const LONGEST: usize = 400;
    let mut random = ChaCha8Rng::seed_from_u64(0x6672_616d_6564_6966);
    (0..LONGEST).cycle().step_by(7).map(move |length| {
        let mut bytes = vec![0; length];
        random.fill_bytes(&mut bytes);
        bytes
    })
}
