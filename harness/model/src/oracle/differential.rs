//! Compares two stacks of the same state, frame by frame.

use framewalk::frame::{Frame, Location};

use crate::account::AccountFrame;
use crate::invariants::Difference;

/// The most significant difference between two stacks (leaf first), if they differ. It need not be the first one.
///
/// A different function takes precedence over a different length, a different length over a different line, and a
/// different line over a different column.
#[must_use]
pub fn difference(left: &[Frame], right: &[Frame]) -> Option<Difference> {
    if left == right {
        return None;
    }
    let first =
        |differs: fn(&Frame, &Frame) -> bool| left.iter().zip(right).position(|(left, right)| differs(left, right));
    if left.len() != right.len() {
        // Compare from the root: a missing or extra leaf shifts all indices that count from the leaf.
        let function = left.iter().rev().zip(right.iter().rev()).position(|(left, right)| other_function(left, right));
        return Some(
            function.map_or(Difference::Length, |from_root| Difference::Function { index: left.len() - 1 - from_root }),
        );
    }
    if let Some(index) = first(other_function) {
        return Some(Difference::Function { index });
    }
    if let Some(index) = first(|left, right| left.location.line != right.location.line) {
        return Some(Difference::Line { index });
    }
    first(|left, right| left.location != right.location).map(|index| Difference::Column { index })
}

fn other_function(left: &Frame, right: &Frame) -> bool {
    (&left.function, &left.file) != (&right.function, &right.file)
}

/// Like [`difference`], but compares with the frames that the target reports. Their positions may consist of a line
/// alone.
#[must_use]
pub fn difference_from_account(stack: &[Frame], account: &[AccountFrame]) -> Option<Difference> {
    difference(stack, &frames_of_account(stack, account))
}

/// The frames of an account. Fields that the account lacks are copied from the stack, so they cannot differ.
#[must_use]
pub fn frames_of_account(stack: &[Frame], account: &[AccountFrame]) -> Vec<Frame> {
    let seen = stack.iter().map(Some).chain(std::iter::repeat(None));
    let frames = account.iter().zip(seen).map(|(AccountFrame { function, file, line, place }, seen)| {
        let mut location = seen.map(|frame| frame.location).unwrap_or_default();
        location.line = *line;
        if let Some((end_line, column, end_column)) = *place {
            location = Location { line: *line, end_line, column, end_column };
        }
        Frame { function: function.as_str().into(), file: file.as_str().into(), location }
    });
    frames.collect()
}

#[cfg(test)]
mod tests {
    use framewalk::frame::Location;

    use super::*;

    fn stack(frames: &[(&str, i32)]) -> Vec<Frame> {
        let frame = |&(function, line): &(&str, i32)| Frame {
            function: function.into(),
            file: "workload.py".into(),
            location: Location { line: Some(line), column: Some(4), ..Location::default() },
        };
        frames.iter().map(frame).collect()
    }

    #[test]
    fn the_most_important_difference_is_named() {
        let seen = stack(&[("leaf", 3), ("a", 2), ("<module>", 1)]);
        for (other, expected) in [
            (stack(&[("leaf", 3), ("a", 2), ("<module>", 1)]), None),
            (stack(&[("leaf", 9), ("b", 2), ("<module>", 1)]), Some(Difference::Function { index: 1 })),
            (stack(&[("leaf", 3), ("a", 7), ("<module>", 1)]), Some(Difference::Line { index: 1 })),
            (stack(&[("a", 2), ("<module>", 1)]), Some(Difference::Length)),
            (stack(&[("b", 2), ("<module>", 1)]), Some(Difference::Function { index: 1 })),
        ] {
            assert_eq!(difference(&seen, &other), expected, "{other:?}");
        }
        let mut moved = seen.clone();
        moved[0].location.column = Some(5);
        assert_eq!(difference(&seen, &moved), Some(Difference::Column { index: 0 }));
    }

    #[test]
    fn an_account_is_compared_only_in_the_fields_it_has() {
        let seen = stack(&[("leaf", 3), ("<module>", 1)]);
        let frame = |function: &str, line, place| AccountFrame {
            function: function.into(),
            file: "workload.py".into(),
            line: Some(line),
            place,
        };
        let account = |line, place| [frame("leaf", line, place), frame("<module>", 1, None)];
        assert_eq!(difference_from_account(&seen, &account(3, None)), None);
        assert_eq!(difference_from_account(&seen, &account(4, None)), Some(Difference::Line { index: 0 }));
        let here = (None, Some(4), None);
        assert_eq!(difference_from_account(&seen, &account(3, Some(here))), None);
        let elsewhere = account(3, Some((None, Some(4), Some(5))));
        assert_eq!(difference_from_account(&seen, &elsewhere), Some(Difference::Column { index: 0 }));
        assert_eq!(difference_from_account(&seen, &[frame("<module>", 1, None)]), Some(Difference::Length));
    }
}
