//! Running a check whose panic is its verdict.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::Once;

use super::file::CaseFile;
use crate::fuzzing::Outcome;

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The code under test decoded it, and everything the check asserts holds.
    Accepted,
    /// The code under test refused it, as it had to.
    Rejected,
    /// Something does not hold: the panic's place and message.
    Failed(String),
}

impl CaseFile {
    /// Runs the case through the check of its target.
    #[must_use]
    pub fn run(&self) -> Verdict {
        match caught(|| self.case.check()) {
            Ok(Outcome::Accepted) => Verdict::Accepted,
            Ok(Outcome::Rejected) => Verdict::Rejected,
            Err(message) => Verdict::Failed(message),
        }
    }

    /// Whether a run that ended so shows anything: a case that was refused does so only if its check says which cases are to be
    /// refused, or if that is what the case in this file is kept for.
    #[must_use]
    pub fn is_judged(&self, verdict: &Verdict, file: &Path) -> bool {
        match verdict {
            Verdict::Accepted | Verdict::Failed(_) => true,
            Verdict::Rejected => self.target.judges_refusals() || is_kept_refused(file),
        }
    }
}

/// Whether the name of a file says that its case is kept because it is refused: `rejected-1.json`.
fn is_kept_refused(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"rejected-"))
}

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
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(""));
    let file = Path::new(place.file());
    format!("{}:{}: {message}", file.strip_prefix(repository).unwrap_or(file).display(), place.line())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::target::AnyFuzzTarget;
    use crate::fuzzing::{layout, walk_image};

    /// The message of a check that panics.
    fn message(check: impl FnOnce()) -> String {
        caught(check).unwrap_err()
    }

    #[test]
    fn a_panic_is_caught_with_its_place() {
        let line = line!() + 1;
        let message = message(|| panic!("of {}", "no use"));
        assert_eq!(message, format!("{}:{line}: of no use", file!()));
        assert_eq!(caught(|| 7), Ok(7));
    }

    #[test]
    fn a_refused_case_shows_something_only_where_a_refusal_is_asked_for() {
        let case = |target: &'static dyn AnyFuzzTarget| {
            let case = target.random_cases(1).unwrap().remove(0);
            CaseFile { target, note: String::new(), case }
        };
        let [fuzzed, kept] = ["cases/0f3a.json", "cases/rejected-1.json"].map(Path::new);
        let walkers = case(&walk_image::TARGET);
        assert!(!walkers.is_judged(&Verdict::Rejected, fuzzed));
        assert!(walkers.is_judged(&Verdict::Rejected, kept));
        assert!(walkers.is_judged(&Verdict::Accepted, fuzzed));
        assert!(walkers.is_judged(&Verdict::Failed("broken".into()), fuzzed));
        assert!(case(&layout::TARGET).is_judged(&Verdict::Rejected, fuzzed));
    }

    #[test]
    fn the_inner_of_two_is_caught_inside() {
        let outer = message(|| {
            assert!(message(|| panic!("inner")).ends_with("inner"));
            panic!("outer")
        });
        assert!(outer.ends_with("outer"), "{outer}");
    }
}
