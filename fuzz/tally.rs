//! What fuzz targets share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use framediff::fuzzing::Outcome;

static CASES: AtomicU64 = AtomicU64::new(0);
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
/// The first report comes after this many cases; the following ones whenever their number has doubled.
const FIRST_REPORT: u64 = 1 << 14;

/// Counts outcomes and tells now and then how many cases were accepted: a target that rejects all of them is useless.
pub fn tally(outcome: Outcome) {
    if outcome == Outcome::Accepted {
        ACCEPTED.fetch_add(1, Relaxed);
    }
    let cases = CASES.fetch_add(1, Relaxed) + 1;
    if cases >= FIRST_REPORT && cases.is_power_of_two() {
        let accepted = ACCEPTED.load(Relaxed);
        eprintln!("{accepted} of {cases} cases accepted ({} %)", accepted * 100 / cases);
    }
}
