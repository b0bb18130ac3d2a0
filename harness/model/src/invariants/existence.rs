//! Judges one stack: clauses 1 to 3.
//!
//! A stack is right if its thread had it at some moment of the sample. The stepped lane, the simulation and the search
//! know all of these stacks. A stack can therefore be wrong although the program could have it at another time.

use std::fmt;

use framewalk::frame::Frame;
use framewalk::sample::Provenance;
use framewalk::stack::Stack;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::workload::grammar::Illegal;

/// How one sample breaks a clause. The names are those of fingerprints, tables and saved cases.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    VariantArray,
    IntoStaticStr,
    EnumString,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum SampleFault {
    /// Clause 1: frames that were on the stack, with callers from the cache that are not theirs.
    Spliced,
    /// Clause 3: the root end is missing. The rest was on the stack.
    CutShort,
    /// Clause 1: callers in the middle are missing. Leaf and root were on the stack together.
    CallersErased,
    /// Clauses 1 and 2: the frames that were read are from different moments. Saved cases also call this `mixed`.
    #[serde(alias = "mixed")]
    Torn,
    /// Clause 1: the right functions, but at least one of them at a wrong location.
    WrongLocation,
    /// Clause 1: a stack that the program can have, but did not have during the sample.
    Stale,
    /// Clause 4: no stack at all, although the target did not move.
    Rejected,
    /// Clause 1, in cases saved before a wrong stack was told apart further: any wrong stack. [`judge`] never returns
    /// it.
    NotThere,
    /// Clause 6: a frame left the stack while it was the anchor, and the interpreter did not move the anchor.
    AnchorNotMoved,
    /// A walker wrote something other than an anchor, or something other than a frame's address.
    WroteOutside,
    /// Clause 7: the target was at rest, and the anchor's frame is on the stack and in the entry, but nothing came from
    /// the cache.
    HitMissed,
}

impl SampleFault {
    /// The faults that a fingerprint of the stepped lane can name.
    pub const STEPPED: [Self; 7] = [
        Self::Spliced,
        Self::CutShort,
        Self::CallersErased,
        Self::Torn,
        Self::WrongLocation,
        Self::Stale,
        Self::Rejected,
    ];

    /// The name in fingerprints, reports and saved cases.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
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
            Self::NotThere => "not there: the thread did not have this stack at any moment of the sample",
            Self::AnchorNotMoved => {
                "anchor not moved: a frame left the stack while it was the anchor, and the anchor was not moved"
            }
            Self::WroteOutside => "wrote outside: something other than an anchor was written",
            Self::HitMissed => {
                "hit missed: the anchor's frame is on the stack and in the entry, but the sample was no hit"
            }
        }
    }

    /// What a walker with this fault does, to follow its name in a sentence.
    #[must_use]
    pub fn deed(self) -> &'static str {
        match self {
            Self::Spliced => "puts callers from its cache under frames that they did not call",
            Self::CutShort => "returns stacks without their root",
            Self::CallersErased => "leaves callers out",
            Self::Torn => "returns frames of different moments as one stack",
            Self::WrongLocation => "returns a frame on a line where it was not",
            Self::Stale => "returns a stack that was gone before the sample began",
            Self::Rejected => "returns no stack, although the target does not move",
            Self::NotThere => "returns a stack that was not there during the sample",
            Self::AnchorNotMoved => "samples a target whose anchor was not moved",
            Self::WroteOutside => "writes something other than an anchor",
            Self::HitMissed => "takes nothing from its cache, although it could",
        }
    }

    /// Whether a sample with the fault `found` shows this fault.
    #[must_use]
    pub fn covers(self, found: Self) -> bool {
        let is_stack = match found {
            Self::Spliced
            | Self::CutShort
            | Self::CallersErased
            | Self::Torn
            | Self::WrongLocation
            | Self::Stale
            | Self::NotThere => true,
            Self::Rejected | Self::AnchorNotMoved | Self::WroteOutside | Self::HitMissed => false,
        };
        self == found || self == Self::NotThere && is_stack
    }
}

impl fmt::Display for SampleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The stacks that a thread had during a sample, and the program's rules.
pub trait PossibleStacks {
    /// Whether `seen` is one of the stacks that the thread had. Locations that were not certain, such as that of a
    /// moving leaf, need not be equal.
    fn had(&self, seen: &[Frame]) -> bool;

    /// The stacks that the thread had during the sample, in order of time.
    fn stacks(&self) -> Vec<Stack>;

    /// The rule that `seen` breaks, if the thread can never have this stack.
    fn illegal(&self, seen: &[Frame]) -> Option<Illegal>;
}

/// A stack that its thread did not have during the sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongStack {
    /// How it is wrong.
    pub fault: SampleFault,
    /// The rule of the program that it breaks. `None` if the program can have this stack at another time.
    pub illegal: Option<Illegal>,
    /// Where it departs from the nearest stack that the thread had.
    pub difference: Option<FirstDifference>,
}

impl WrongStack {
    /// The walker should have returned a stack, and did not.
    pub const REJECTED: Self = Self { fault: SampleFault::Rejected, illegal: None, difference: None };
}

/// Judges the stack `seen`, whose callers came from the cache as `provenance` says.
///
/// # Errors
/// The thread had no such stack during the sample.
pub fn judge(seen: &[Frame], possible: &impl PossibleStacks, provenance: Provenance) -> Result<(), WrongStack> {
    if possible.had(seen) {
        return Ok(());
    }
    let stacks = possible.stacks();
    let illegal = possible.illegal(seen);
    let fault = classify(seen, &stacks, illegal.as_ref(), provenance);
    Err(WrongStack { fault, illegal, difference: first_difference(seen, &stacks) })
}

/// Classifies `seen`, a stack that does not occur among the `possible` stacks of the sample.
///
/// `illegal` is the grammar rule that it breaks, if any. Stacks are leaf first. The right functions at other locations
/// also count as spliced if those frames come from the cache. A stack that differs from a possible one only in the
/// position of its leaf is in the wrong location.
fn classify(seen: &[Frame], possible: &[Stack], illegal: Option<&Illegal>, provenance: Provenance) -> SampleFault {
    let any = |which: &dyn Fn(&[Frame]) -> bool| possible.iter().any(|stack| which(stack));
    let fresh = seen.len().saturating_sub(provenance.from_cache);
    let fresh_was_there = any(&|stack| common_from_leaf(&seen[..fresh], stack) == fresh);
    // Cached callers at a different location than the real caller are those of another call.
    let own_place = |stack: &[Frame]| fresh == 0 || seen[..fresh] != stack[..fresh] || fresh == seen.len();
    if any(&|stack| stack.len() == seen.len() && common_from_leaf(seen, stack) == seen.len() && own_place(stack)) {
        SampleFault::WrongLocation
    } else if any(&|stack| seen.len() < stack.len() && common_from_leaf(seen, stack) == seen.len()) {
        SampleFault::CutShort
    } else if any(&|stack| has_frames_left_out(seen, stack)) {
        SampleFault::CallersErased
    } else if fresh_was_there && fresh < seen.len() && fresh > 0 {
        SampleFault::Spliced
    } else if illegal.is_none() {
        SampleFault::Stale
    } else {
        SampleFault::Torn
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
pub fn first_difference(seen: &[Frame], possible: &[Stack]) -> Option<FirstDifference> {
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

    fn fault(seen: &str, possible: &[&str], legal: bool, from_cache: usize) -> &'static str {
        let possible: Vec<Stack> = possible.iter().map(|text| stack(text)).collect();
        let illegal = (!legal).then_some(Illegal::MixedBranches { index: 0 });
        let provenance = Provenance { lookup: Lookup::Unknown, from_cache };
        classify(&stack(seen), &possible, illegal.as_ref(), provenance).name()
    }

    #[test]
    fn wrong_stacks_are_classified() {
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
            assert_eq!(fault(seen, &branches, legal, from_cache), expected, "{seen} with {from_cache} from the cache");
        }
        assert_eq!(fault("a main", &[], true, 0), "stale", "nothing was possible");
        assert_eq!(fault("a main", &["b main"], false, usize::MAX), "torn", "a count that cannot be");
    }

    #[test]
    fn the_difference_is_where_the_nearest_stack_ends() {
        let of = |seen: &str, possible: &[&str]| {
            let possible: Vec<Stack> = possible.iter().map(|text| stack(text)).collect();
            first_difference(&stack(seen), &possible).map(|difference| (difference.nearest, difference.index))
        };
        let branches = &["a_leaf a2 main", "b_leaf b2 main", "main"];
        assert_eq!(of("b_leaf a2 main", branches), Some((1, 1)));
        assert_eq!(of("a_leaf a2", branches), Some((0, 2)));
        assert_eq!(of("c_leaf a2 main", branches), Some((0, 0)));
        assert_eq!(of("c_leaf", &[]), None);
    }

    #[test]
    fn names_are_read_back() {
        for &fault in SampleFault::VARIANTS {
            assert_eq!(fault.name().parse(), Ok(fault));
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(json, format!("\"{fault}\""));
            assert_eq!(serde_json::from_str::<SampleFault>(&json).unwrap(), fault);
        }
        assert!("wrong".parse::<SampleFault>().is_err());
        assert_eq!(serde_json::from_str::<SampleFault>("\"mixed\"").unwrap(), SampleFault::Torn);
    }
}
