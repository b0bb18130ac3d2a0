//! What each minor version of CPython is made of, one file each.

mod v3_13;
mod v3_14;
mod v3_15;

use std::fmt;

use super::FrameOwners;

/// A section's name and the names of its words, each separated by one space.
pub(super) type Section = (&'static str, &'static str);

/// The final releases of a minor version, as far as their memory does not describe itself.
#[derive(Debug)]
pub struct Version {
    /// Major and minor version.
    pub minor: (u8, u8),
    /// Mask of the tag bits in a frame's `f_executable`.
    pub(super) tag_mask: u64,
    /// The owners of frames.
    pub(super) owners: FrameOwners,
    /// The order of the words in `_Py_DebugOffsets`. They follow the eight-byte cookie and the words `version` and
    /// `free_threaded`; all are `uint64_t`.
    pub(super) sections: &'static [Section],
}

/// The known versions, oldest first.
pub const KNOWN: [Version; 3] = [v3_13::V3_13, v3_14::V3_14, v3_15::V3_15];

impl Version {
    /// The length of `_Py_DebugOffsets`, in words.
    pub(super) const fn words(&self) -> usize {
        let mut words = 3;
        let mut sections = self.sections;
        while let [(_, names), rest @ ..] = sections {
            (words, sections) = (words + 1, rest);
            let mut names = names.as_bytes();
            while let [byte, rest @ ..] = names {
                (words, names) = (words + (*byte == b' ') as usize, rest);
            }
        }
        words
    }

    /// The position of a word, given as `section.word`, behind the first three of the table.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let wanted = name.split_once('.')?;
        let words = |&(here, names): &Section| names.split(' ').map(move |word| (here, word));
        self.sections.iter().flat_map(words).position(|word| word == wanted)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.minor.0, self.minor.1)
    }
}

/// The known versions as messages list them: `3.13, 3.14` with `separator` and the last.
#[must_use]
pub fn known(separator: &str) -> String {
    let names = KNOWN.map(|version| version.to_string());
    names.split_last().map_or_else(String::new, |(last, rest)| format!("{} {separator} {last}", rest.join(", ")))
}
