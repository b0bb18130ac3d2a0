//! Running a check whose panic is its verdict.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::Once;

thread_local! {
    /// Where the panic of a check that runs in this thread is noted instead of printed.
    static NOTED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a check; a panic in it becomes its place and message, without any output and without the hook that another
/// part of the process may have installed (libFuzzer's aborts).
///
/// The check must not leave anything behind that a panic could have left half done; checks own all that they change.
///
/// # Errors
/// The panic's place and message.
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
    // Where this is built as a dependency, as the fuzz crate does, paths are those of the machine.
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(""));
    let file = Path::new(place.file());
    format!("{}:{}: {message}", file.strip_prefix(repository).unwrap_or(file).display(), place.line())
}
