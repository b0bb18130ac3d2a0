//! The ways in which a stack can be wrong in the stepped lane.
//!
//! A sample is right if the target had its stack at some moment of the sample. In the stepped lane, all of these stacks
//! are known. A stack can therefore be wrong although the program could have it at another time.

use std::fmt;
use std::str::FromStr;

use framewalk::frame::Frame;
use framewalk::sample::Provenance;
use framewalk::stack::Stack;
use serde::{Deserialize, Serialize};

use crate::workload::grammar::Illegal;

/// How a stack is wrong that the target did not have during the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clause {
    /// Frames that were on the stack, with callers from the cache that are not theirs.
    Spliced,
    /// The root end is missing. The rest was on the stack.
    CutShort,
    /// Callers in the middle are missing. Leaf and root were on the stack together.
    CallersErased,
    /// The frames that were read are from different moments.
    Torn,
    /// The right functions, but at least one of them at a wrong location.
    WrongLocation,
    /// A stack that the program can have, but did not have during the sample.
    Stale,
    /// No stack at all, although the target did not move.
    Rejected,
}

impl Clause {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Spliced,
        Self::CutShort,
        Self::CallersErased,
        Self::Torn,
        Self::WrongLocation,
        Self::Stale,
        Self::Rejected,
    ];

    /// The name in fingerprints and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spliced => "spliced",
            Self::CutShort => "cut-short",
            Self::CallersErased => "callers-erased",
            Self::Torn => "torn",
            Self::WrongLocation => "wrong-location",
            Self::Stale => "stale",
            Self::Rejected => "rejected",
        }
    }

    /// A description in one sentence.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Spliced => "spliced: the callers are from the cache and are not those of the frames above them",
            Self::CutShort => "cut short: callers at the root end are missing",
            Self::CallersErased => "callers erased: frames between leaf and root are missing",
            Self::Torn => "torn: the frames that were read are of different moments",
            Self::WrongLocation => "wrong location: these functions were there, but not at these places",
            Self::Stale => "stale: the program can have this stack, but did not have it during the sample",
            Self::Rejected => "rejected: the walker gave no stack of a target that stood still",
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Clause {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|clause| clause.name() == name)
            .ok_or_else(|| format!("no way to be wrong is called `{name}`"))
    }
}

/// Classifies `seen`, a stack that does not occur among the `possible` stacks of the sample.
///
/// `illegal` is the grammar rule that it breaks, if any. Stacks are leaf first. The right functions at other locations
/// also count as spliced if those frames come from the cache. A stack that differs from a possible one only in the
/// position of its leaf is in the wrong location. A caller of this function that accepts such stacks must not pass
/// them.
#[must_use]
pub fn classify(seen: &[Frame], possible: &[Stack], illegal: Option<&Illegal>, provenance: Provenance) -> Clause {
    let any = |which: &dyn Fn(&[Frame]) -> bool| possible.iter().any(|stack| which(stack));
    let fresh = seen.len().saturating_sub(provenance.from_cache);
    let fresh_was_there = any(&|stack| common_from_leaf(&seen[..fresh], stack) == fresh);
    // Cached callers at a different location than the real caller are those of another call.
    let own_place = |stack: &[Frame]| fresh == 0 || seen[..fresh] != stack[..fresh] || fresh == seen.len();
    if any(&|stack| stack.len() == seen.len() && common_from_leaf(seen, stack) == seen.len() && own_place(stack)) {
        Clause::WrongLocation
    } else if any(&|stack| seen.len() < stack.len() && common_from_leaf(seen, stack) == seen.len()) {
        Clause::CutShort
    } else if any(&|stack| has_frames_left_out(seen, stack)) {
        Clause::CallersErased
    } else if fresh_was_there && fresh < seen.len() && fresh > 0 {
        Clause::Spliced
    } else if illegal.is_none() {
        Clause::Stale
    } else {
        Clause::Torn
    }
}

/// Where a wrong stack and the nearest possible one diverge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstDifference {
    /// Index of the nearest possible stack.
    pub nearest: usize,
    /// How many frames both have in common, counted from the leaf. This is the index of the frame at fault, or the
    /// length of a stack that ends too early.
    pub index: usize,
}

/// Where `seen` and the nearest of the `possible` stacks diverge. The nearest stack has the most frames in common from
/// the leaf, then the most from the root.
#[must_use]
pub fn parting(seen: &[Frame], possible: &[Stack]) -> Option<FirstDifference> {
    let common = |stack: &[Frame]| {
        let exact = seen.iter().zip(stack).take_while(|(one, other)| one == other).count();
        (exact, seen.iter().rev().zip(stack.iter().rev()).take_while(|(one, other)| one == other).count())
    };
    let (nearest, stack) = possible.iter().enumerate().rev().max_by_key(|(_, stack)| common(stack))?;
    Some(FirstDifference { nearest, index: common(stack).0 })
}

/// How many functions both stacks have in common, counted from the leaf.
fn common_from_leaf(one: &[Frame], other: &[Frame]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| same_function(one, other)).count()
}

/// Whether `seen` is `stack` without some frames between leaf and root.
fn has_frames_left_out(seen: &[Frame], stack: &[Frame]) -> bool {
    let ends = |stack: &[Frame]| stack.first().cloned().zip(stack.last().cloned());
    let (Some((leaf, root)), Some((leaf_there, root_there))) = (ends(seen), ends(stack)) else { return false };
    let mut rest = stack.iter();
    seen.len() < stack.len()
        && same_function(&leaf, &leaf_there)
        && same_function(&root, &root_there)
        && seen.iter().all(|frame| rest.any(|other| same_function(frame, other)))
}

fn same_function(one: &Frame, other: &Frame) -> bool {
    (&one.function, &one.file) == (&other.function, &other.file)
}

#[cfg(test)]
mod tests {
    use framewalk::frame::Location;
    use framewalk::sample::Lookup;

    use super::*;

    /// Frames by name, leaf first. `name:line` is on that line; the default is line 1.
    fn stack(text: &str) -> Stack {
        let frame = |text: &str| {
            let (name, line) = text.split_once(':').unwrap_or((text, "1"));
            let location = Location { line: line.parse().ok(), ..Location::default() };
            Frame { function: name.into(), file: "workload.py".into(), location }
        };
        text.split_whitespace().map(frame).collect()
    }

    fn clause(seen: &str, possible: &[&str], legal: bool, from_cache: usize) -> &'static str {
        let possible: Vec<Stack> = possible.iter().map(|text| stack(text)).collect();
        let illegal = (!legal).then_some(Illegal::MixedBranches { index: 0 });
        let provenance = Provenance { lookup: Lookup::Unknown, from_cache };
        classify(&stack(seen), &possible, illegal.as_ref(), provenance).name()
    }

    #[test]
    fn each_way_to_be_wrong_is_told() {
        let branches = ["a_leaf a2 a1 main", "a1 main", "b_leaf b2 b1 main"];
        for (seen, legal, from_cache, expected) in [
            ("b_leaf a2 a1 main", false, 3, "spliced"),
            ("b_leaf b2 a1 main", false, 2, "spliced"),
            ("b_leaf b2 a1 main", false, 0, "torn"),
            ("b_leaf a2 a1 main", false, 2, "torn"),
            ("a_leaf a2", false, 0, "cut-short"),
            ("a_leaf a2 a1", false, 2, "cut-short"),
            ("a_leaf main", false, 1, "callers-erased"),
            ("a_leaf a1 main", false, 0, "callers-erased"),
            ("a_leaf:7 a2 a1 main", true, 3, "wrong-location"),
            ("a_leaf a2:2 a1 main", false, 0, "wrong-location"),
            ("a_leaf a2:2 a1 main", false, 4, "wrong-location"),
            ("a_leaf a2:2 a1 main", false, 3, "spliced"),
            ("c_leaf c1 main", true, 0, "stale"),
            ("c_leaf c1 main", true, 2, "stale"),
        ] {
            assert_eq!(clause(seen, &branches, legal, from_cache), expected, "{seen} with {from_cache} from the cache");
        }
        assert_eq!(clause("a main", &[], true, 0), "stale", "nothing was possible");
        assert_eq!(clause("a main", &["b main"], false, usize::MAX), "torn", "a count that cannot be");
    }

    #[test]
    fn the_stacks_part_where_the_nearest_one_ends() {
        let of = |seen: &str, possible: &[&str]| {
            let possible: Vec<Stack> = possible.iter().map(|text| stack(text)).collect();
            parting(&stack(seen), &possible).map(|parting| (parting.nearest, parting.index))
        };
        let branches = &["a_leaf a2 main", "b_leaf b2 main", "main"];
        assert_eq!(of("b_leaf a2 main", branches), Some((1, 1)));
        assert_eq!(of("a_leaf a2", branches), Some((0, 2)));
        assert_eq!(of("c_leaf a2 main", branches), Some((0, 0)));
        assert_eq!(of("c_leaf", &[]), None);
    }

    #[test]
    fn names_are_read_back() {
        for clause in Clause::ALL {
            assert_eq!(clause.name().parse(), Ok(clause));
        }
        assert!("wrong".parse::<Clause>().is_err());
    }
}
