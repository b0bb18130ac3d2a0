//! Checks whether a build can use its own unwinder.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use framewalk::layout::{CacheFields, WordOrder};
use framewalk::printable::excerpt;

use super::{Build, BuildVariant, ask};

/// Imports the unwinder that the driver needs, and attaches it to its own process.
const ATTACH: &str = "import os\nfrom _remote_debugging import RemoteUnwinder\ntry:\n    RemoteUnwinder(os.getpid())\n\
                      except RuntimeError as error:\n    print(error, end='')";

/// How `RemoteUnwinder` starts its message if its module was compiled for another version than the process has.
const OTHER_VERSION: &str = "Can't attach from a Python ";

/// How it starts its message if the values in the table do not fit the order that its module was compiled with.
const OTHER_ORDER: &str = "Invalid debug offsets: ";

/// Why CPython's walkers do not run on a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WithoutUnwinder {
    /// The module is missing or broken. The build is not completely tested.
    Broken(String),
    /// The module was compiled for another version or another table of offsets, so it refuses this interpreter. There is
    /// nothing to test.
    OfOtherVersion(String),
}

/// The rows whose build has a frame cache but cannot use the unwinder that goes with it. A missing or broken module must
/// not make the build look as if it had no frame cache. This project's own walkers still test the build.
#[must_use]
pub fn without_unwinder(rows: &[BuildVariant]) -> BTreeMap<String, WithoutUnwinder> {
    let mut asked: BTreeMap<&Path, Option<WithoutUnwinder>> = BTreeMap::new();
    let mut without = BTreeMap::new();
    for row in rows.iter().filter(|row| row.build.frame_cache() == CacheFields::AnchorAndSequence) {
        let python = row.build.python.as_path();
        let ask = || ask(python, &["-I", "-S", "-B", "-c", ATTACH]);
        let answer = asked.entry(python).or_insert_with(|| why(python, ask(), is_reordered(&row.build)));
        if let Some(why) = answer {
            without.insert(row.name.clone(), why.clone());
        }
    }
    without
}

/// Whether the order that was proved is not the one that releases of this version have.
fn is_reordered(build: &Build) -> bool {
    let known = WordOrder::of_version(build.version);
    build.layout.as_ref().is_ok_and(|layout| known.is_some_and(|known| known.first_difference(&layout.order).is_some()))
}

/// What the answer to [`ATTACH`] means. Other errors than that of another version are for the tests to find.
fn why(python: &Path, answer: io::Result<Vec<u8>>, is_reordered: bool) -> Option<WithoutUnwinder> {
    let python = python.display();
    match answer {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let is_refused = text.starts_with(OTHER_VERSION) || is_reordered && text.starts_with(OTHER_ORDER);
            let refused = is_refused.then(|| excerpt(&text))?;
            Some(WithoutUnwinder::OfOtherVersion(format!(
                "the unwinder of {python} (_remote_debugging) was compiled for another interpreter, so CPython's walkers do \
                 not run: {refused}"
            )))
        }
        Err(error) => Some(WithoutUnwinder::Broken(format!(
            "{python} cannot import its unwinder (_remote_debugging), so CPython's walkers do not run: {}; reinstall \
             the build",
            excerpt(&error.to_string())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_module_of_another_version_is_no_fault_of_the_build() {
        let offsets = || Ok(b"Invalid debug offsets: runtime_state.size=0".to_vec());
        assert!(why(Path::new("/python"), offsets(), true).is_some());
        let why = |answer| why(Path::new("/python"), answer, false);
        assert_eq!(why(offsets()), None);
        assert_eq!(why(Ok(Vec::new())), None);
        assert_eq!(why(Ok(b"Failed to read".to_vec())), None);
        let other = why(Ok(b"Can't attach from a Python 3.15 process to a Python 3.16 process".to_vec()));
        assert!(matches!(other, Some(WithoutUnwinder::OfOtherVersion(text)) if text.contains("3.16")));
        assert!(matches!(why(Err(io::Error::other("no module"))), Some(WithoutUnwinder::Broken(_))));
    }
}
