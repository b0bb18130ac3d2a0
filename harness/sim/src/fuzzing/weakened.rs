//! Faults that the environment names: a fuzzer that runs with one is to find it.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::LazyLock;

use framewalk::weakening::Weakening;

use crate::variation::Variation;

/// The checks that the walkers leave out.
pub(super) static WEAKENINGS: LazyLock<BTreeSet<Weakening>> = LazyLock::new(|| named("FRAMEDIFF_WEAKEN"));
/// The ways in which the interpreter differs.
pub(super) static VARIATIONS: LazyLock<BTreeSet<Variation>> = LazyLock::new(|| named("FRAMEDIFF_VARY"));

/// The names in an environment variable.
///
/// # Panics
/// There is no such name: a fuzzer that runs on would find nothing, and nobody would know why.
fn named<T: FromStr<Err = String> + Ord>(variable: &str) -> BTreeSet<T> {
    let text = std::env::var(variable).unwrap_or_default();
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.parse().unwrap_or_else(|error| panic!("{variable}: {error}"))).collect()
}
