//! The result of running a case.

use std::path::Path;

use super::file::CaseFile;
use crate::fuzzing::CheckOutcome;
use crate::fuzzing::caught::caught;

/// The result of running a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseVerdict {
    /// The code under test decoded it, and everything the check asserts holds.
    Accepted,
    /// The code under test rejected it, as it had to.
    Rejected,
    /// An assertion of the check failed: the panic's location and message.
    Failed(String),
}

impl CaseFile {
    /// Runs the check of the case's target.
    #[must_use]
    pub fn run(&self) -> CaseVerdict {
        match caught(|| self.case.check()) {
            Ok(CheckOutcome::Accepted) => CaseVerdict::Accepted,
            Ok(CheckOutcome::Rejected) => CaseVerdict::Rejected,
            Err(message) => CaseVerdict::Failed(message),
        }
    }

    /// Whether the verdict shows anything. A rejected case does so only if its check defines which cases must be
    /// rejected, or if the case in this file is saved because it is rejected.
    #[must_use]
    pub fn is_judged(&self, verdict: &CaseVerdict, file: &Path) -> bool {
        match verdict {
            CaseVerdict::Accepted | CaseVerdict::Failed(_) => true,
            CaseVerdict::Rejected => self.target.judges_refusals() || is_kept_refused(file),
        }
    }
}

/// Whether the file name says that the case is saved because it is rejected: `rejected-1.json`.
fn is_kept_refused(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"rejected-"))
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
        assert!(!walkers.is_judged(&CaseVerdict::Rejected, fuzzed));
        assert!(walkers.is_judged(&CaseVerdict::Rejected, kept));
        assert!(walkers.is_judged(&CaseVerdict::Accepted, fuzzed));
        assert!(walkers.is_judged(&CaseVerdict::Failed("broken".into()), fuzzed));
        assert!(case(&layout::TARGET).is_judged(&CaseVerdict::Rejected, fuzzed));
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
