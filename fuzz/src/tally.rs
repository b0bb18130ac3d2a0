//! How many cases were accepted, and whether those are enough.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sim::fuzzing::Outcome;

static CASES: AtomicU64 = AtomicU64::new(0);
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
/// Name and least share, in percent, of the only target of this process.
static TARGET: OnceLock<(&str, u8)> = OnceLock::new();
/// The first report comes after this many cases; the following ones whenever their number has doubled.
const FIRST_REPORT: u64 = 1 << 14;
/// From here on a share that is too low ends the fuzzer: it is no whim of the first inputs, which are short.
const JUDGED: u64 = 1 << 17;
/// In the end fewer cases are enough, as slow targets have fewer; single inputs that are replayed are not judged.
const JUDGED_IN_THE_END: u64 = 1 << 12;

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> i32;
    fn _exit(code: i32) -> !;
}

/// Counts an outcome.
pub(crate) fn count(name: &'static str, least_accepted: u8, outcome: Outcome) {
    if outcome == Outcome::Accepted {
        ACCEPTED.fetch_add(1, Relaxed);
    }
    let cases = CASES.fetch_add(1, Relaxed) + 1;
    if cases == 1 && TARGET.set((name, least_accepted)).is_ok() {
        // SAFETY: the function may be called at any time, by any thread, and does not return into Rust if it must not.
        if unsafe { atexit(in_the_end) } != 0 {
            eprintln!("the share of accepted cases will not be known in the end: atexit failed");
        }
    }
    if cases >= FIRST_REPORT && cases.is_power_of_two() {
        report(JUDGED);
    }
}

extern "C" fn in_the_end() {
    report(JUDGED_IN_THE_END);
}

/// Tells the share, and ends the process if it is too low after at least `judged` cases.
fn report(judged: u64) {
    let Some(&(name, least)) = TARGET.get() else { return };
    let (accepted, cases) = (ACCEPTED.load(Relaxed), CASES.load(Relaxed));
    let permille = accepted * 1000 / cases.max(1);
    eprintln!("{name}: {accepted} of {cases} cases accepted ({}.{} %)", permille / 10, permille % 10);
    if cases >= judged && accepted * 100 < cases * u64::from(least) {
        eprintln!("{name}: that is too few, at least {least} % must be accepted: this tests little but refusals");
        // SAFETY: ends the process at once. `exit` would have libFuzzer blame the input that happens to be the last.
        unsafe { _exit(1) }
    }
}
