//! The documented limits of CPython's unwinder. A stack that lacks something because of them is degraded, not wrong.

use std::borrow::Cow;
use std::sync::Arc;

use framewalk::frame::{Frame, Location};
use framewalk::sample::WalkerKind;
use serde::{Deserialize, Serialize};

use crate::workload::grammar::as_cpython_tells;

/// A limit of `Modules/_remote_debugging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Names and paths are cut after 1024 characters.
    NameCut,
    /// A frame whose location table has more than 64 KiB has no position (gh-151022).
    TableDropped,
}

impl Limit {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NameCut => "name-cut",
            Self::TableDropped => "table-dropped",
        }
    }
}

/// The stack as a walker is documented to return it, and the limits that it exceeds. `has_long_table` says whether the
/// location table of a frame's code is larger than CPython's unwinder reads.
#[must_use]
pub fn as_reported<'a>(
    walker: WalkerKind,
    stack: &'a [Frame],
    has_long_table: impl Fn(&Frame) -> bool,
) -> (Cow<'a, [Frame]>, Vec<Limit>) {
    let is_cut = |frame: &Frame| [&frame.function, &frame.file].into_iter().any(|it| as_cpython_tells(it).is_some());
    let limits: Vec<Limit> = if walker.is_cpythons() {
        let met =
            [(Limit::NameCut, stack.iter().any(is_cut)), (Limit::TableDropped, stack.iter().any(&has_long_table))];
        met.into_iter().filter(|(_, is_met)| *is_met).map(|(limit, _)| limit).collect()
    } else {
        Vec::new()
    };
    if limits.is_empty() {
        return (Cow::Borrowed(stack), limits);
    }
    let cut = |text: &Arc<str>| as_cpython_tells(text).map_or_else(|| Arc::clone(text), Into::into);
    let frame = |frame: &Frame| Frame {
        function: cut(&frame.function),
        file: cut(&frame.file),
        location: if has_long_table(frame) { Location::default() } else { frame.location },
    };
    (Cow::Owned(stack.iter().map(frame).collect()), limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cpythons_walkers_have_limits() {
        let location = Location { line: Some(7), ..Location::default() };
        let long = "é".repeat(1025);
        let stack = [("short", "w.py"), (long.as_str(), "w.py"), ("f", "long.py")].map(|(function, file)| Frame {
            function: function.into(),
            file: file.into(),
            location,
        });
        let has_long_table = |frame: &Frame| &*frame.file == "long.py";
        let (told, limits) = as_reported(WalkerKind::CpythonCached, &stack, has_long_table);
        assert_eq!(limits, [Limit::NameCut, Limit::TableDropped]);
        assert_eq!(told[0], stack[0]);
        assert_eq!((told[1].function.chars().count(), told[1].location), (1024, location));
        assert_eq!((&*told[2].function, told[2].location), ("f", Location::default()));
        let (own, limits) = as_reported(WalkerKind::OwnCached, &stack, has_long_table);
        assert_eq!((&*own, limits), (stack.as_slice(), Vec::new()));
    }
}
