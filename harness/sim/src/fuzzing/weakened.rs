//! Faults from environment variables. A fuzzer that runs with one of them must find it.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::LazyLock;

use framewalk::weakening::Weakening;

use crate::variation::Variation;

/// The checks that the walkers skip.
pub(super) static WEAKENINGS: LazyLock<BTreeSet<Weakening>> = LazyLock::new(|| named("FRAMEDIFF_WEAKEN"));
/// The variations of the interpreter.
pub(super) static VARIATIONS: LazyLock<BTreeSet<Variation>> = LazyLock::new(|| named("FRAMEDIFF_VARY"));

/// Parses the names in an environment variable.
///
/// # Panics
/// A name is unknown. Otherwise the fuzzer would run without the fault, and its silence would mean nothing.
fn named<T: FromStr<Err = String> + Ord>(variable: &str) -> BTreeSet<T> {
    let text = std::env::var(variable).unwrap_or_default();
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.parse().unwrap_or_else(|error| panic!("{variable}: {error}"))).collect()
}
