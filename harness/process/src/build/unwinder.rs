//! Checks whether a build can start its own unwinder.

use std::collections::BTreeMap;
use std::path::Path;

use framewalk::layout::CacheFields;

use super::{BuildVariant, ask};

/// The import that the driver needs.
const IMPORT: &str = "from _remote_debugging import RemoteUnwinder";

/// The rows whose build has a frame cache but cannot import the unwinder that uses it, with a message that names the
/// build. A missing or broken module must not make the build look as if it had no frame cache. This project's own
/// walkers still test the build.
#[must_use]
pub fn without_unwinder(rows: &[BuildVariant]) -> BTreeMap<String, String> {
    let mut asked: BTreeMap<&Path, Option<String>> = BTreeMap::new();
    let mut without = BTreeMap::new();
    for row in rows.iter().filter(|row| row.build.frame_cache() == CacheFields::AnchorAndSequence) {
        let python = row.build.python.as_path();
        let why = asked.entry(python).or_insert_with(|| cannot_import(python));
        if let Some(why) = why {
            without.insert(row.name.clone(), why.clone());
        }
    }
    without
}

/// The reason why `python` cannot import its unwinder, or `None` if it can.
fn cannot_import(python: &Path) -> Option<String> {
    let error = ask(python, &["-I", "-S", "-B", "-c", IMPORT]).err()?;
    let printable: String = error.to_string().chars().filter(|character| !character.is_control()).take(300).collect();
    Some(format!(
        "{} cannot import its unwinder (_remote_debugging), so CPython's walkers do not run: {printable}; reinstall \
         the build",
        python.display()
    ))
}
