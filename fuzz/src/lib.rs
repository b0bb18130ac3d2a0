//! The code that all fuzz targets share. `cargo +nightly fuzz run NAME` runs one of `sim::fuzzing::TARGETS`.
//!
//! - A failing case is saved in decoded form in `fuzz/artifacts/cases/NAME`, next to libFuzzer's own artifact in
//!   `fuzz/artifacts/NAME`. The command that replays it on a stable toolchain is printed.
//! - The share of accepted cases is printed now and then, and at the end. A target that hardly ever accepts a case
//!   exits with code 1 and leaves no artifact, because no single input is at fault.
//! - With `FRAMEDIFF_CASES=FOLDER`, every case is saved there before it runs. This turns one of libFuzzer's own inputs
//!   into a case: `FRAMEDIFF_CASES=. cargo +nightly fuzz run text fuzz/artifacts/text/timeout-…` saves the case that
//!   took too long.

mod saved;
mod tally;

use sim::fuzzing::caught::caught;
use sim::fuzzing::target::{Case, FuzzTarget};

/// Runs the check of `target` on `case`.
///
/// If the check panics, the case is saved and the process aborts, which libFuzzer records as a crash.
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
