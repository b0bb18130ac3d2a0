//! Ends the program with an error, not a panic, if the system makes no more threads.
//!
//! The standard library and rayon panic then, wherever a thread is wanted. What unwinds removes its folders and ends its
//! processes, so the panic is only given a message and an ending here.

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use process::limits;

use crate::cli::exit::Ending;
use crate::cli::output::Failure;

/// Set by the first thread that could not be made.
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// Runs `work`. Returns an error that names the limits if a thread could not be made.
pub(super) fn limited(work: impl FnOnce() -> Result<Ending, Failure>) -> Result<Ending, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if is_of_a_thread(panic) {
                EXHAUSTED.store(true, Ordering::Relaxed);
            } else if !EXHAUSTED.load(Ordering::Relaxed) {
                others(panic);
            }
        }));
    });
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(_) if EXHAUSTED.swap(false, Ordering::Relaxed) => Err(limits::exhausted().into()),
        Err(other) => panic::resume_unwind(other),
    }
}

/// Whether a thread could not be made, by the words of the standard library and of rayon.
fn is_of_a_thread(panic: &PanicHookInfo<'_>) -> bool {
    let is = |text: &str| text.contains("failed to spawn thread") || text.contains("ThreadPoolBuildError");
    panic.payload_as_str().is_some_and(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_cannot_be_made_is_an_error_with_the_limit() {
        // No machine has so much memory for a stack, so the system refuses as it does at a limit.
        let error = limited(|| {
            rayon::ThreadPoolBuilder::new().stack_size(1 << 46).build().unwrap();
            Ok(Ending::PASS)
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`ulimit -u`"), "{error}");
    }
}
