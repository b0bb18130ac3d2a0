//! A failure in one file that another machine can open: what was seen, the program, the target's memory, the build, and
//! how to reproduce it.
//!
//! The file is a gzip-compressed tar of a few files with fixed names:
//!
//! | name | content |
//! | --- | --- |
//! | `bundle.json` | format, version, fingerprint, interpreter, machine ([`about::About`]) |
//! | `finding.json` | a failure of `check`, with what is needed to run its cell again ([`about::CellRecord`]); or |
//! | `case.json` | a case of the stepped lane, as `explore` saves it |
//! | `workload.py`, `grammar.json` | the program and its legal stacks; a user's program has no grammar |
//! | `snapshot` | what walkers read of a second target that runs the program with gates; none for the live lane |
//! | `reproducer.py` | a file that shows the failure without framediff, where that is possible |
//! | `log.txt` | the failure as it was printed |
//! | `replay.txt` | the commands that reproduce it |
//!
//! Nothing in a bundle depends on when it was made. A bundle is unpacked in memory only: no name in it ever becomes a
//! path.

pub mod about;
pub mod archive;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use about::About;

/// The names of the files in a bundle.
pub mod name {
    /// Describes the bundle: format, version, fingerprint, interpreter, machine.
    pub const ABOUT: &str = "bundle.json";
    /// A failure of `check`.
    pub const FINDING: &str = "finding.json";
    /// A case of the stepped lane.
    pub const CASE: &str = "case.json";
    /// The program that the target ran.
    pub const WORKLOAD: &str = "workload.py";
    /// The program's legal stacks.
    pub const GRAMMAR: &str = "grammar.json";
    /// A snapshot of the target's memory at several stops.
    pub const SNAPSHOT: &str = "snapshot";
    /// A Python file that shows the failure.
    pub const REPRODUCER: &str = "reproducer.py";
    /// The failure as it was printed.
    pub const LOG: &str = "log.txt";
    /// The commands that reproduce the failure.
    pub const REPLAY: &str = "replay.txt";

    /// The names of all files.
    pub const ALL: [&str; 9] = [ABOUT, FINDING, CASE, WORKLOAD, GRAMMAR, SNAPSHOT, REPRODUCER, LOG, REPLAY];
}

/// A bundle in memory: its description and its other files.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// The content of `bundle.json`.
    pub about: About,
    /// The other files, by name.
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Bundle {
    /// A bundle that contains nothing but `about`.
    #[must_use]
    pub fn new(about: About) -> Self {
        Self { about, files: BTreeMap::new() }
    }

    /// Adds a file, or replaces the one of that name.
    #[must_use]
    pub fn with(mut self, name: &'static str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name, content.into());
        self
    }

    /// The content of one of its files; `None` if it is absent.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The content as text. Invalid UTF-8 is replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.file(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}
