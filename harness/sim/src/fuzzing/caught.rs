//! Runs a check whose panic is its verdict.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// Location and message of a panic in a check on this thread, recorded instead of printed.
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a check and returns a panic in it as an error with location and message. Nothing is printed, and panic hooks of
/// other parts of the process do not run (libFuzzer's hook aborts).
///
/// The check must not leave shared state behind that a panic could leave inconsistent. Checks own everything that they
/// change.
///
/// # Errors
/// The panic's location and message.
pub fn caught<R>(check: impl FnOnce() -> R) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let noted = NOTED.with_borrow_mut(|noted| noted.as_mut().map(|noted| *noted = described(info)).is_some());
            if !noted {
                others(info);
            }
        }));
    });
    let before = NOTED.replace(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(check));
    let noted = NOTED.replace(before);
    result.map_err(|_| noted.unwrap_or_default())
}

fn described(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("a panic without a message");
    let Some(place) = info.location() else { return message.to_owned() };
    // If this crate is built as a dependency, as in the fuzz crate, paths are absolute. This file's own path shows where they
    // begin, and a compiler that maps paths maps it, too: the folder of the checkout must not decide what the binary is.
    let repository = file!().strip_suffix("harness/sim/src/fuzzing/caught.rs").unwrap_or_default();
    let file = place.file();
    format!("{}:{}: {message}", file.strip_prefix(repository).unwrap_or(file), place.line())
}
