//! A failure in one file that another machine can open: what was seen, the program, the target's memory, the build, and how to
//! see it again.
//!
//! The file is a tar of a few files of fixed names, compressed by gzip:
//!
//! | name | what |
//! | --- | --- |
//! | `bundle.json` | what it is: format, version, fingerprint, interpreter, machine ([`about::About`]) |
//! | `finding.json` | a failure of `check`, with what runs its cell again ([`about::Told`]); or |
//! | `case.json` | a case of the stepped lane, as `explore` saves it |
//! | `workload.py`, `grammar.json` | the program and the stacks that it can have; a program of the user's has no grammar |
//! | `snapshot` | what walkers read of a second target that runs the program with gates; not of a failure of the live lane |
//! | `reproducer.py` | a file that shows the failure without framediff, where there can be one |
//! | `log.txt` | the failure as it was told |
//! | `replay.txt` | the commands that show it again |
//!
//! Nothing in it depends on the time at which it was made. It is opened in memory alone: no name in it ever becomes a path.

pub mod about;
pub mod archive;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use about::About;

/// The names of the files in a bundle.
pub mod name {
    /// What the bundle is.
    pub const ABOUT: &str = "bundle.json";
    /// A failure of `check`.
    pub const FINDING: &str = "finding.json";
    /// A case of the stepped lane.
    pub const CASE: &str = "case.json";
    /// The program.
    pub const WORKLOAD: &str = "workload.py";
    /// The stacks that it can have.
    pub const GRAMMAR: &str = "grammar.json";
    /// The target's memory.
    pub const SNAPSHOT: &str = "snapshot";
    /// A Python file that shows the failure.
    pub const REPRODUCER: &str = "reproducer.py";
    /// The failure as it was told.
    pub const LOG: &str = "log.txt";
    /// The commands.
    pub const REPLAY: &str = "replay.txt";

    /// All of them.
    pub const ALL: [&str; 9] = [ABOUT, FINDING, CASE, WORKLOAD, GRAMMAR, SNAPSHOT, REPRODUCER, LOG, REPLAY];
}

/// An opened bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// What it is.
    pub about: About,
    /// The other files, by name.
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl Bundle {
    /// A bundle with nothing in it yet.
    #[must_use]
    pub fn new(about: About) -> Self {
        Self { about, files: BTreeMap::new() }
    }

    /// Puts a file into it.
    #[must_use]
    pub fn with(mut self, name: &'static str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name, content.into());
        self
    }

    /// The content of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// The same as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.file(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}
