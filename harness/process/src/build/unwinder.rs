//! Whether a build can start its own unwinder.

use std::collections::BTreeMap;
use std::path::Path;

use framewalk::layout::FrameCache;

use super::{Row, ask};

/// What the driver needs.
const IMPORT: &str = "from _remote_debugging import RemoteUnwinder";

/// The rows whose build has a frame cache and cannot import the unwinder that uses it, each with why, in words that name
/// the build. A module that is missing or does not load must not look like a build without a frame cache, nor keep this
/// project's own walkers from the build.
#[must_use]
pub fn without_unwinder(rows: &[Row]) -> BTreeMap<String, String> {
    let mut asked: BTreeMap<&Path, Option<String>> = BTreeMap::new();
    let mut without = BTreeMap::new();
    for row in rows.iter().filter(|row| row.build.frame_cache() == FrameCache::AnchorAndSequence) {
        let python = row.build.python.as_path();
        let why = asked.entry(python).or_insert_with(|| cannot_import(python));
        if let Some(why) = why {
            without.insert(row.name.clone(), why.clone());
        }
    }
    without
}

/// Why `python` cannot import its unwinder, if it cannot.
fn cannot_import(python: &Path) -> Option<String> {
    let error = ask(python, &["-I", "-S", "-B", "-c", IMPORT]).err()?;
    let printable: String = error.to_string().chars().filter(|character| !character.is_control()).take(300).collect();
    Some(format!(
        "{} cannot import its unwinder (_remote_debugging), so CPython's walkers do not run: {printable}; install the build anew",
        python.display()
    ))
}
