//! The positions at which the functions of a program can be, taken from its code objects.

use std::collections::{HashMap, HashSet};

use framewalk::frame::{Frame, Location};

/// The positions of every code object of one program: `co_positions()`, by `co_qualname`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    file: String,
    by_function: HashMap<String, HashSet<Location>>,
}

impl Positions {
    /// The positions of a program whose `co_filename` is `file`. Functions with the same name are merged.
    #[must_use]
    pub fn new(file: &str, functions: impl IntoIterator<Item = (String, Vec<Location>)>) -> Self {
        let mut by_function: HashMap<String, HashSet<Location>> = HashMap::new();
        for (function, positions) in functions {
            by_function.entry(function).or_default().extend(positions);
        }
        Self { file: file.to_owned(), by_function }
    }

    /// Whether the location of `frame` is one that its function has. Code that the program compiles at run time is
    /// always allowed.
    #[must_use]
    pub fn allow(&self, frame: &Frame) -> bool {
        *frame.file != *self.file
            || self.by_function.get(&*frame.function).is_none_or(|known| known.contains(&frame.location))
    }

    /// Whether `file` is the whole path of the program's file.
    #[must_use]
    pub fn is_program(&self, file: &str) -> bool {
        self.file == file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_at_a_position_of_its_own_function() {
        let at = |line, column| Location {
            line: Some(line),
            end_line: Some(line),
            column: Some(column),
            end_column: Some(9),
        };
        let positions = Positions::new("/w.py", [("f".to_owned(), vec![at(1, 2)]), ("f".to_owned(), vec![at(3, 4)])]);
        let frame =
            |file: &str, function: &str, location| Frame { function: function.into(), file: file.into(), location };
        for (frame, allowed) in [
            (frame("/w.py", "f", at(1, 2)), true),
            (frame("/w.py", "f", at(3, 4)), true),
            (frame("/w.py", "f", at(3, 2)), false),
            (frame("/w.py", "f", Location::default()), false),
            (frame("<exec>", "f", at(3, 2)), true),
            (frame("/w.py", "made_while_it_runs", at(3, 2)), true),
        ] {
            assert_eq!(positions.allow(&frame), allowed, "{frame}");
        }
    }
}
