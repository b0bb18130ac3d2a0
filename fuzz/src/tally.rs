//! Counts accepted cases and checks whether there are enough of them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sim::fuzzing::CheckOutcome;

static CASES: AtomicU64 = AtomicU64::new(0);
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
/// Name and minimum accepted share, in percent, of the only target in this process.
static TARGET: OnceLock<(&str, u8)> = OnceLock::new();
/// The first report comes after this many cases. Later reports come each time the number of cases has doubled.
const FIRST_REPORT: u64 = 1 << 14;
/// From this many cases on, a share that is too low ends the fuzzer. The first inputs are short and would not be fair.
const JUDGED: u64 = 1 << 17;
/// At the end of the process fewer cases are enough, because slow targets run fewer. A replay of single inputs stays
/// below this number and is not judged.
const JUDGED_IN_THE_END: u64 = 1 << 12;

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> i32;
    fn _exit(code: i32) -> !;
}

/// Counts the outcome of a case.
pub(crate) fn count(name: &'static str, least_accepted: u8, outcome: CheckOutcome) {
    if outcome == CheckOutcome::Accepted {
        ACCEPTED.fetch_add(1, Relaxed);
    }
    let cases = CASES.fetch_add(1, Relaxed) + 1;
    if cases == 1 && TARGET.set((name, least_accepted)).is_ok() {
        // SAFETY: `atexit` may be called at any time from any thread, and `in_the_end` does not unwind into C.
        if unsafe { atexit(in_the_end) } != 0 {
            eprintln!("the share of accepted cases will not be printed: atexit failed");
        }
    }
    if cases >= FIRST_REPORT && cases.is_power_of_two() {
        report(JUDGED);
    }
}

extern "C" fn in_the_end() {
    report(JUDGED_IN_THE_END);
}

/// Prints the share, and ends the process if it is too low after at least `judged` cases.
fn report(judged: u64) {
    let Some(&(name, least)) = TARGET.get() else { return };
    let (accepted, cases) = (ACCEPTED.load(Relaxed), CASES.load(Relaxed));
    let permille = accepted * 1000 / cases.max(1);
    eprintln!("{name}: {accepted} of {cases} cases accepted ({}.{} %)", permille / 10, permille % 10);
    if cases >= judged && accepted * 100 < cases * u64::from(least) {
        eprintln!(
            "{name}: this is too few: at least {least} % must be accepted, otherwise mostly rejections are \
            tested"
        );
        // SAFETY: this ends the process at once. With `exit`, libFuzzer would blame the input that happens to be the
        // last.
        unsafe { _exit(1) }
    }
}
