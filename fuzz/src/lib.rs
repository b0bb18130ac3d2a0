//! What the fuzz targets share: `cargo +nightly fuzz run NAME` runs one of `sim::fuzzing::TARGETS`.
//!
//! - A case that fails is saved, decoded, in `fuzz/artifacts/cases/NAME`, beside libFuzzer's own artifact in
//!   `fuzz/artifacts/NAME`, and the command that replays it on a stable toolchain is printed.
//! - How many cases were accepted is printed now and then and in the end. A target that hardly ever accepts one ends
//!   with exit code 1 and leaves no artifact: no single input is at fault.
//! - With `FRAMEDIFF_CASES=FOLDER` every case is saved there before it runs. That is for inputs of libFuzzer's own:
//!   `FRAMEDIFF_CASES=. cargo +nightly fuzz run text fuzz/artifacts/text/timeout-…` gives the case that took too long.

mod saved;
mod tally;

use sim::fuzzing::caught::caught;
use sim::fuzzing::target::{Case, FuzzTarget};

/// Runs the check of `target` on `case`.
///
/// A panic in the check aborts the process, by which libFuzzer learns of it, after the case has been saved.
pub fn run<T: Case>(target: &FuzzTarget<T>, case: &T) {
    saved::if_wanted(target, case);
    match caught(|| (target.check)(case)) {
        Ok(outcome) => tally::count(target.name, target.least_accepted, outcome),
        Err(message) => {
            saved::after_failure(target, case, &message);
            std::process::abort();
        }
    }
}
